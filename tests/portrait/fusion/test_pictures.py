"""The face fusion around its networks, which are replaced by ones of a known meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceNotFound, MissingWeights
from facechain_impl.networks.bfm import JAW, FaceShape
from facechain_impl.portrait.fusion import face_fusion as fusion_module
from facechain_impl.portrait.fusion import pictures
from facechain_impl.portrait.fusion.face_fusion import FaceFusion, TargetFace
from facechain_impl.portrait.fusion.pictures import FusionChoice, FusionInputs, FusionSettings, Which, fuse_pictures
from facechain_impl.types import Face, Faces, NoFace, Picture, Report, digest_of, replace

FACE = np.array([[-12.0, -12.0], [12.0, -12.0], [0.0, 2.0], [-10.0, 14.0], [10.0, 14.0]])
RED, GREEN = torch.tensor([0.9, 0.1, 0.2]), torch.tensor([0.1, 0.8, 0.3])


class Network:
    device = "cpu"

    def __init__(self, forward):
        self.forward, self.batches = forward, []

    def load(self):
        def run(*inputs):
            self.batches.append(len(inputs[0]))
            return self.forward(*inputs)

        return run


def mean_colour(x):
    return x.mean((2, 3))


@pytest.fixture
def fusion():
    """The identity is a colour, and the new face is painted in it; the enhancer makes green out of what is left of blue."""
    jaw = FaceShape.from_state_dict(
        {"mean": torch.zeros(JAW, 3), "identity": torch.zeros(JAW, 3, 80), "expression": torch.zeros(JAW, 3, 64)}
    )
    generator = Network(lambda x, identity, found, wanted: identity[:, :, None, None].expand(-1, -1, 256, 256))
    coefficients = Network(lambda x: torch.zeros(len(x), 257))
    enhancer = Network(lambda x: x[:, [0, 2, 1]])
    return FaceFusion(Network(mean_colour), coefficients, jaw, generator, torch.ones(256, 256), enhancer)


def picture(*places, colour=None, height=200, width=300, seed=0) -> torch.Tensor:
    """Noise, with 100 px of `colour` around every face."""
    image = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))
    for x, y in places if colour is not None else ():
        image[max(y - 100, 0) : y + 100, max(x - 100, 0) : x + 100] = colour
    return image


def faces_of(*images_and_places) -> Faces:
    pictures = []
    for image, places in images_and_places:
        faces = [Face(np.array([x - 25, y - 30, x + 25, y + 30 + i], np.float32), 0.9, FACE + [x, y]) for i, (x, y) in enumerate(places)]
        pictures.append(Picture(faces, tuple(image.shape[:2]), digest_of(image), detector="test"))
    return Faces(pictures)


@pytest.fixture
def run(fusion, monkeypatch):
    opened = []
    monkeypatch.setattr(fusion_module, "open_fusion", lambda enhance: opened.append(enhance) or fusion)

    def run(templates, users, choice=FusionChoice(), mask=None, **settings):  # noqa: B008 (frozen)
        inputs = FusionInputs(
            pictures=[t for t, _ in templates], sources=[u for u, _ in users], mask=mask, faces=faces_of(*templates),
            source_faces=faces_of(*users),
        )  # fmt: skip
        report = Report("Face fusion")
        settings = {"enhance": False, **settings}
        return fuse_pictures(inputs, FusionSettings(detector="no detector is needed", choice=choice, **settings), report), report

    run.opened = opened
    return run


def changed(result, image):
    return (result != image).any(-1)


def test_the_face_takes_the_users_colour_and_channels_are_not_swapped(fusion):
    image, user = picture(), picture((150, 100), colour=RED)
    result = fusion.fuse(image, FACE + [150, 100], user, FACE + [150, 100], enhance=False)
    assert torch.allclose(result[100, 150], RED, atol=1e-3)
    assert torch.equal(result[:20], image[:20]) and torch.equal(result[:, :50], image[:, :50])


def test_the_enhancer_sees_the_blended_face(fusion):
    image, user = picture(), picture((150, 100), colour=RED)
    result = fusion.fuse(image, FACE + [150, 100], user, FACE + [150, 100], side=200)
    assert torch.allclose(result[100, 150], RED[[0, 2, 1]], atol=1e-2)


def test_a_mask_limits_the_change(fusion):
    image, user, mask = picture(), picture((150, 100), colour=RED), torch.zeros(200, 300)
    mask[95:120] = 1
    result = fusion.fuse(image, FACE + [150, 100], user, FACE + [150, 100], mask=mask, enhance=False)
    touched = changed(result, image)
    assert touched[95:120].any() and not touched[:95].any() and not touched[120:].any()


def test_pictures_go_through_in_batches_and_the_input_stays(fusion):
    images = [picture(seed=seed) for seed in range(6)]
    copies = [image.clone() for image in images]
    steps = []
    user = fusion.read_source(picture((150, 100), colour=GREEN), FACE + [150, 100])
    results = fusion.replace(images, [TargetFace(i, FACE + [150, 100], 60.0) for i in range(6)], user, False, lambda: steps.append(1))
    assert fusion.generator.batches == [4, 2] and len(steps) == 6
    assert all(torch.equal(image, copy) for image, copy in zip(images, copies))
    alone = fusion.fuse(images[4], FACE + [150, 100], picture((150, 100), colour=GREEN), FACE + [150, 100], enhance=False)
    assert torch.allclose(results[4], alone, atol=1e-5)


def test_a_small_face_is_softened_even_when_nobody_says_how_small(fusion, monkeypatch):
    sides = []
    monkeypatch.setattr(fusion_module.paste, "soften", lambda face, side: sides.append(side) or face)
    fusion.fuse(picture(), FACE + [150, 100], picture(seed=1), FACE + [150, 100])
    assert sides == [pytest.approx(56, abs=4)]


PLACES = [(60, 90), (150, 110), (240, 90)]
WHICH = [
    (FusionChoice(), {2}),
    (FusionChoice(Which.CHOSEN, 1), {0}),
    (FusionChoice(Which.CHOSEN, 2), {1}),
    (FusionChoice(Which.ALL), {0, 1, 2}),
]


@pytest.mark.parametrize(("choice", "expected"), WHICH)
def test_which_faces(run, choice, expected):
    image, user = picture(), picture((150, 100), colour=RED)
    (result,), report = run([(image, PLACES)], [(user, [(150, 100)])], choice)
    replaced = {i for i, (x, y) in enumerate(PLACES) if torch.allclose(result[y, x], RED, atol=1e-2)}
    assert replaced == expected
    assert report.rows[0].status == "fused" and report.rows[0].values == {"faces": len(expected)}
    assert run.opened == [False]


def test_one_face_image_for_each_picture(run):
    images = [picture(seed=1), picture(seed=2)]
    users = [picture((150, 100), colour=RED), picture((150, 100), colour=GREEN)]
    results, _ = run([(image, PLACES[1:2]) for image in images], [(user, [(150, 100)]) for user in users])
    assert torch.allclose(results[0][110, 150], RED, atol=1e-2) and torch.allclose(results[1][110, 150], GREEN, atol=1e-2)


def test_no_face_stops_skips_or_passes(run):
    with_face, without, user = (picture(seed=1), PLACES[:1]), (picture(seed=2), []), (picture((150, 100), colour=RED), [(150, 100)])
    with pytest.raises(FaceNotFound, match=r"picture 2: no face was found.*'Skip' or 'Pass through'"):
        run([with_face, without], [user])
    kept, report = run([with_face, without], [user], no_face=NoFace.SKIP)
    assert len(kept) == 1 and [row.status for row in report.rows] == ["fused", "skipped"]
    passed, report = run([with_face, without], [user], no_face=NoFace.PASS)
    assert torch.equal(passed[1], without[0]) and changed(passed[0], with_face[0]).any()
    assert report.rows[1].reason == "no face was found"
    with pytest.raises(FaceNotFound, match="Every picture was skipped"):
        run([without], [user], no_face=NoFace.SKIP)


def test_nothing_is_opened_when_there_is_nothing_to_do(run):
    image = picture()
    (result,), report = run([(image, PLACES)], [(picture(seed=3), [])], no_face=NoFace.PASS)
    assert torch.equal(result, image) and run.opened == []
    assert report.rows[0].reason == "in the face image, no face was found"


def test_a_face_that_is_not_there_is_named(run):
    with pytest.raises(FaceNotFound, match="face 4 was chosen, but there are only 3"):
        run([(picture(), PLACES)], [(picture(seed=1), [(150, 100)])], FusionChoice(Which.CHOSEN, 4))


def test_faces_without_points_are_named(run, monkeypatch):
    image, user = picture(), picture(seed=1)
    known = faces_of((image, PLACES[:1]), (user, PLACES[:1]))
    blind = replace(known.pictures[0], faces=[replace(known.pictures[0].faces[0], points=None)])
    known = Faces([blind, known.pictures[1]])
    inputs = FusionInputs(pictures=[image], sources=[user], faces=known, source_faces=known)
    with pytest.raises(FaceNotFound, match="its faces lack the five points"):
        fuse_pictures(inputs, FusionSettings(detector="none"), Report(""))


@pytest.mark.parametrize("edge", [0, 10])
def test_masks_for_all_or_one_for_each(run, edge):
    images = [(picture(seed=1), PLACES[1:2]), (picture(seed=2), PLACES[1:2])]
    user, masks = (picture((150, 100), colour=RED), [(150, 100)]), torch.zeros(2, 200, 300)
    masks[0, :110], masks[1, 110:] = 1, 1
    results, _ = run(images, [user], mask=masks, edge=edge)
    for (image, _), result, mask in zip(images, results, masks):
        touched = changed(result, image)
        assert touched.any() and not touched[mask == 0].any()
    for wrong, message in (
        (torch.ones(3, 200, 300), "3 masks for 2 pictures"),
        (torch.ones(64, 64), "mask has 64x64 pixels, the picture 300x200"),
    ):
        with pytest.raises(BadInput, match=message):
            run(images, [user], mask=wrong)


def test_face_images_must_be_one_or_as_many_as_pictures(run):
    user = (picture(seed=5), [(150, 100)])
    with pytest.raises(BadInput, match="2 face images for 3 pictures"):
        run([(picture(seed=i), PLACES) for i in range(3)], [user, user])


def test_all_missing_files_are_named_at_once(monkeypatch):
    monkeypatch.setattr(fusion_module.models.files, "published", lambda entry: None)
    monkeypatch.setattr(fusion_module.models.files, "stand_in", lambda entry: None)
    monkeypatch.setattr(fusion_module.models.load, "missing_message", lambda entry: entry.name)
    with pytest.raises(MissingWeights) as missing:
        fusion_module.open_fusion(enhance=False)
    assert str(missing.value).splitlines() == ["fusion_aei", "fusion_arcface", "fusion_recon", "fusion_bfm", "fusion_alpha"]


def test_the_progress_counts_every_face_twice_with_enhancement(run, monkeypatch):
    totals = []

    class Bar:
        def __init__(self, total):
            totals.append([total, 0])

        def step(self):
            totals[-1][1] += 1

    monkeypatch.setattr(pictures, "Progress", Bar)
    run([(picture(), PLACES)], [(picture(seed=1), [(150, 100)])], FusionChoice(Which.ALL), enhance=True)
    assert totals == [[6, 6]]
