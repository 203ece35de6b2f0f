"""The way from photographs to crops, with detectors and networks whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceNotFound, MissingWeights
from facechain_impl.geometry.affine import ARCFACE_112, invert, similarity_transform, transform_points
from facechain_impl.geometry.crop import UPRIGHT
from facechain_impl.host import folders
from facechain_impl.perception.detection import Detector
from facechain_impl.perception.faces import find_faces
from facechain_impl.photos import prepare as preparation
from facechain_impl.photos.prepare import Networks, Preparation, Stages, fill
from facechain_impl.types import Face, Faces, NoFace, Report, digest_of, replace

RED, GREEN = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])


def portrait(height=300, width=260, centre=(130.0, 140.0), size=80.0, degrees=0.0) -> tuple[torch.Tensor, np.ndarray]:
    """A grey picture with a red left eye, a green right one and a blue mouth, and the five points of that face."""
    radians = np.radians(degrees)
    rotate = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    points = (UPRIGHT - UPRIGHT.mean(0)) @ rotate.T * size + centre
    picture = torch.full((height, width, 3), 0.5)
    for (x, y), colour in zip(points[[0, 1, 3, 4]], (RED, GREEN, torch.tensor([0, 0, 1.0]), torch.tensor([0, 0, 1.0]))):
        reach = max(round(size / 25), 1)
        picture[round(y) - reach : round(y) + reach + 1, round(x) - reach : round(x) + reach + 1] = colour
    return picture, points


class ByColour(Detector):
    """Finds a face wherever it finds a red and a green eye; `extra` adds faces of that many pixels to every picture."""

    name = "by colour"

    def __init__(self, extra: tuple[int, ...] = (), redetects_after_rotation: bool = True):
        self.extra, self.redetects_after_rotation, self.seen = extra, redetects_after_rotation, 0

    def detect(self, images):
        self.seen += len(images)
        return [self._faces(image) for image in images]

    def _faces(self, image: torch.Tensor) -> list[Face]:
        eyes = [place for colour in (RED, GREEN) if (place := _centre(image, colour)) is not None]
        faces = [Face(np.array([0, 0, side, side], np.float32), 0.4) for side in self.extra]
        return [_face(np.stack(eyes)), *faces] if len(eyes) == 2 else faces


def _centre(image: torch.Tensor, colour: torch.Tensor) -> np.ndarray | None:
    near = ((image - colour).abs().sum(-1) < 0.6).nonzero().float()
    return near.mean(0).flip(0).double().numpy() if len(near) else None


def _face(eyes: np.ndarray) -> Face:
    points = transform_points(UPRIGHT, similarity_transform(UPRIGHT[:2], eyes))
    distance = np.linalg.norm(eyes[1] - eyes[0])
    middle = points.mean(0)
    return Face(np.concatenate([middle - distance, middle + distance]).astype(np.float32), 0.9, points.astype(np.float32))


def run(images, detector=None, stages=Stages(), networks=None, policy=NoFace.STOP, known=None, names=None):  # noqa: B008
    names = names or [f"{index}.jpg" for index in range(len(images))]
    return Preparation(detector or ByColour(), stages, networks).run(images, names, known, policy)


@pytest.mark.parametrize("degrees", [0, 25, -60, 120, 180])
@pytest.mark.parametrize("redetects_after_rotation", [True, False])
def test_the_face_comes_out_upright_in_its_place(degrees, redetects_after_rotation):
    """Red left eye, green right eye, level, the face at the published size and height, whatever its angle was."""
    picture, _ = portrait(degrees=degrees)
    prepared = run([picture], ByColour(redetects_after_rotation=redetects_after_rotation))
    (crop,) = prepared.crops
    assert crop.shape == (512, 512, 3)
    left, right = _centre(crop, RED), _centre(crop, GREEN)
    assert abs(left[1] - right[1]) < 3 and right[0] > left[0]
    assert abs((left + right)[0] / 2 - 256) < 5
    face = prepared.faces.crops[0].faces[0]
    longer = max(face.width, face.height)
    assert abs(longer - 156) < 4 and abs(face.box[[1, 3]].mean() - 0.435 * 512) < 5


def test_the_crop_transform_is_the_map_from_photo_to_crop():
    picture, points = portrait(degrees=33)
    prepared = run([picture])
    face = prepared.faces.pictures[0].faces[0]
    moved = transform_points(points, face.crop_transform)
    assert np.abs(moved[0] - _centre(prepared.crops[0], RED)).max() < 1.5
    assert np.abs(moved[1] - _centre(prepared.crops[0], GREEN)).max() < 1.5
    assert np.abs(transform_points(face.points, face.crop_transform) - prepared.faces.crops[0].faces[0].points).max() < 0.1


def test_outside_the_photo_the_crop_is_white():
    picture, _ = portrait(height=120, width=110, centre=(55, 60), size=50)
    prepared = run([picture])
    rows, columns = np.mgrid[:512, :512]
    back = invert(prepared.faces.pictures[0].faces[0].crop_transform)
    places = transform_points(np.stack([columns, rows], -1).reshape(-1, 2), back).reshape(512, 512, 2)
    outside = ((places < -1) | (places > [110, 120])).any(-1)
    assert 0.1 < outside.mean() < 0.9
    assert (prepared.crops[0][outside] == 1).all() and (prepared.crops[0][~outside] < 1).any(-1).float().mean() > 0.95


def test_a_large_photo_is_no_special_case():
    picture, _ = portrait(height=3000, width=4000, centre=(2500, 1200), size=900)
    prepared = run([picture])
    left, right = _centre(prepared.crops[0], RED), _centre(prepared.crops[0], GREEN)
    assert left is not None and right[0] - left[0] > 50


def test_a_larger_crop_is_cut_from_the_photo_itself():
    """Not from an enlarged crop of 512 pixels: details of the photo arrive that 512 pixels cannot hold."""
    picture, _ = portrait(height=3000, width=4000, centre=(2500, 1200), size=900)
    striped = torch.arange(2400, 2600) % 8 < 4
    picture[750:850, 2400:2600] = striped[:, None].float()
    small, large = run([picture]), run([picture], stages=Stages(size=1536))
    assert large.crops[0].shape == (1536, 1536, 3)
    enlarged = torch.nn.functional.interpolate(small.crops[0].permute(2, 0, 1)[None], (1536, 1536), mode="bicubic")[0].permute(1, 2, 0)
    (left, top), (right, bottom) = transform_points(np.array([[2420, 770], [2580, 830]]), large.faces.pictures[0].faces[0].crop_transform)
    stripes = (slice(round(top), round(bottom)), slice(round(left), round(right)))
    assert large.crops[0][stripes].std() > 2 * enlarged[stripes].std()
    face = large.faces.crops[0].faces[0]
    assert abs(max(face.width, face.height) - 3 * 156) < 12 and abs(face.box[[1, 3]].mean() - 0.435 * 1536) < 15


@pytest.mark.parametrize(("faces", "side"), [((80, 60), 512), ((80, 400), None), ((700,), 1536)])
def test_crops_are_as_large_as_the_largest_face(faces, side):
    """At least FaceChain's size, at most what training at 1024 pixels needs."""
    photos = [portrait(height=4 * face, width=4 * face, centre=(2 * face, 2 * face), size=face)[0] for face in faces]
    prepared = run(photos, stages=Stages(size=0))
    sides = {len(image) for image in prepared.crops}
    windows = [round(len(image) / photo.cut.scale) for image, photo in zip(prepared.crops, prepared.photos)]
    assert sides == {side or 64 * -(-max(windows) // 64)} and (side or 512 < max(windows) < 1536)


def test_a_photo_passed_through_has_the_size_of_the_crops():
    photos = [portrait()[0], NOTHING]
    assert {crop.shape for crop in run(photos, stages=Stages(size=768), policy=NoFace.PASS).crops} == {(768, 768, 3)}


@pytest.mark.parametrize(("size", "told"), [(256, []), (1024, ["1 of 1 crops of 1024 pixels are enlarged, up to "])])
def test_the_report_says_when_crops_are_enlarged(size, told):
    report = Report("photos")
    fill(report, run([portrait(height=900, width=800, centre=(400, 420), size=240)[0]], stages=Stages(size=size)), NoFace.STOP)
    assert [note[: len(text)] for note, text in zip(report.notes, told, strict=True)] == told


def test_known_faces_are_not_looked_for_again():
    picture, _ = portrait()
    detector = ByColour(redetects_after_rotation=False)
    known = find_faces([picture], detector)
    run([picture], detector, known=known)
    assert detector.seen == 1


def test_crops_are_known_to_whoever_gets_them():
    prepared = run([portrait()[0], portrait(degrees=20)[0]])
    for crop in prepared.crops:
        known = prepared.faces.of(crop)
        assert known.digest == digest_of(crop) and known.size == (512, 512) and len(known.faces) == 1
    assert [crop.source for crop in prepared.faces.crops] == [photo.digest for photo in prepared.faces.pictures]


NOTHING = torch.full((50, 40, 3), 0.5)


def test_stop_names_every_photo_and_the_reason():
    crowd = portrait()[0]
    with pytest.raises(FaceNotFound, match="1 of 2 photos have no usable face: wall.jpg: no face was found"):
        run([NOTHING, crowd], names=["wall.jpg", "me.jpg"])
    with pytest.raises(FaceNotFound, match="2 of 3 photos .* a.jpg: 2 faces were found.*; c.jpg: 2 faces"):
        run([crowd, NOTHING, crowd * 1.0], ByColour(extra=(60,)), names=["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(FaceNotFound, match="No photo is left: a.jpg: no face was found; b.jpg: no face was found"):
        run([NOTHING, NOTHING + 0.1], names=["a.jpg", "b.jpg"], policy=NoFace.SKIP)


def test_two_faces_of_like_size_are_refused_unless_asked_for():
    picture = portrait()[0]
    with pytest.raises(FaceNotFound, match="2 faces were found and the largest is not 4 times as large"):
        run([picture], ByColour(extra=(40,)))
    assert len(run([picture], ByColour(extra=(8,))).crops) == 1
    assert len(run([picture], ByColour(extra=(40,)), Stages(main_face=1)).crops) == 1


def test_skip_leaves_out_and_pass_keeps_the_place():
    images = [NOTHING, portrait()[0], NOTHING + 0.1]
    skipped = run(images, policy=NoFace.SKIP)
    assert len(skipped.crops) == 1 and len(skipped.faces.pictures) == 3 and skipped.faces.pictures[0].faces == ()
    passed = run(images, policy=NoFace.PASS)
    assert len(passed.crops) == 3
    assert torch.allclose(passed.crops[0][256, 256], torch.tensor(0.5)) and (passed.crops[0][:, :40] == 1).all()
    report = Report("test")
    fill(report, passed, NoFace.PASS)
    assert [row.status for row in report.rows] == ["passed through", "aligned", "passed through"]
    assert report.rows[0].reason == "no face was found"


def test_a_face_lost_after_turning_is_said():
    class Once(ByColour):
        def detect(self, images):
            return super().detect(images) if self.seen == 0 else [[] for _ in images]

    with pytest.raises(FaceNotFound, match="no face was found after turning the photo upright"):
        run([portrait()[0]], Once())


@pytest.mark.parametrize(
    "images, text",
    [
        ([], "No picture arrived"),
        ([torch.full((4, 4, 3), torch.nan)], "0.jpg contains 16 NaN or infinite pixels"),
        ([torch.zeros(0, 4, 3)], "has no pixels"),
    ],
)
def test_what_is_no_picture_is_refused(images, text):
    with pytest.raises(BadInput, match=text):
        run(images)


@dataclass
class Turns:
    answers: list[int]

    def quarter_turns(self, images):
        return self.answers[: len(images)]


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("known", [True, False])
def test_a_photo_turned_by_the_network_keeps_its_own_coordinates(quarters, known):
    upright, points = portrait()
    lying = torch.rot90(upright, quarters)
    before = find_faces([lying], ByColour()) if known else None
    prepared = run([lying], networks=Networks(rotation=Turns([quarters])), known=before)
    face = prepared.faces.pictures[0].faces[0]
    assert np.abs(face.points[0] - _centre(lying, RED)).max() < 1
    assert np.abs(transform_points(face.points, face.crop_transform)[0] - _centre(prepared.crops[0], RED)).max() < 1.5
    assert _centre(prepared.crops[0], RED)[0] < _centre(prepared.crops[0], GREEN)[0]


@dataclass
class Retouch:
    """Darkens a picture that has a box, gives None for one without."""

    seen: list = field(default_factory=list)

    def retouch(self, images, boxes):
        self.seen += [len(box) for box in boxes]
        return [image * 0.5 if len(box) else None for image, box in zip(images, boxes)]


def test_a_crop_that_cannot_be_retouched_is_reported():
    class Second(Detector):
        name = "second"

        def detect(self, images):
            return [[Face(np.array([1, 1, 9, 9.0]), 1.0)] if index else [] for index in range(len(images))]

    networks = Networks(retouch=Retouch(), retouch_faces=Second())
    prepared = run([portrait()[0], portrait()[0] * 1.0], networks=networks, policy=NoFace.SKIP)
    assert len(prepared.crops) == 1 and prepared.crops[0].max() == 0.5
    assert prepared.faces.crops[0].source == digest_of(prepared.photos[1].image), "the crop is another, its photo the same"
    assert "RetinaFace finds no face in the crop" in prepared.photos[0].reason


@dataclass
class Parsing:
    masks: dict

    def largest(self, label):
        return self.masks.get(label)


class Parser:
    """A face and a person in the middle of the crop; nothing at all in the second one."""

    def parse(self, images):
        middle = torch.zeros(512, 512, dtype=torch.bool)
        middle[150:350, 150:350] = True
        return [Parsing({"Face": middle, "Human": middle}), Parsing({})][: len(images)]


def test_the_head_stands_on_white_and_its_masks_travel_along():
    prepared = run([portrait()[0], portrait(degrees=5)[0]], networks=Networks(parser=Parser()), policy=NoFace.SKIP)
    crop = prepared.crops[0]
    assert (crop[:150] == 1).all() and (crop[:, 350:] == 1).all() and abs(crop[345, 345, 0] - 0.5) < 0.02
    masks = prepared.faces.of(crop).faces[0].masks
    assert set(masks) == {"face", "human", "head"} and masks["head"].shape == (512, 512) and masks["head"][200, 200] == 1
    assert "M2FP finds no face" in prepared.photos[1].reason


@dataclass
class Confidence:
    scores: list[float]

    def score(self, images, boxes):
        assert all(0 < box[2] - box[0] < 512 for box in boxes)
        return self.scores[: len(images)]


def test_the_filter_drops_and_says_so_whatever_the_policy():
    """A filter leaves out: that is its purpose, so it does not stop the run. Only when nothing is left it does."""
    images = [portrait()[0], portrait(degrees=3)[0], portrait(degrees=6)[0]]
    networks = Networks(confidence=Confidence([0.9, 0.5, float("nan")]))
    for policy in NoFace:
        prepared = run(images, networks=networks, policy=policy)
        assert len(prepared.crops) == 1
        report = Report("test")
        fill(report, prepared, policy)
        assert [row.status for row in report.rows] == ["aligned", "rejected", "rejected"]
        assert "landmark confidence 0.500 is below 0.855" in report.rows[1].reason and report.rows[1].values["confidence"] == 0.5
    with pytest.raises(FaceNotFound, match="No photo is left: 0.jpg: landmark confidence"):
        run(images[:1], networks=Networks(confidence=Confidence([0.1])))


def test_order_is_kept_through_all_steps():
    images = [portrait(degrees=degrees)[0] for degrees in (0, 10, -20, 30, 5, 15, 25, 35, 45, 12)]
    prepared = run(images, networks=Networks(confidence=Confidence([0.9, 0.9, 0.1] + [0.9] * 7)))
    kept = [photo.name for photo in prepared.photos if photo.is_good]
    assert kept == [f"{index}.jpg" for index in range(10) if index != 2]
    assert [picture.name for picture in prepared.faces.crops] == kept
    angles = [round(np.degrees(photo.angle)) for photo in prepared.photos]
    assert np.abs(np.array(angles) + [0, 10, -20, 30, 5, 15, 25, 35, 45, 12]).max() <= 1


def test_a_face_without_points_is_cut_as_it_stands():
    picture = portrait()[0]
    known = Faces([find_faces([picture], ByColour()).pictures[0]])
    known = Faces([replace(known.pictures[0], faces=[replace(known.pictures[0].faces[0], points=None)])])
    prepared = run([picture], ByColour(redetects_after_rotation=False), known=known)
    assert prepared.photos[0].angle == 0 and _centre(prepared.crops[0], RED) is not None


def test_a_stage_asks_for_its_networks_by_name(monkeypatch):
    asked = []
    monkeypatch.setattr(preparation, "open_network", asked.append)
    monkeypatch.setattr(preparation, "open_session", asked.append)
    monkeypatch.setattr(preparation, "open_retouch", lambda: asked.append("retouch"))
    monkeypatch.setattr(preparation, "RetinaFace", lambda managed, bgr: bgr)
    required = []
    monkeypatch.setattr(preparation, "require", lambda *names: required.append(names))
    assert preparation.open_networks(Stages()) == Networks()
    assert asked == []
    preparation.open_networks(Stages(rotation=True, retouch=True, white=True, confidence=True))
    assert asked == ["rot_bgr", "retouch", "retinaface", "m2fp", "flcm"]
    assert required[-1] == ("rot_bgr", "skin_unet", "skin_mask", "retinaface", "m2fp", "flcm")


def test_all_files_that_are_missing_are_named_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "category_folders", lambda category: [tmp_path])
    monkeypatch.setattr(folders, "stand_in_folders", lambda: [tmp_path])
    with pytest.raises(MissingWeights) as missing:
        preparation.open_networks(Stages(rotation=True, retouch=True, white=True, confidence=True))
    for name in ("rot_bgr", "skin_unet", "skin_mask", "retinaface", "m2fp", "flcm"):
        assert f"models get {name}" in str(missing.value)


def test_template_of_the_angle_and_of_the_alignment_agree():
    """Both published templates describe the same upright face, to two degrees."""
    matrix = preparation.crop.angle_of(ARCFACE_112)
    assert abs(np.degrees(matrix)) < 2
