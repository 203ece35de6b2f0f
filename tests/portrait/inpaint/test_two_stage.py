"""What every stage is shown, with models that paint flat colours and networks that answer by heart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from facechain_impl.geometry import affine
from facechain_impl.perception.landmarks import five_points
from facechain_impl.portrait.inpaint import control_pictures, geometry, masks
from facechain_impl.portrait.inpaint.group import FaceAssignment
from facechain_impl.portrait.inpaint.targets import GivenMasks, Pose, prepare
from facechain_impl.types import Person

from ..conftest import SIZE, centre_face, face_at, marked, target_picture

FACE = face_at(130, 70, 58)


def hints(call):
    """The control pictures of a sampling [N, H, W, 3] by ControlNet, with their weights."""
    return {net.name: (net.hint.movedim(1, -1), net.strength) for net in call.controls}


class Parser:
    """Sees an ellipse in the middle, or nothing, and everything else as a person."""

    def __init__(self, blind=False):
        self.blind, self.sizes = blind, []

    def parse(self, images):
        self.sizes += [tuple(image.shape[:2]) for image in images]
        return [Parts(image.shape[:2], self.blind) for image in images]


class Parts:
    def __init__(self, size, blind):
        self.size, self.blind = size, blind

    def total(self, labels):
        mask = marked([centre_face(*self.size)], *self.size) if labels == ["Face"] and not self.blind else torch.zeros(self.size)
        return mask.bool()


class Dots:
    """Landmarks at fixed places of the face's box."""

    name = "dots"

    def __init__(self, sees=True):
        self.sees = sees

    def find(self, images, faces):
        if not self.sees:
            return [None] * len(faces)
        places = np.random.default_rng(1).uniform(0.2, 0.8, (70, 2))
        places[36:48, 1] = 0.4
        return [face.box[:2] + places * (face.box[2:] - face.box[:2]) for face in faces]


class Fusion:
    """Paints the whole picture white and remembers where it was asked to."""

    def __init__(self):
        self.targets, self.users = [], []

    def read_source(self, photo, points):
        self.users.append((photo, points))
        return "user"

    def replace(self, pictures, targets, user, enhance):
        assert user == "user"
        self.targets.append((targets, enhance))
        return [torch.ones_like(picture) for picture in pictures]


@pytest.mark.parametrize("nets", [("pose",), ("canny",), ()])
def test_what_is_not_connected_steers_nothing(studio, nets):
    studio.nets, studio.colour = nets, {"base": 0.5}
    images, report = studio.run(target_picture([FACE]), landmarker=Dots(), parser=Parser())
    assert [list(hints(call)) for call in studio.calls] == [[name for name in nets if name == "pose"], list(nets), list(nets)]
    missing = [name for name in ("pose", "canny") if name not in nets]
    assert [note.split()[1] for note in report.notes if "is connected" in note] == missing
    assert len(images) == 1 and (images[0] != target_picture([FACE]).image).any()


def test_stage_one_is_steered_by_the_face_where_no_pose_is_known(studio):
    studio.run(target_picture([FACE]))
    (pose, strength) = hints(studio.calls[0])["pose"]
    target = affine.transform_points(FACE.points, geometry.face_square(FACE.box).to_crop(SIZE))
    assert strength == 1.0 and list(hints(studio.calls[0])) == ["pose"]
    assert torch.allclose(pose[0], control_pictures.face_control(None, target, SIZE))


def test_stage_one_is_steered_by_the_body_of_the_person(studio):
    joints = np.zeros((18, 3))
    joints[0], joints[1] = (159, 100, 1), (159, 125, 1)
    stranger = np.zeros((18, 3))
    stranger[0] = (20, 20, 1)
    people = [{"pose_keypoints_2d": values.ravel().tolist()} for values in (stranger, joints)]
    frame = {"canvas_width": 320, "canvas_height": 240, "people": people}
    studio.run(target_picture([FACE], pose=Pose(frame=frame)))
    pose, _ = hints(studio.calls[0])["pose"]
    x, y = affine.transform_points(joints[1:2, :2], geometry.face_square(FACE.box).to_crop(SIZE))[0].astype(int)
    assert (pose[0, y, x] - torch.tensor([255, 85, 0]) / 255).abs().max() < 0.25
    stage2, _ = hints(studio.calls[1])["pose"]
    refine, _ = hints(studio.calls[2])["pose"]
    assert stage2[0, y, x].sum() < 0.1 and refine[0, y, x].sum() > 0.5


def test_a_frame_of_half_the_resolution_is_the_same_pose(studio):
    def frame(scale):
        joints = np.zeros((18, 3))
        joints[0], joints[1] = (159 * scale, 100 * scale, 1), (159 * scale, 125 * scale, 1)
        return {"canvas_width": 320 * scale, "canvas_height": 240 * scale, "people": [{"pose_keypoints_2d": joints.ravel().tolist()}]}

    for scale in (1, 0.5):
        studio.run(target_picture([FACE], pose=Pose(frame=frame(scale))))
    assert torch.equal(hints(studio.calls[0])["pose"][0], hints(studio.calls[3])["pose"][0])


def test_a_drawn_pose_is_cut_out_with_the_face(studio):
    drawing = torch.zeros(240, 320, 3)
    drawing[90:110, 150:170, 1] = 1
    studio.run(target_picture([FACE], pose=Pose(drawing=drawing)))
    expected = geometry.crop(drawing, geometry.face_square(FACE.box), SIZE)
    assert torch.equal(hints(studio.calls[0])["pose"][0][0], expected)
    refine = hints(studio.calls[2])["pose"][0][0]
    assert (refine >= expected).all() and (refine > expected).any()


def test_stage_two_paints_the_published_mask_with_the_published_weights(studio):
    picture = target_picture([FACE])
    studio.run(picture)
    call = studio.calls[1]
    square = geometry.face_square(FACE.box)
    face = (geometry.crop(picture.given.face, square, SIZE) >= 0.5).float()
    five = affine.transform_points(FACE.points, square.to_crop(SIZE))
    eyes = geometry.eye_line(five)
    generated = centre_face(SIZE, SIZE)
    matrix = affine.similarity_transform(generated.points, five)
    own = affine.warp(face, affine.similarity_transform(five, generated.points), (SIZE, SIZE))
    warped = geometry.warp_mask(geometry.face_only(own, generated.box), matrix, SIZE)
    paint = masks.repaint(face, 0.1, 0.06, eyes, warped)
    assert torch.equal(call.masks[0, 0], masks.latent_mask(paint, 8))
    shown = hints(call)
    assert (shown["pose"][1], shown["canny"][1]) == (1.0, 0.2) and call.skipped == 14
    crop = geometry.crop(picture.image, square, SIZE)
    assert torch.equal(shown["canny"][0][0], masks.edges(crop, masks.repaint(face, 0.05, eyes=eyes)))
    assert torch.allclose(shown["pose"][0][0], control_pictures.face_control(None, affine.transform_points(generated.points, matrix), SIZE))


def test_stage_three_paints_lightly_along_all_edges(studio):
    studio.colour = {"base": 0.5}
    picture = target_picture([FACE])
    studio.run(picture)
    call = studio.calls[2]
    face = (geometry.crop(picture.given.face, geometry.face_square(FACE.box), SIZE) >= 0.5).float()
    assert torch.equal(call.masks[0, 0], masks.latent_mask(masks.repaint(face, 0.02), 8))
    shown = hints(call)
    assert (shown["pose"][1], shown["canny"][1]) == (0.8, 0.8) and call.skipped == 36
    assert len({one.seeds[0] for one in studio.calls}) == 3


def test_the_neck_is_painted_only_when_asked(studio):
    picture = target_picture([FACE])
    neck = torch.zeros(240, 320)
    neck[130:145, 140:180] = 1
    picture = replace(picture, given=replace(picture.given, neck=neck))
    for include in (False, True):
        studio.run(picture, neck=include, refine=False)
    without, with_neck = studio.calls[1].masks.sum(), studio.calls[3].masks.sum()
    assert with_neck > without


def test_landmarks_of_the_generated_face_are_warped_and_drawn(studio):
    _, report = studio.run(target_picture([FACE]), landmarker=Dots())
    generated = Dots().find([None], [centre_face(SIZE, SIZE)])[0]
    square = geometry.face_square(FACE.box)
    box = affine.transform_points(FACE.box.reshape(2, 2), square.to_crop(SIZE)).reshape(4)
    target = Dots().find([None], [replace(FACE, box=box)])[0]
    matrix = affine.similarity_transform(five_points(generated), five_points(target))
    expected = control_pictures.face_control(affine.transform_points(generated, matrix), None if matrix is None else np.zeros((5, 2)), SIZE)
    assert torch.allclose(hints(studio.calls[1])["pose"][0][0], expected, atol=1e-5)
    assert not any("only eyes, nose and mouth" in note for note in report.notes)


def test_a_landmarker_that_sees_nothing_leaves_five_points(studio):
    _, report = studio.run(target_picture([FACE]), landmarker=Dots(sees=False))
    assert any("only eyes, nose and mouth" in note for note in report.notes)


def test_the_parser_fills_what_is_not_connected(studio):
    parser = Parser()
    picture = target_picture([FACE])
    given = replace(picture.given, face=None)
    studio.run(replace(picture, given=given), parser=parser)
    # the picture's crop, the generated face, the result of stage 2
    assert parser.sizes == [(SIZE, SIZE)] * 3
    square = geometry.face_square(FACE.box)
    face = marked([centre_face(SIZE, SIZE)], SIZE, SIZE)
    edges = masks.edges(
        geometry.crop(picture.image, square, SIZE),
        masks.repaint(face, 0.05, eyes=geometry.eye_line(affine.transform_points(FACE.points, square.to_crop(SIZE)))),
    )
    assert torch.equal(hints(studio.calls[1])["canny"][0][0], edges)


def test_a_blind_parser_on_generated_faces_uses_the_pictures_own_shape(studio):
    picture = target_picture([FACE])
    (seen,), _ = studio.run(picture, parser=Parser(blind=True))
    (unparsed,), _ = studio.run(picture)
    assert torch.equal(seen, unparsed)


def test_the_fusion_sees_the_generated_and_the_painted_face(studio):
    fusion, photo = Fusion(), torch.rand(200, 160, 3)
    picture = target_picture([FACE], people=True)
    (result,), _ = studio.run(picture, fusion=fusion, photo=photo)
    assert torch.equal(fusion.users[0][0], photo) and len(fusion.targets) == 2
    assert [target.picture for target in fusion.targets[0][0]] == [0] and fusion.targets[0][1] is True
    # the fused face is white where the grown face mask is, and nowhere else
    assert result[99, 159].min() > 0.99
    face = (geometry.crop(picture.given.face, geometry.face_square(FACE.box), SIZE) >= 0.5).float()
    beside = masks.fusion_region(face)[64] == 0
    x0 = geometry.face_square(FACE.box).box[0]
    row = result[99, x0 : x0 + 128]
    assert (row[beside] < 0.999).any()


def test_a_given_face_is_not_fused_before_it_is_used(studio):
    fusion = Fusion()
    studio.run(target_picture([FACE], generated=[torch.rand(200, 160, 3)]), fusion=fusion, photo=torch.rand(64, 64, 3))
    assert [len(targets) for targets, _ in fusion.targets] == [0, 1]


def test_no_photograph_means_no_fusion_and_the_report_says_so(studio):
    fusion = Fusion()
    _, report = studio.run(target_picture([FACE]), fusion=fusion)
    assert not fusion.targets and any("no photograph of that face" in note for note in report.notes)


def test_the_person_brings_their_own_photograph(studio):
    fusion, photo = Fusion(), torch.rand(64, 64, 3)
    studio.run(target_picture([FACE]), [Person("ann", {}, "<fcsks>, a girl", photo=photo)], FaceAssignment(), fusion=fusion)
    assert torch.equal(fusion.users[0][0], photo) and "a girl, children" in studio.calls[0].prompt


@pytest.mark.parametrize("trigger, negative", [("<fcsks>, a mature man", "blurry, children")])
def test_the_person_in_the_model_is_called_by_the_trigger(studio, trigger, negative):
    studio.run(target_picture([FACE]))
    assert studio.calls[0].prompt.startswith(trigger) and studio.calls[0].negative == negative


def test_targets_know_what_they_must_not_touch(studio):
    faces = [face_at(75, 60, 40), FACE]
    picture = target_picture(faces)
    targets, reasons = prepare(
        picture.image, faces, [1], GivenMasks(*vars(picture.given).values()), Pose(), studio.inpaint()._analyzer, SIZE
    )
    assert not reasons and [target.number for target in targets] == [2]
    assert np.array_equal(targets[0].others[0], faces[0].box)
    x0, y0, _, _ = targets[0].square.box
    pixels = targets[0].pixels(torch.ones(240, 320, 3))
    box = faces[0].box.astype(int)
    overlap = pixels[box[1] - y0 : box[3] - y0, max(box[0] - x0, 0) : box[2] - x0]
    assert not overlap.any() and pixels.any()


class EverythingIsFace(Parser):
    """Takes every pixel for a face, as a parser may with a second person behind the first."""

    def parse(self, images):
        return [FullParts(image.shape[:2]) for image in images]


class FullParts:
    def __init__(self, size):
        self.size = size

    def total(self, labels):
        return torch.full(self.size, labels == ["Face"])


def test_of_the_generated_picture_only_what_is_near_its_face_counts(studio):
    picture = target_picture([FACE])
    picture = replace(picture, given=replace(picture.given, human=None))
    studio.run(picture, parser=EverythingIsFace(), refine=False)
    square, generated = geometry.face_square(FACE.box), centre_face(SIZE, SIZE)
    five = affine.transform_points(FACE.points, square.to_crop(SIZE))
    near = geometry.face_only(torch.ones(SIZE, SIZE), generated.box)
    warped = geometry.warp_mask(near, affine.similarity_transform(generated.points, five), SIZE)
    face = (geometry.crop(picture.given.face, square, SIZE) >= 0.5).float()
    paint = masks.repaint(face, 0.1, 0.06, geometry.eye_line(five), warped)
    assert warped.mean() < 0.9 and torch.equal(studio.calls[1].masks[0, 0], masks.latent_mask(paint, 8))
