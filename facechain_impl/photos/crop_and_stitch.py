"""All faces of a list of pictures cropped into one batch, and the batch stitched back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..errors import BadInput, FaceNotFound
from ..geometry.faces import moved
from ..geometry.stitch import Patch, cut_out, face_matrix, is_unedited, stitch
from ..host.memory import to_output
from ..picture_names import nth
from ..types import Face, Faces, Picture, Report, Status, digest_of

# How much of the crop the longer side of the face takes in FaceChain's inpainting.
FACE_SHARE = 0.45


def cut_faces(images: list[torch.Tensor], faces: Faces, size: int, share: float, upright: bool) -> tuple[list[torch.Tensor], Faces]:
    """One crop [size, size, 3] per face, picture after picture, and the same faces with their crop_transform.

    Raises FaceNotFound when there is no face at all, BadInput when `faces` are not of these `images`.
    """
    pictures, crops, known = [], [], []
    for picture, image in zip(pictures_of(images, faces), images):
        matrices = [face_matrix(face.box, face.points, share, size, upright) for face in picture.faces]
        chosen = tuple(replace(face, crop_transform=matrix) for face, matrix in zip(picture.faces, matrices))
        pictures.append(replace(picture, faces=chosen))
        for face, matrix in zip(chosen, matrices):
            crops.append(to_output(cut_out(image, matrix, size)))
            known.append(Picture((moved(face, matrix),), (size, size), digest_of(crops[-1]), picture.name, picture.detector))
    if not crops:
        raise FaceNotFound(f"There is no face to crop in {len(images)} pictures. Connect faces that were found in them.")
    return crops, Faces(tuple(pictures), tuple(known))


def put_back(
    images: list[torch.Tensor], crops: list[torch.Tensor], faces: Faces, masks: list[torch.Tensor], feather: float, report: Report
) -> list[torch.Tensor]:
    """`images` with the edited `crops` [S, S, 3] of `cut_faces` in them, one row of `report` per picture.

    masks: none, one for all or one per crop, [S, S], 1 where a crop may replace the picture. Raises BadInput when counts differ.
    """
    matrices = _matrices([face for picture in faces.pictures for face in picture.faces])
    _check(len(matrices), crops, masks)
    limits: Sequence[torch.Tensor | None] = masks * len(crops) if len(masks) == 1 else masks or [None] * len(crops)
    edited = iter(zip(crops, matrices, limits))
    size = faces.crops[0].size[0]
    patches = {
        id(picture): [Patch(crop, matrix, size, mask) for _, (crop, matrix, mask) in zip(picture.faces, edited)]
        for picture in faces.pictures
    }
    results = []
    for index, (picture, image) in enumerate(zip(pictures_of(images, faces), images)):
        own = patches[id(picture)]
        results.append(to_output(stitch(image, own, feather)))
        edits = sum(not is_unedited(image, patch) for patch in own)
        report.add(picture.name or nth("picture", index), Status.STITCHED if edits else Status.UNCHANGED, faces=len(own), edited=edits)
    return results


def pictures_of(images: list[torch.Tensor], faces: Faces) -> list[Picture]:
    """What `faces` know about each of `images`, by its pixels; of equal pictures each gets its own. Raises BadInput for a stranger."""
    found = []
    for index, image in enumerate(images):
        beside = faces.pictures[index] if index < len(faces.pictures) else None
        picture = beside if beside is not None and beside.digest == digest_of(image) else faces.of(image)
        if picture is None:
            raise BadInput(
                f"{nth('Picture', index)} is not one of those in which the connected faces were found. Connect the same pictures."
            )
        found.append(picture)
    return found


def _matrices(faces: list[Face]) -> list[np.ndarray]:
    matrices = [face.crop_transform for face in faces if face.crop_transform is not None]
    if len(matrices) != len(faces):
        raise BadInput("These faces were not cropped yet. Connect the faces of Crop Faces.")
    return matrices


def _check(faces: int, crops: list[torch.Tensor], masks: list[torch.Tensor]) -> None:
    if len(crops) != faces:
        raise BadInput(f"{len(crops)} crops are connected for {faces} faces. Each face needs one crop, in the order of Crop Faces.")
    if len(masks) not in (0, 1, len(crops)):
        raise BadInput(f"{len(masks)} masks for {len(crops)} crops. Connect one mask for all, or one for each.")
    shapes = {tuple(picture.shape[:2]) for picture in (*crops, *masks)}
    if any(height != width for height, width in shapes):
        raise BadInput(f"Crops and masks must be square; these are {', '.join(f'{w}x{h}' for h, w in sorted(shapes))}.")


def boxes_of(faces: Faces) -> list[list[dict]]:
    """BOUNDING_BOX of the host: per picture a list of boxes."""
    return [[_box(face.box, face.score) for face in picture.faces] for picture in faces.pictures]


def _box(box: np.ndarray, score: float) -> dict:
    x0, y0, x1, y1 = (float(value) for value in box)
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "label": "face", "score": score}
