"""Prompts of portraits: person, scene, and negative prompt.

FaceChain's prompts have no weights: brackets have no meaning here. Words for an ethnicity come only from the user.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..identity.captions import ADULT, CHILD, CHILDREN, MATURE, TRIGGERS

ADULT_MALE_TRIGGERS = (TRIGGERS[ADULT][0], TRIGGERS[MATURE][0])

SCENE_INPAINT = "plain studio background, one person, upper body, detailed face, photorealistic, best quality, wearing a T-shirt"
NEGATIVE_INPAINT = (
    "nsfw, painting, sketch, worst quality, low quality, normal quality, monochrome, grayscale, logo, text, watermark, signature"
)
NEGATIVE_PORTRAIT = (
    f"{NEGATIVE_INPAINT}, username, low resolution, bad hands, extra fingers, fewer fingers, extra limbs, tattoo, mole, skin blemishes"
)
LEAD = "raw photo, masterpiece"
CLOTHES_TAIL = "one person, medium shot, detailed face, facing the camera with level shoulders, photorealistic, best quality"
STYLE_TAIL = "upper body, raw photo, masterpiece, one person, medium shot, detailed face, photorealistic, best quality"


class Prompt(NamedTuple):
    positive: str
    negative: str


def join(*parts: str) -> str:
    """The non-empty parts, joined with commas."""
    return ", ".join(part for part in (text.strip(" ,\n") for text in parts) if part)


def identity(trigger: str) -> str:
    """The words a face LoRA was trained with, as in its captions, and `children` after a boy or a girl."""
    subject = _subject(trigger)
    child = CHILDREN if subject in TRIGGERS[CHILD] and not _says(trigger, CHILDREN) else ""
    return join(trigger, child)


def unwanted(trigger: str, negative: str) -> str:
    """`negative`, with `children` for adult men."""
    return join(negative, CHILDREN if _subject(trigger) in ADULT_MALE_TRIGGERS and not _says(negative, CHILDREN) else "")


def scene(trigger: str, words: str, negative: str, ethnicity: str = "") -> Prompt:
    """The person of `trigger` in the scene that `words` describe."""
    return Prompt(join(identity(trigger), ethnicity, LEAD, words), unwanted(trigger, negative))


def portrait(trigger: str, style: str, with_style_lora: bool, negative: str = NEGATIVE_PORTRAIT, ethnicity: str = "") -> Prompt:
    """A portrait of the person of `trigger`: `style` names clothes, or describes what a style LoRA draws."""
    parts = (ethnicity, style, STYLE_TAIL) if with_style_lora else (LEAD, ethnicity, style, CLOTHES_TAIL)
    return Prompt(join(identity(trigger), *parts), unwanted(trigger, negative))


def _subject(trigger: str) -> str:
    """The part of a trigger that names a boy, girl, man or woman, without the token."""
    parts = [part.strip() for part in trigger.split(",")]
    return next((part for part in parts if part and not part.startswith("<")), "")


def _says(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text) is not None
