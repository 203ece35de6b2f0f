"""Poses drawn as pose ControlNets saw them in training, with the host's drawing code."""

from __future__ import annotations

import cv2
import numpy as np

from .protocols import PoseDrawer

BODY, FACE, HAND = 18, 68, 21
_FEET = 6
_HEAD = (0, 14, 15, 16, 17)
LIMB_SHADE = 0.6
JOINT_RADIUS = 4


def draw(size: int, body: np.ndarray | None = None, hands: np.ndarray | None = None, face: np.ndarray | None = None) -> np.ndarray:
    """A pose on black, uint8 [size, size, 3].

    body [18, 3], hands [2, 21, 3] right then left, face [N, 3]: x, y in pixels and a score; points below 0.3 are not drawn.
    """
    canvas = np.zeros((size, size, 3), np.uint8)
    if body is not None:
        _draw_body(canvas, body)
    if hands is not None:
        points = np.concatenate([_nothing(BODY + _FEET + FACE), *hands])
        drawer().draw_wholebody_keypoints(canvas, points[:, :2], points[:, 2], draw_body=False, draw_head=False, draw_face=False)
    if face is not None:
        for x, y, score in face:
            if score >= 0.3 and 0 <= x < size and 0 <= y < size:
                cv2.circle(canvas, (int(x), int(y)), 3, (255, 255, 255), thickness=-1)
    return canvas


def _draw_body(canvas: np.ndarray, body: np.ndarray) -> None:
    """Limbs in darker colours than the host draws them: the annotator of the training pictures dims them, then adds the joints."""
    limbs = drawer()
    colours = limbs.colors
    limbs.colors = [[int(value * LIMB_SHADE) for value in colour] for colour in colours]
    limbs.draw_wholebody_keypoints(canvas, body[:, :2], body[:, 2], draw_hands=False, draw_face=False, draw_feet=False)
    for (x, y, score), colour in zip(body, colours):
        if score >= 0.3 and 0 <= x < canvas.shape[1] and 0 <= y < canvas.shape[0]:
            cv2.circle(canvas, (int(x), int(y)), JOINT_RADIUS, colour, thickness=-1)


def _nothing(count: int) -> np.ndarray:
    return np.zeros((count, 3))


def drawer() -> PoseDrawer:
    """The host's drawing code, with the colours of the joints in `colors`."""
    # The host has loaded this file under another name, so that importing it runs all of it once more.
    from comfy_extras.nodes_sdpose import KeypointDraw

    return KeypointDraw()
