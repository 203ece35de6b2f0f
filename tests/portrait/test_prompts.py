"""Prompts: the trigger as trained, the rule about children, and no ethnicity that nobody asked for."""

from __future__ import annotations

import pytest

from facechain_impl.portrait import prompts


@pytest.mark.parametrize(
    "trigger, says",
    [
        ("<fcsks>, a boy, children", "<fcsks>, a boy, children"),
        ("<fcsks>, a girl", "<fcsks>, a girl, children"),
        ("<fcsks>, a beautiful woman", "<fcsks>, a beautiful woman"),
        ("ohwx man", "ohwx man"),
        ("", ""),
    ],
)
def test_identity_is_the_trigger_of_the_captions(trigger, says):
    assert prompts.identity(trigger) == says


@pytest.mark.parametrize(
    "subject, forbidden", [("a handsome man", True), ("a mature man", True), ("a mature woman", False), ("a boy", False)]
)
def test_only_adult_men_forbid_children(subject, forbidden):
    prompt = prompts.scene(f"<fcsks>, {subject}", "in a garden", "blurry")
    assert prompt.negative == ("blurry, children" if forbidden else "blurry")


def test_children_are_forbidden_once():
    assert prompts.scene("<fcsks>, a mature man", "", "children, blurry").negative == "children, blurry"


def test_ethnicity_is_what_the_user_wrote_and_else_nothing():
    plain = prompts.scene("<fcsks>, a mature woman", prompts.SCENE_INPAINT, prompts.NEGATIVE_INPAINT)
    asked = prompts.scene("<fcsks>, a mature woman", prompts.SCENE_INPAINT, prompts.NEGATIVE_INPAINT, "norwegian")
    assert "chinese" not in plain.positive and asked.positive.split(", ")[2] == "norwegian"
    assert asked.positive.replace("norwegian, ", "") == plain.positive


def test_nothing_is_weighted():
    texts = (
        prompts.SCENE_INPAINT,
        prompts.NEGATIVE_INPAINT,
        prompts.NEGATIVE_PORTRAIT,
        prompts.STYLE_TAIL,
        prompts.CLOTHES_TAIL,
        prompts.LEAD,
    )
    assert not any(character in text for text in texts for character in "()[]:")


def test_a_style_lora_leads_and_clothes_are_worn():
    styled = prompts.portrait("<fcsks>, a handsome man", "oil painting of a knight", True).positive
    dressed = prompts.portrait("<fcsks>, a handsome man", "wearing a hanfu", False, ethnicity="korean").positive
    assert styled.startswith("<fcsks>, a handsome man, oil painting of a knight, upper body")
    assert dressed.startswith("<fcsks>, a handsome man, raw photo, masterpiece, korean, wearing a hanfu, one person")


def test_parts_are_joined_without_empty_places():
    assert prompts.join(" a,", "", "  ", ", b ,", "c\n") == "a, b, c"
