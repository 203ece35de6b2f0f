"""What is promised about pictures and people, with models that paint flat colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceNotFound
from facechain_impl.portrait.inpaint.geometry import face_square
from facechain_impl.portrait.inpaint.group import FaceAssignment
from facechain_impl.portrait.inpaint.masks import paste_mask
from facechain_impl.portrait.inpaint.targets import GivenMasks, Pose
from facechain_impl.portrait.people import Assign
from facechain_impl.types import NoFace

from ..conftest import face_at, person, target_picture

THREE = [face_at(20, 60, 40), face_at(130, 70, 50), face_at(250, 90, 45)]


def pasted(image, faces, index):
    """The soft mask of one face in the whole picture."""
    others = [face.box for i, face in enumerate(faces) if i != index]
    (x0, y0, x1, y1), mask = paste_mask(face_square(faces[index].box), faces[index].box, others, *image.shape[:2])
    whole = torch.zeros(image.shape[:2])
    whole[y0:y1, x0:x1] = mask
    return whole


def changed(result, image):
    return (result != image).any(-1)


@pytest.mark.parametrize("refine", [True, False])
def test_unchanged_latents_leave_the_picture_within_one_level(studio, refine):
    picture = target_picture([THREE[1]])
    (result,), _ = studio.run(picture, refine=refine)
    assert len(studio.calls) == (3 if refine else 2)
    # the crop is 110 px and painted at 128, which costs detail only where it is painted
    painted = torch.zeros(picture.image.shape[:2], dtype=torch.bool)
    painted[55:145, 115:195] = True
    assert (result - picture.image).abs()[~painted].max() < 1 / 255
    outside = pasted(picture.image, [THREE[1]], 0) == 0
    assert torch.equal(result[outside], picture.image[outside])


def test_unchanged_latents_of_a_crop_of_the_paintings_size_are_the_picture(studio):
    face = face_at(100, 80, 58)
    assert 2 * face_square(face.box).half == 128
    picture = target_picture([face])
    (result,), _ = studio.run(picture)
    assert (result - picture.image).abs().max() < 1 / 255


def test_a_real_edit_changes_the_face_and_nothing_outside_the_paste_mask(studio):
    studio.colour = {"base": 0.9}
    picture = target_picture(THREE)
    (result,), report = studio.run(picture, choice=FaceAssignment(which="2"))
    mask = pasted(picture.image, THREE, 1)
    assert torch.equal(result[mask == 0], picture.image[mask == 0])
    x0, y0, x1, y1 = THREE[1].box.astype(int)
    assert (result[y0 + 15 : y1 - 15, x0 + 15 : x1 - 15] - 0.9005).abs().max() < 0.4 and changed(result, picture.image)[y0:y1, x0:x1].any()
    assert [(row.name, row.status) for row in report.rows] == [("party.png, face 2", "painted")]


@pytest.mark.parametrize("settings, choice", [({"strength": 0.0}, FaceAssignment()), ({}, FaceAssignment(which="none"))])
def test_nothing_to_do_is_the_picture_exactly(studio, settings, choice):
    studio.colour = {"base": 0.9}
    picture = target_picture(THREE)
    images, report = studio.run(picture, choice=choice, variants=2, **settings)
    assert len(images) == 2 and all(torch.equal(image, picture.image) for image in images)
    assert not studio.calls and report.rows[0].status == "unchanged"


def test_the_template_itself_is_never_written_to(studio):
    studio.colour = {"base": 0.9}
    picture = target_picture(THREE)
    before = picture.image.clone()
    studio.run(picture)
    assert torch.equal(picture.image, before)


def test_one_person_goes_onto_one_face_and_the_others_keep_their_bits(studio):
    studio.colour = {"ann": 0.2}
    picture = target_picture(THREE)
    (result,), _ = studio.run(picture, [person("ann")], FaceAssignment(how=Assign.LIST, entries="0, ann, 0"))
    assert {call.model for call in studio.calls} == {"ann"}
    for index in (0, 2):
        x0, y0, x1, y1 = THREE[index].box.astype(int)
        assert torch.equal(result[y0:y1, x0:x1], picture.image[y0:y1, x0:x1])
    x0, y0, x1, y1 = THREE[1].box.astype(int)
    assert changed(result, picture.image)[y0:y1, x0:x1].any()


def test_neighbours_inside_the_crop_keep_their_bits_too(studio):
    studio.colour = {"ann": 0.2}
    faces = [face_at(70, 72, 44), face_at(130, 70, 50), face_at(186, 76, 44)]
    x0, _, x1, _ = face_square(faces[1].box).box
    assert x0 < faces[0].box[2] and faces[2].box[0] < x1
    picture = target_picture(faces)
    (result,), _ = studio.run(picture, [person("ann")], FaceAssignment(how=Assign.LIST, entries="0, ann, 0"))
    for index in (0, 2):
        x0, y0, x1, y1 = faces[index].box.astype(int)
        assert torch.equal(result[y0:y1, x0:x1], picture.image[y0:y1, x0:x1])


def test_three_people_each_with_their_own_model_and_trigger(studio):
    studio.colour = {"ann": 0.1, "ben": 0.5, "cy": 0.9}
    picture = target_picture(THREE)
    (result,), report = studio.run(picture, [person("ann"), person("ben"), person("cy")], refine=False)
    assert [call.model for call in studio.calls] == ["ann", "ann", "ben", "ben", "cy", "cy"]
    assert studio.calls[2].prompt.startswith("<fcsks>, a beautiful woman, ben, raw photo, masterpiece, in a garden")
    assert [row.values["person"] for row in report.rows] == ["ann", "ben", "cy"]


def test_faces_are_painted_in_the_colour_of_their_person(studio):
    studio.colour = {"ann": 0.1, "ben": 0.5, "cy": 0.9}
    picture = target_picture(THREE, people=True)
    (result,), _ = studio.run(picture, [person("cy"), person("ann"), person("ben")], refine=False)
    for face, colour in zip(THREE, (0.9, 0.1, 0.5)):
        x, y = ((face.box[:2] + face.box[2:]) / 2).astype(int)
        assert result[y + 4, x].mean() == pytest.approx(colour, abs=0.25)


def test_crops_of_one_model_share_their_samplings(studio):
    studio.run(target_picture(THREE), choice=FaceAssignment(which="all"), variants=2, batch=8)
    assert [len(call.seeds) for call in studio.calls] == [6, 6, 6]
    assert [call.skipped for call in studio.calls] == [0, 14, 36]


def test_the_batch_size_does_not_change_the_picture(studio):
    studio.colour = {"base": 0.6}
    together, _ = studio.run(target_picture(THREE), choice=FaceAssignment(which="all"), variants=2, batch=8)
    apart, _ = studio.run(target_picture(THREE), choice=FaceAssignment(which="all"), variants=2, batch=1)
    assert max(len(call.seeds) for call in studio.calls[3:]) == 1
    assert all(torch.equal(one, other) for one, other in zip(together, apart))


def test_variants_and_faces_have_their_own_seeds(studio):
    studio.colour = {"base": 0.6}
    images, _ = studio.run(target_picture(THREE), choice=FaceAssignment(which="1,3"), variants=2, seed=100, batch=8)
    assert len(set(studio.calls[0].seeds)) == 4 and 100 in studio.calls[0].seeds
    assert not torch.equal(*images)
    again, _ = studio.run(target_picture(THREE), choice=FaceAssignment(which="1,3"), variants=2, seed=100, batch=8)
    assert all(torch.equal(one, other) for one, other in zip(images, again))


def test_fewer_persons_than_faces_and_more(studio):
    studio.colour = {"ann": 0.3, "ben": 0.4}
    _, report = studio.run(target_picture(THREE[:1]), [person("ann"), person("ben")])
    assert [(row.name, row.status) for row in report.rows] == [("ben", "not used"), ("party.png, face 1", "painted")]


def test_overlapping_faces_are_both_painted_each_on_its_side(studio):
    studio.colour = {"ann": 0.0, "ben": 1.0}
    faces = [face_at(100, 80, 60), face_at(140, 84, 60)]
    picture = target_picture(faces, people=True)
    (result,), _ = studio.run(picture, [person("ann"), person("ben")], refine=False)
    left, right = result[110, 118].mean(), result[114, 182].mean()
    assert left < 0.2 and right > 0.8
    # the seam lies halfway between the two middles
    assert result[112, 146].mean() < result[112, 154].mean()


def test_a_face_at_the_border(studio):
    studio.colour = {"base": 0.7}
    face = face_at(-20, -15, 60)
    picture = target_picture([face])
    (result,), _ = studio.run(picture)
    assert torch.equal(result[100:], picture.image[100:]) and changed(result, picture.image)[:40, :35].any()


def test_a_tiny_face(studio):
    studio.colour = {"base": 0.7}
    face = face_at(150, 100, 6)
    picture = target_picture([face], people=True)
    (result,), _ = studio.run(picture)
    touched = changed(result, picture.image).nonzero()
    square = face_square(face.box)
    assert len(touched) and (touched.amin(0) >= torch.tensor([square.box[1], square.box[0]])).all()


@pytest.mark.parametrize("no_face, count", [(NoFace.SKIP, 0), (NoFace.PASS, 1)])
def test_noise_without_a_face_gets_the_policys_answer(studio, no_face, count):
    studio.faces = False
    picture = target_picture(THREE[:2])
    images, report = studio.run(picture, no_face=no_face)
    assert len(images) == count and all(torch.equal(image, picture.image) for image in images)
    assert report.rows[-1].status == ("skipped" if no_face is NoFace.SKIP else "passed through")
    assert "no face was found in the generated stage-1 picture" in report.rows[-1].reason


def test_noise_stops_by_default(studio):
    studio.faces = False
    with pytest.raises(FaceNotFound, match=r"party.png: face 2: no face was found in the generated stage-1 picture"):
        studio.run(target_picture(THREE[:2]), choice=FaceAssignment(which="2"))


def test_a_picture_without_faces_gets_the_policys_answer(studio):
    with pytest.raises(FaceNotFound, match="party.png: no face was found"):
        studio.run(target_picture([]))
    assert studio.run(target_picture([]), no_face=NoFace.SKIP)[0] == []
    (result,), _ = studio.run(target_picture([]), no_face=NoFace.PASS)
    assert torch.equal(result, target_picture([]).image)


@pytest.mark.parametrize("no_face", [NoFace.STOP, NoFace.SKIP])
def test_a_face_that_cannot_be_edited_costs_no_sampling(studio, no_face):
    picture = target_picture([replace(THREE[0], points=None), THREE[2]])
    if no_face is NoFace.STOP:
        with pytest.raises(FaceNotFound, match="face 1: its eyes, nose and mouth were not found"):
            studio.run(picture, choice=FaceAssignment(which="all"))
    else:
        assert studio.run(picture, choice=FaceAssignment(which="all"), no_face=no_face)[0] == []
    assert not studio.calls


def test_one_bad_face_of_two_passes_through_and_the_other_is_painted(studio):
    studio.colour = {"base": 0.7}
    blind = replace(THREE[0], points=None)
    picture = target_picture([blind, THREE[2]])
    (result,), report = studio.run(picture, choice=FaceAssignment(which="all"), no_face=NoFace.PASS)
    statuses = {row.name: (row.status, row.reason) for row in report.rows}
    assert statuses["party.png, face 1"] == ("left as it was", "its eyes, nose and mouth were not found")
    assert statuses["party.png, face 2"][0] == "painted"
    x0, y0, x1, y1 = blind.box.astype(int)
    assert torch.equal(result[y0:y1, x0:x1], picture.image[y0:y1, x0:x1])


def test_an_empty_face_mask_is_a_missing_face(studio):
    picture = target_picture(THREE[:1])
    picture = replace(picture, given=replace(picture.given, face=torch.zeros(240, 320)))
    with pytest.raises(FaceNotFound, match="the face mask, or the parsing network.s output, is empty there"):
        studio.run(picture)


def test_given_stage_one_pictures_replace_the_generated_ones(studio):
    portrait = torch.rand(200, 160, 3)
    studio.run(target_picture(THREE[:2], generated=[portrait]), choice=FaceAssignment(which="all"))
    assert [call.skipped for call in studio.calls] == [14, 36]
    with pytest.raises(BadInput, match="3 stage-1 pictures for 2 faces"):
        studio.run(target_picture(THREE[:2], generated=[portrait] * 3), choice=FaceAssignment(which="all"))


def test_masks_of_another_picture_are_refused(studio):
    picture = target_picture(THREE[:1])
    with pytest.raises(BadInput, match="The human mask is 64x32, the picture is 320x240"):
        studio.run(replace(picture, given=GivenMasks(picture.given.face, torch.zeros(32, 64), picture.given.neck)))


def test_a_pose_of_another_shape_is_refused(studio):
    with pytest.raises(BadInput, match="The pose is 100x100, the picture is 320x240"):
        studio.run(target_picture(THREE[:1], pose=Pose(drawing=torch.ones(100, 100, 3))))


def test_a_black_pose_picture_is_an_error(studio):
    with pytest.raises(BadInput, match="black around face 1"):
        studio.run(target_picture(THREE[:1], pose=Pose(drawing=torch.zeros(240, 320, 3))))


def test_crop_sizes_that_the_vae_cannot_cut_are_refused(studio):
    with pytest.raises(BadInput, match="multiple of 8"):
        studio.inpaint(size=100)


def test_all_pictures_skipped_is_an_error(studio):
    inpaint = studio.inpaint()
    with pytest.raises(FaceNotFound, match="All 2 pictures were skipped"):
        inpaint.run_all([target_picture([]), target_picture([])], FaceAssignment(), 0, 1, NoFace.SKIP)
    with pytest.raises(BadInput, match="no picture"):
        inpaint.run_all([], FaceAssignment(), 0, 1, NoFace.STOP)


def test_without_landmarks_the_report_says_what_is_lost(studio):
    _, report = studio.run(target_picture(THREE[:1]))
    assert any("only eyes, nose and mouth guide" in note for note in report.notes)


def test_likeness_decides_in_the_mirror_too(studio):
    studio.colour = {"ann": 0.0, "ben": 1.0}
    one, other = (np.eye(512, dtype=np.float32)[i] for i in (0, 1))
    people = [person("ann", one), person("ben", other)]
    faces = [replace(face_at(40, 80, 50), embedding=other), replace(face_at(200, 80, 50), embedding=one)]
    mirrored = [replace(face_at(70, 80, 50), embedding=one), replace(face_at(230, 80, 50), embedding=other)]
    (plain,), _ = studio.run(target_picture(faces, people=True), people, refine=False)
    (flipped,), _ = studio.run(target_picture(mirrored, people=True), people, refine=False)
    assert plain[112, 65].mean() > 0.8 and plain[112, 225].mean() < 0.2
    assert flipped[112, 95].mean() < 0.2 and flipped[112, 255].mean() > 0.8
