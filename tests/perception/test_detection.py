"""Face detectors on real photographs, on what is no photograph, and on what the host's landmark node hands over."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, WeightsError
from facechain_impl.networks.damofd import DamoFD
from facechain_impl.perception import detection, haar
from facechain_impl.perception.detection import BUILT_IN, MEDIAPIPE, BuiltInDetector, DamoFDDetector, nms
from facechain_impl.photos.load import read_photo
from facechain_impl.photos.sources import SAMPLE_FOLDER
from facechain_impl.types import Origin

# Middle between the eyes and their distance, read off the photographs by hand, in pixels.
EYES = {
    "group/a_and_b.jpg": [((839, 496), 76), ((1232, 455), 82)],
    "group/partial_face.jpg": [((78, 215), 99)],
    "group/two_people.jpg": [((321, 102), 67), ((876, 133), 66)],
    "person_a/1.jpg": [((495, 213), 102)],
    "person_a/2.jpg": [((306, 373), 117)],
    "person_a/3.jpg": [((796, 391), 120)],
    "person_a/4.jpg": [((754, 322), 155)],
    "person_a/5.jpg": [((666, 142), 69)],
    "person_b/1.jpg": [((590, 336), 120)],
    "person_b/2.jpg": [((656, 412), 193)],
    "templates/1.jpg": [((244, 190), 78)],
    "templates/2.jpg": [((249, 138), 40)],
    "templates/3.jpg": [((389, 217), 69)],
    "tryon/garment1.png": [((460, 227), 71)],
}


@pytest.fixture(scope="module")
def built_in() -> BuiltInDetector:
    return BuiltInDetector()


@pytest.fixture(scope="module")
def sample() -> torch.Tensor:
    return read_photo(next(SAMPLE_FOLDER.glob("*.png")))


def middle(face) -> np.ndarray:
    return face.points[:2].mean(0)


def assert_one_like(faces, expected: np.ndarray, distance: float) -> None:
    assert len(faces) == 1
    assert np.linalg.norm(middle(faces[0]) - expected) < 0.3 * distance
    assert 0.7 < np.linalg.norm(faces[0].points[1] - faces[0].points[0]) / distance < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("name", EYES)
def test_the_right_faces_and_no_others(photographs, built_in, name):
    faces = built_in.detect([read_photo(photographs / name)])[0]
    assert len(faces) == len(EYES[name])
    for (x, y), distance in EYES[name]:
        nearest = min(faces, key=lambda face: np.linalg.norm(middle(face) - (x, y)))
        assert_one_like([nearest], np.array([x, y]), distance)


def test_the_sample_photo_has_one_face_with_plausible_points(built_in, sample):
    (face,) = built_in.detect([sample])[0]
    left, right, nose, mouth_left, mouth_right = face.points
    assert left[0] < nose[0] < right[0] and mouth_left[0] < mouth_right[0]
    assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    assert (face.points > face.box[:2]).all() and (face.points < face.box[2:]).all()
    assert 0.5 <= face.score <= 1 and face.box.dtype == face.points.dtype == np.float32


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_on_its_side_or_head(built_in, sample, quarters):
    """The points turn with the picture: the face's own left eye stays first."""
    upright = built_in.detect([sample])[0][0].points
    side = sample.shape[0] - 1
    turned = built_in.detect([torch.rot90(sample, quarters)])[0]
    assert len(turned) == 1
    points = turned[0].points
    for _ in range(quarters):
        points = np.stack([side - points[:, 1], points[:, 0]], 1)
    assert np.abs(points - upright).max() < 6


def test_a_twelve_megapixel_photo(built_in, sample):
    """The same picture on a 4000 x 3000 ground, large: found in the same place and size."""
    large = torch.ones(3000, 4000, 3)
    large[:, 500:3500] = torch.nn.functional.interpolate(sample.permute(2, 0, 1)[None], size=(3000, 3000))[0].permute(1, 2, 0)
    before = built_in.detect([sample])[0][0]
    scale = 3000 / 512
    assert_one_like(
        built_in.detect([large])[0],
        (middle(before) + 0.5) * scale - 0.5 + [500, 0],
        scale * np.linalg.norm(before.points[1] - before.points[0]),
    )


def test_a_face_of_twenty_pixels(built_in, sample):
    """The smallest face that the cascades know; its place is right to a few pixels."""
    face = built_in.detect([sample])[0][0]
    scale = 24 / max(face.width, face.height)
    size = round(512 * scale)
    small = torch.from_numpy(cv2.resize(sample.numpy(), (size, size), interpolation=cv2.INTER_AREA))
    found = built_in.detect([small])[0]
    assert len(found) == 1 and 18 < max(found[0].width, found[0].height) < 32
    assert np.linalg.norm(middle(found[0]) - middle(face) * scale) < 4


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3, 2), (64, 64), (2000, 5)])
def test_pictures_that_can_hold_no_face(built_in, size):
    noise = torch.rand(*size, 3, generator=torch.Generator().manual_seed(1))
    assert built_in.detect([noise, torch.zeros(*size, 3)]) == [[], []]


def test_the_cascades_are_those_of_opencv_4_unchanged():
    ours = {file.stem: gzip.decompress(file.read_bytes()) for file in haar.CASCADES.glob("*.xml.gz")}
    assert ours.keys() == {f"haarcascade_{name}.xml" for name in (*haar.FACES, *haar.EYES)}
    source = (haar.CASCADES / "SOURCE.md").read_text(encoding="utf-8")
    for name, content in ours.items():
        assert content == Path(cv2.data.haarcascades, name).read_bytes()
        assert b"License Agreement" in content[:1000]
        assert hashlib.sha256(content).hexdigest() in source


def test_an_opencv_without_cascade_files_gets_them_from_the_pack(built_in, sample, monkeypatch):
    """OpenCV 5 ships none; some builds have no cv2.data at all."""
    monkeypatch.delattr(cv2, "data")
    (before,), (after,) = (detector.detect([sample])[0] for detector in (built_in, detection.open_detector(BUILT_IN)))
    assert np.array_equal(before.five, after.five) and np.array_equal(before.box, after.box) and before.score == after.score


def test_an_opencv_without_cascades_is_a_message_that_names_another_detector(monkeypatch):
    """OpenCV 5 has them in its contrib builds only."""
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(
        WeightsError, match=r"OpenCV 4\.[\d.]+ on this machine.*'DamoFD' \(python run\.py models get damofd\), or 'MediaPipe landmarks'"
    ):
        detection.open_detector(BUILT_IN)


def test_a_missing_cascade_is_a_message(monkeypatch, tmp_path):
    monkeypatch.setattr(haar, "CASCADES", tmp_path)
    with pytest.raises(WeightsError, match=r"haarcascade_frontalface_alt2\.xml\.gz, which is missing.*Install the pack again"):
        detection.open_detector(BUILT_IN)


def test_an_unknown_choice_is_refused():
    with pytest.raises(BadInput, match="'YuNet'"):
        detection.open_detector("YuNet")


@pytest.fixture(scope="module")
def damofd() -> DamoFDDetector:
    """Random weights: they find nothing sensible, but the same in every picture whatever is beside it."""
    torch.manual_seed(3)
    network = DamoFD().eval().requires_grad_(False)
    network.bbox_head.stride_cls["0"].bias -= 0.9
    ready = SimpleNamespace(load=lambda: network, device=torch.device("cpu"), origin=Origin.STAND_IN)
    return DamoFDDetector(ready)


def test_damofd_finds_the_same_alone_and_in_a_batch(damofd, sample):
    pictures = [sample, sample[:300], sample[100:, :200], torch.rand(40, 30, 3, generator=torch.Generator().manual_seed(1))] * 3
    together = damofd.detect(pictures)
    assert [len(faces) for faces in together[:4]] == [len(faces) for faces in together[8:]]
    for picture, faces in zip(pictures[:4], together):
        alone = damofd.detect([picture])[0]
        assert len(alone) == len(faces)
        assert all(np.abs(a.box - b.box).max() < 1e-2 and abs(a.score - b.score) < 1e-4 for a, b in zip(alone, faces))


def test_damofd_boxes_lie_in_the_picture_and_have_an_extent(damofd, sample):
    picture = sample[:200]
    faces = damofd.detect([picture])[0]
    boxes = np.array([face.box for face in faces])
    assert len(faces) and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [512.01, 200.01]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_damofd_takes_any_size(damofd):
    assert all(isinstance(faces, list) for faces in damofd.detect([torch.zeros(1, 1, 3), torch.zeros(1, 900, 3)]))
    assert damofd.detect([]) == []


def test_nms_keeps_the_best_of_overlapping_boxes():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 5.1]])
    assert nms(boxes, np.array([0.5, 0.9, 0.1, 0.8]), 0.45) == [1, 3, 2]
    assert nms(boxes, np.array([0.5, 0.9, 0.1, 0.8]), 0.40) == [1, 2]
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5) == []
    # [0, 0, 9, 9] and [5, 0, 14, 9] share 4 of 14 columns, counted with both ends 5 of 15
    pair = np.array([[0, 0, 9, 9], [5, 0, 14, 9.0]])
    assert nms(pair, np.array([1.0, 0.5]), 0.3, border=0) == [0, 1]
    assert nms(pair, np.array([1.0, 0.5]), 0.3, border=1) == [0]


def mesh(offset: float, score: float) -> dict:
    """A face as the host's MediaPipe node describes it: 478 landmarks, those that matter in known places."""
    landmarks = np.full((478, 2), offset, np.float32)
    for index, place in {33: (10, 20), 133: (20, 22), 362: (40, 20), 263: (50, 22), 1: (30, 35), 61: (20, 50), 291: (40, 50)}.items():
        landmarks[index] = np.array(place) + offset
    return {"landmarks_xy": landmarks, "bbox_xyxy": np.array([5, 5, 55, 60], np.float32) + offset, "score": score}


def test_landmarks_become_faces_sorted_by_score():
    images = [torch.rand(100, 80, 3), torch.rand(100, 80, 3), torch.rand(60, 60, 3)]
    given = [
        {"frames": [[mesh(0, 0.6), mesh(20, 0.9)], []], "image_size": (100, 80)},
        {"frames": [[mesh(1, 0.7)]], "image_size": (60, 60)},
    ]
    detector = detection.choose_detector(MEDIAPIPE, given, images)
    first, second, third = detector.detect(images)
    assert [face.score for face in first] == [0.9, 0.6] and second == []
    assert np.allclose(first[1].points, [[15, 21], [45, 21], [30, 35], [20, 50], [40, 50]])
    assert np.allclose(third[0].box, [6, 6, 56, 61]) and third[0].landmarks.shape == (478, 2)


def test_landmarks_of_other_pictures_are_refused():
    images = [torch.zeros(100, 80, 3)]
    with pytest.raises(BadInput, match="for 2 pictures, images has 1"):
        detection.from_landmarks({"frames": [[], []], "image_size": (100, 80)}, images)
    with pytest.raises(BadInput, match="found in 100x80 pixels, the picture has 80x100"):
        detection.from_landmarks({"frames": [[]], "image_size": (80, 100)}, images)
    with pytest.raises(BadInput, match="nothing is connected to landmarks"):
        detection.choose_detector(MEDIAPIPE, [], images)
