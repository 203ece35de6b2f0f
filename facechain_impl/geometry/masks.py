"""Masks made from parsed parts of a person."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import FaceNotFound


def head_mask(face: np.ndarray, hair: np.ndarray | None, human: np.ndarray | None) -> np.ndarray:
    """The head of a portrait: face and hair in one piece, as float32 [H, W] of 0 and 1.

    All masks are [H, W] of zeros and ones; without a hair or human mask the face alone bounds the head. Raises
    FaceNotFound when the three have no part in common.
    """
    face = np.asarray(face, np.float32)
    head = face if hair is None else np.clip(face + np.asarray(hair, np.float32), 0, 1)
    reach = max(int(np.sqrt(face.sum()) / 20), 1)
    head = cv2.dilate(head, np.ones((reach, reach), np.float32))
    if human is not None:
        head = head * np.asarray(human, np.float32)
    contours, _ = cv2.findContours((head * 255 > 127).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not contours:
        raise FaceNotFound("No head was found: face, hair and person do not overlap. Use a photo that shows the whole head.")
    filled = cv2.drawContours(np.zeros(face.shape, np.uint8), [max(contours, key=cv2.contourArea)], -1, 1, -1)
    return np.clip(filled + face, 0, 1).astype(np.float32)
