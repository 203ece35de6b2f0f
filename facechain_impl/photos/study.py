"""The quality of a training set: sharpness, size, pose, near duplicates, other people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

import cv2
import numpy as np
import torch

from ..errors import MissingWeights, WeightsError
from ..geometry.affine import align112
from ..perception import models
from ..perception.detection import BUILT_IN
from ..perception.faces import find_faces, main_face, with_face
from ..perception.quality import FaceQuality
from ..perception.recognition import FaceRecognition, cosine_similarity, vector_of, with_embeddings
from ..picture_names import numbered
from ..types import Face, Faces, Picture, Report, Status

# Judged on a face of 112 px: below, contours of eyes and lips are no longer sharp.
_BLURRED = 60.0
_SMALL = 0.2
_TURNED = 0.35
# Grey pictures of 32 x 32 that correlate more than this show the same moment.
_DUPLICATE = 0.985
# Cosines of RTS for two photos of one person are far above this, those of two people mostly below.
_ANOTHER_PERSON = 0.2
_FACE_SIDE, _THUMB_SIDE = 112, 32


class Problem(Enum):
    """What may be wrong with one photo, in the order in which it is said."""

    NO_FACE = "no face was found"
    STRANGER = "shows another person than most photos"
    CROWDED = "{} more faces in the picture"
    BLURRED = "the face is blurred"
    SMALL = "the face is small"
    TURNED = "the face is turned far to the side"
    DUPLICATE = "nearly the same as {}"


BAD = frozenset({Problem.NO_FACE, Problem.STRANGER, Problem.BLURRED, Problem.DUPLICATE})
"""What makes a photo useless for a training, or worse."""


@dataclass
class MainFace:
    """The main face of a photo. blur: variance of its Laplacian, higher is sharper. size: its longer side, as a share of the photo's
    shorter one. turn: how far the nose is from the middle of the eyes, in eye distances, negative to the left. likeness: median cosine
    with the other photos, None where there is nothing to compare."""

    face: Face
    blur: float
    size: float
    turn: float
    likeness: float | None = None


@dataclass
class PhotoFacts:
    """What is known about one photo. main: None when no face was found. others: how many more faces it shows."""

    main: MainFace | None
    others: int
    duplicate_of: int | None = None

    @property
    def face(self) -> Face | None:
        return self.main.face if self.main else None


@dataclass
class Study:
    """Facts of every photo in order, and what is known about its faces. embeddings: of the photos whose face could be embedded, by index;
    empty without RTS. uncertainties: of those embeddings, where they are known."""

    facts: list[PhotoFacts]
    embeddings: dict[int, np.ndarray] = field(default_factory=dict)
    uncertainties: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    @property
    def embedding(self) -> np.ndarray | None:
        """The person: mean of all embeddings, length 1."""
        if not self.embeddings:
            return None
        mean = np.mean(list(self.embeddings.values()), 0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


def study(photos: list[torch.Tensor], known: Faces | None = None) -> Study:
    """Study photos [H, W, 3] in 0..1. Faces are taken from `known` where it has them, else from the built-in detector."""
    found = find_faces(photos, BUILT_IN, known)
    facts = [_facts(photo, picture.faces) for photo, picture in zip(photos, found.pictures)]
    if known is not None and len(known) == len(photos):
        for one, picture in zip(facts, known.pictures):  # a crop hides the others that the whole photo shows
            one.others = max(one.others, len(picture.faces) - 1)
    _mark_duplicates(photos, facts)
    result = Study(facts, pictures=list(found.pictures))
    _embed(photos, result)
    return result


def _facts(photo: torch.Tensor, faces: Sequence[Face]) -> PhotoFacts:
    face = main_face(faces)
    if face is None:
        return PhotoFacts(None, len(faces))
    left, right, nose = face.five[:3]
    across = right - left
    turn = float(np.dot(nose - (left + right) / 2, across) / np.dot(across, across))
    size = max(face.width, face.height) / min(photo.shape[:2])
    return PhotoFacts(MainFace(face, _sharpness(photo, face), size, turn), len(faces) - 1)


def _sharpness(photo: torch.Tensor, face: Face) -> float:
    x0, y0, x1, y1 = (int(round(float(value))) for value in face.box)
    cut = photo[max(y0, 0) : max(y1, 1), max(x0, 0) : max(x1, 1)].detach().cpu().float().numpy()
    grey = cv2.cvtColor(cv2.resize(cut, (_FACE_SIDE, _FACE_SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey * 255, cv2.CV_32F).var())


def _mark_duplicates(photos: list[torch.Tensor], facts: list[PhotoFacts]) -> None:
    thumbs = []
    for photo in photos:
        grey = photo.detach().cpu().float().mean(-1).numpy()
        small = cv2.resize(grey, (_THUMB_SIDE, _THUMB_SIDE), interpolation=cv2.INTER_AREA).ravel()
        small = small - small.mean()
        thumbs.append(small / max(float(np.linalg.norm(small)), 1e-6))
    for index, thumb in enumerate(thumbs):
        earlier = [other for other in range(index) if float(np.dot(thumb, thumbs[other])) > _DUPLICATE]
        facts[index].duplicate_of = earlier[0] if earlier else None


def _embed(photos: list[torch.Tensor], result: Study) -> None:
    seen = {index: one.main for index, one in enumerate(result.facts) if one.main is not None}
    unknown = [index for index, main in seen.items() if main.face.embedding is None]
    try:
        recognition = FaceRecognition(models.open_network("rts")) if unknown else None
    except MissingWeights:
        result.notes.append("Without the recognition network (rts) likeness, and whether all photos show one person, cannot be checked.")
        return
    if recognition is not None:
        found = with_embeddings(recognition, [photos[index] for index in unknown], [seen[index].face for index in unknown])
        for index, face in zip(unknown, found):
            result.pictures[index] = with_face(result.pictures[index], seen[index].face, face)
            seen[index].face = face
    result.embeddings = {index: vector_of(main.face) for index, main in seen.items()}
    result.uncertainties = {index: main.face.uncertainty for index, main in seen.items() if main.face.uncertainty is not None}
    for index, main in seen.items():
        others = [cosine_similarity(result.embeddings[index], result.embeddings[other]) for other in seen if other != index]
        main.likeness = float(np.median(others)) if others else None


def verdicts(found: Study, names: Sequence[str] = ()) -> list[str]:
    """The problems of every photo; empty for a good one. names: of the photos, else their numbers."""
    known = names or numbered("photo", found.facts)
    return ["; ".join(_in_words(problem, one, known) for problem in problems_of(one)) for one in found.facts]


def problems_of(one: PhotoFacts) -> list[Problem]:
    """What is wrong with one photo; empty for a good one."""
    main = one.main
    if main is None:
        return [Problem.NO_FACE]
    tests = {
        Problem.STRANGER: main.likeness is not None and main.likeness < _ANOTHER_PERSON,
        Problem.CROWDED: one.others > 0,
        Problem.BLURRED: main.blur < _BLURRED,
        Problem.SMALL: main.size < _SMALL,
        Problem.TURNED: abs(main.turn) > _TURNED,
        Problem.DUPLICATE: one.duplicate_of is not None,
    }
    return [problem for problem, applies in tests.items() if applies]


def _in_words(problem: Problem, one: PhotoFacts, names: Sequence[str]) -> str:
    if problem is Problem.DUPLICATE:
        return problem.value.format(names[one.duplicate_of or 0])
    return problem.value.format(one.others)


def is_clean(one: PhotoFacts) -> bool:
    """Whether a photo shows the person, sharply, and is no second copy."""
    return BAD.isdisjoint(problems_of(one))


def best(photos: list[torch.Tensor], found: Study) -> int:
    """The photo that stands for the person: of the clean ones the one of highest quality by FQA, as upstream chooses, or the sharpest where
    that network is not here. Without a clean photo the first with a face, or the first."""
    faces = {index: one.main for index, one in enumerate(found.facts) if one.main is not None}
    clean = [index for index in faces if is_clean(found.facts[index])]
    if not clean:
        return next(iter(faces), 0)
    quality = _qualities([photos[index] for index in clean], [faces[index].face for index in clean])
    judged = dict(zip(clean, quality or [faces[index].blur for index in clean]))
    return max(judged, key=lambda index: judged[index])


def _qualities(photos: list[torch.Tensor], faces: list[Face]) -> list[float]:
    """FQA's scores, empty without the network or onnxruntime."""
    try:
        network = FaceQuality(models.open_session("fqa"))
    except WeightsError:
        return []
    return network.score([align112(photo, face.five) for photo, face in zip(photos, faces)])


def fill(report: Report, found: Study, names: Sequence[str], left_out: Collection[int] = ()) -> None:
    """One row for each photo and a verdict over all of them. left_out: the indices of those that do not go on."""
    problems = verdicts(found, names)
    for index, (name, one, problem) in enumerate(zip(names, found.facts, problems)):
        status = Status.LEFT_OUT if index in left_out else Status.TO_CHECK if problem else Status.SUITABLE
        report.add(name, status, problem, **_values(one.main))
    report.notes = [_overall(found, names, left_out), *found.notes, *report.notes]


def _values(main: MainFace | None) -> dict[str, float | None]:
    if main is None:
        return dict.fromkeys(("sharpness", "size", "turn", "like the others"))
    return {"sharpness": main.blur, "size": main.size, "turn": main.turn, "like the others": main.likeness}


def _overall(found: Study, names: Sequence[str], left_out: Collection[int]) -> str:
    """A plain sentence about the whole set."""
    problems = [problems_of(one) for one in found.facts]
    strangers = [names[index] for index, own in enumerate(problems) if Problem.STRANGER in own and index not in left_out]
    if strangers:
        return f"{', '.join(strangers)}: another person than in most photos. Take them out, or the portraits will be a mix of both."
    turns = [one.main.turn for one, own in zip(found.facts, problems) if one.main and not own]
    if len(turns) < 3:
        return f"{len(turns)} of {len(problems)} photos are good. A likeness needs about five: sharp, large and alone in the picture."
    if max(turns) - min(turns) < 0.1:
        return f"{len(turns)} of {len(problems)} photos are good, all from the same side. A few turned to either side would help."
    return f"{len(turns)} of {len(problems)} photos are good, from different sides. This is a good set."
