"""Published networks that exist as ONNX graphs only. onnxruntime runs them, so there is no architecture of ours beside them."""

from __future__ import annotations

from .published import Entry
from .sources import CARD, SKIN, SKIN_REPO, UNKNOWN

ROTATION = Entry("rot_bgr", "Whole-picture rotation", "Cherrytest/rot_bgr", "v1.0.0", "rot_bgr.onnx", UNKNOWN, megabytes=42.6)
QUALITY = Entry("fqa", "Face quality FQA", "damo/cv_manual_face-quality-assessment_fqa", "v2.0", "model.onnx", CARD)
SKIN_MASK = Entry("skin_mask", "Skin retouch ABPN, skin mask", *SKIN_REPO, "model.onnx", SKIN, bytes=102_544_002)
