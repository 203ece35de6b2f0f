"""What is connected to the inpainting node, and what is opened for it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, MissingWeights
from facechain_impl.perception import models
from facechain_impl.perception.recognition import Embedding
from facechain_impl.portrait.inpaint import inputs as inpaint_inputs
from facechain_impl.portrait.inpaint.inputs import InpaintInputs, OpenedModels, find_known, open_models
from facechain_impl.portrait.inpaint.landmarkers import MediaPipe, MeshDetector
from facechain_impl.portrait.inpaint.targets import FaceAnalyzer
from facechain_impl.portrait.people import Assign
from facechain_impl.types import Face, Faces, Person, Picture, digest_of

from ..conftest import face_at, marked

IMAGE = torch.rand(60, 80, 3, generator=torch.Generator().manual_seed(1))
MASK = torch.ones(60, 80)
ALL_MASKS = {"face_masks": [MASK], "human_masks": [MASK], "neck_masks": [MASK]}


def inputs(**given):
    return InpaintInputs(**{"images": [IMAGE], "names": ["one.png"], **given})


@pytest.fixture
def nothing_there(monkeypatch):
    """No published file is on the machine."""

    def missing(name):
        raise MissingWeights(f"{name} is not here")

    monkeypatch.setattr(models, "open_network", missing)


def test_lists_of_one_hold_for_every_picture():
    both = inputs(images=[IMAGE, IMAGE], names=["a", "b"], face_masks=[MASK], poses=[{"people": []}, {"people": [1]}])
    first, second = both.target_pictures([[], []])
    assert first.given.face is MASK and second.given.face is MASK
    assert (first.pose.frame, second.pose.frame) == ({"people": []}, {"people": [1]})
    assert first.given.human is None and second.pose.drawing is None and second.name == "b"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"face_masks": [MASK, MASK]}, "face_mask has 2 entries for 1 pictures"),
        ({"drawings": [IMAGE] * 3}, "pose_image has 3 entries for 1 pictures"),
        ({"images": [], "names": []}, "No picture arrived"),
        ({"images": [IMAGE * float("nan")]}, "one.png contains 4800 NaN or infinite pixels"),
        ({"generated": [IMAGE, torch.zeros(0, 4, 3)]}, "stage-1 picture 2 has no pixels"),
    ],
)
def test_what_does_not_belong_together_is_refused(given, message):
    with pytest.raises(BadInput, match=message):
        inputs(**given).check()


def test_with_all_masks_nothing_is_parsed(nothing_there):
    opened = open_models("Built-in", None, inputs(face_masks=[MASK], human_masks=[MASK]), neck=False, fuse=False, enhance=False)
    assert opened.analyzer.parser is None and opened.analyzer.landmarker is None and opened.fusion is None
    assert "shape of those in the picture" in opened.notes[0]


@pytest.mark.parametrize("given, neck", [({"face_masks": [MASK]}, False), ({"face_masks": [MASK], "human_masks": [MASK]}, True)])
def test_a_mask_that_is_missing_needs_the_parser(nothing_there, given, neck):
    with pytest.raises(MissingWeights, match="m2fp"):
        open_models("Built-in", None, inputs(**given), neck=neck, fuse=False, enhance=False)


def test_fusion_without_its_files_is_an_error(monkeypatch):
    def missing(name):
        raise MissingWeights(f"{name} is not here")

    monkeypatch.setattr(inpaint_inputs.fusion, "open_fusion", lambda enhance: missing("fusion_bfm"))
    with pytest.raises(MissingWeights, match="fusion_bfm"):
        open_models("Built-in", object(), inputs(**ALL_MASKS), neck=False, fuse=True, enhance=True)


def test_the_hosts_landmarker_goes_before_the_98_points():
    opened = open_models("MediaPipe", SimpleNamespace(), inputs(**ALL_MASKS), neck=False, fuse=False, enhance=False)
    assert isinstance(opened.analyzer.landmarker, MediaPipe) and isinstance(opened.analyzer.detector, MeshDetector)
    assert opened.notes[0] == "Landmarks: MediaPipe."


def test_mediapipe_without_its_model_is_an_error():
    with pytest.raises(BadInput, match="needs a FACE_DETECTION_MODEL"):
        open_models("MediaPipe", None, inputs(**ALL_MASKS), neck=False, fuse=False, enhance=False)


def test_the_98_points_are_used_when_they_are_there(monkeypatch):
    monkeypatch.setattr(models, "open_network", lambda name: SimpleNamespace(name=name, origin=None))
    opened = open_models("Built-in", None, inputs(**ALL_MASKS), neck=False, fuse=False, enhance=False)
    assert opened.analyzer.landmarker.name == "98-point network"


class Recognition:
    """Tells pictures of one brightness from those of another."""

    def __init__(self, managed):
        pass

    def embed(self, aligned):
        return [Embedding(np.eye(512, dtype=np.float32)[int(face.mean() > 0.2)], 0.0) for face in aligned]


def two_faces():
    image = torch.zeros(120, 240, 3)
    image[:, 120:] = 0.9
    faces = [face_at(150, 40, 50), face_at(30, 40, 50)]
    return image, Faces([Picture(faces, (120, 240), digest_of(image))])


def looking_at(detector=None):
    return OpenedModels(FaceAnalyzer(detector), None)


def test_faces_that_are_known_come_from_left_to_right_and_are_not_changed(monkeypatch):
    image, known = two_faces()
    monkeypatch.setattr(inpaint_inputs, "FaceRecognition", Recognition)
    monkeypatch.setattr(models, "open_network", lambda name: None)
    given, opened = inputs(images=[image], names=["x"], faces=known), looking_at()
    person = Person("ann", {}, "", embedding=np.eye(512, dtype=np.float32)[1])
    (faces,) = find_known(given, [person], Assign.AUTO, opened)
    assert [float(face.box[0]) for face in faces] == [30, 150]
    assert [int(face.embedding.argmax()) for face in faces] == [0, 1]
    assert all(face.embedding is None for face in known.pictures[0].faces)


@pytest.mark.parametrize("how, people", [(Assign.ORDER, 1), (Assign.LIST, 1), (Assign.AUTO, 0)])
def test_nobody_is_embedded_where_it_decides_nothing(nothing_there, how, people):
    image, known = two_faces()
    persons = [Person("ann", {}, "", embedding=np.eye(512, dtype=np.float32)[1])] * people
    opened = looking_at()
    (faces,) = find_known(inputs(images=[image], names=["x"], faces=known), persons, how, opened)
    assert all(face.embedding is None for face in faces) and not opened.notes


def test_without_the_recognition_file_likeness_is_a_note_or_an_error(nothing_there):
    image, known = two_faces()
    given = inputs(images=[image], names=["x"], faces=known)
    persons = [Person("ann", {}, "", embedding=np.eye(512, dtype=np.float32)[1])]
    opened = looking_at()
    find_known(given, persons, Assign.AUTO, opened)
    assert opened.notes == ["Likeness was not compared. rts is not here"]
    with pytest.raises(MissingWeights, match="rts"):
        find_known(given, persons, Assign.LIKENESS, opened)


def test_where_nothing_is_painted_nothing_but_faces_is_looked_for(nothing_there):
    image, known = two_faces()
    given = inputs(images=[image], names=["x"], faces=known)
    opened = inpaint_inputs.open_detector_only("Built-in", None, given)
    persons = [Person("ann", {}, "", embedding=np.eye(512, dtype=np.float32)[1])]
    (faces,) = find_known(given, persons, Assign.LIKENESS, opened)
    assert len(faces) == 2 and opened.idle and not opened.notes


def test_half_precision_pictures_are_worked_on_in_full():
    (one,) = inputs(images=[IMAGE.half()], generated=[IMAGE.half()]).target_pictures([[]])
    assert one.image.dtype == torch.float32 and one.generated[0].dtype == torch.float32


class Meshes:
    def __init__(self, faces):
        self.faces = faces

    def detect_batch(self, images, num_faces, score_thresh, variant):
        return [self.faces for _ in images]


def test_mediapipe_finds_faces_in_any_picture():
    points = np.random.default_rng(1).uniform(20, 60, (478, 2)).astype(np.float32)
    mesh = {"bbox_xyxy": np.array([20.0, 20, 60, 60]), "landmarks_xy": points, "score": 0.8}
    detector = MeshDetector(Meshes([mesh]))
    found = detector.detect([torch.zeros(80, 80, 3), torch.ones(90, 70, 3)])
    assert [len(faces) for faces in found] == [1, 1]
    face: Face = found[1][0]
    assert face.points.shape == (5, 2) and np.allclose(face.points[0], points[[33, 133]].mean(0)) and face.score == pytest.approx(0.8)


def test_marked_faces_of_the_tests_are_inside_their_boxes():
    face = face_at(20, 10, 30)
    mask = marked([face], 60, 80)
    assert mask.sum() > 400 and not mask[:10].any() and not mask[:, :20].any()
