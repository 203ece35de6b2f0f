"""Repositories, each with the revision in use, and licences that several of the published files share."""

from __future__ import annotations

from .published import Licence

APACHE = Licence("Apache-2.0", True)
CARD = Licence("Apache-2.0 on the model card", None, "unconfirmed, and the card does not cover the training data")
UNKNOWN = Licence("none found", None, "ask its author")

SKIN_REPO = ("damo/cv_unet_skin_retouching_torch", "v1.0.1")
SKIN = Licence("Apache-2.0 on the model card", False, "trained on CRHD-3K, which is non-commercial")

FUSION_REPO = ("damo/cv_unet_face_fusion_torch", "v1.0.3")

FACT_REPO = ("yucheng1996/FaceChain-FACT", "v1.0.0")
FACT = Licence("none published", False, "trained on MS1M faces, which are for research only")

SADTALKER_REPO = ("wwd123/sadtalker", "v1.0.0")
SADTALKER = Licence("Apache-2.0", False, "the renderer derives from CC BY-NC 4.0 work, the audio encoder from non-commercial LRS2 data")

PORTRAIT_REPO = "ly261666/cv_portrait_model"
