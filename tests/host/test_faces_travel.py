"""FACECHAIN_FACES carry what was found: along a chain of real nodes no network sees the same picture twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ("damofd", "flcm", "fairface", "rts", "fqa")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(pack, tmp_path_factory):
    """Stand-ins of all networks of the chain."""
    import folder_paths

    base = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "models_dir", str(base))
        patch.setattr(folder_paths, "folder_names_and_paths", {"loras": ([str(base)], {".safetensors"})})
        pack("facechain_impl.host.folders").register()
        for name in WEIGHTS:
            pack("facechain_impl.weights.stand_ins.networks").write_stand_in(name, base / "facechain_stand_ins")
        yield


@pytest.fixture
def seen(pack, monkeypatch):
    """How many pictures each network, and the built-in detector, was shown."""
    import onnxruntime

    from ..parity.harness import as_array

    pictures = Counter()
    original = onnxruntime.InferenceSession.run
    haar = pack("facechain_impl.perception.haar").HaarFaces
    find = haar.find

    def count(module, inputs):
        if type(module).__module__.startswith("travelling_pack") and type(module).__name__ in ("DamoFD", "FLCM", "FairFace", "RTS"):
            pictures[type(module).__name__] += len(inputs[0])

    def run(session, outputs, feed, *rest):
        pictures["FQA"] += len(as_array(next(iter(feed.values()))))
        return original(session, outputs, feed, *rest)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    monkeypatch.setattr(haar, "find", lambda self, grey: pictures.update(["Built-in"]) or find(self, grey))
    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    yield pictures
    hook.remove()


def sample(width: int) -> torch.Tensor:
    import numpy as np

    picture = Image.open(ROOT / "assets" / "sample" / "eileen_collins.png").convert("RGB").resize((width, width))
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]


def align(pack, photos, detector, **changes):
    settings = {
        "detector": detector, "rotate_photo": False, "retouch": False, "white_background": False, "confidence_filter": True,
        "min_confidence": -1e9, "main_face_ratio": 1.0, "no_face": "Stop",
    }  # fmt: skip
    return pack("nodes.align").FaceAlign.execute(photos, **{name: [value] for name, value in (settings | changes).items()}).args


def tag(pack, crops, detector, faces):
    settings = {
        "trigger": "automatic", "own_words": "", "token": "x", "extra_tags": "", "append_tags": False, "tag_threshold": 0.5,
        "age_table": next(iter(pack("facechain_impl.identity.captions").AGE_TABLES)), "detector": detector, "no_face": "Stop",
    }  # fmt: skip
    return pack("nodes.tagger").Tagger.execute(crops, faces=[faces], **{name: [value] for name, value in settings.items()}).args


def rank(pack, images, detector, **connected):
    settings = {
        "detector": detector, "choose_reference": True, "one_face_only": False, "check_face_size": False, "min_face": 1, "max_face": 9,
        "keep_best": 0, "no_face": "Stop",
    }  # fmt: skip
    return pack("nodes.rank").RTSRank.execute(images, **{name: [value] for name, value in settings.items()}, **connected).args


@pytest.mark.parametrize("detector", ["Built-in", "DamoFD"])
def test_no_network_sees_a_picture_twice(pack, weights, seen, detector):
    from comfy_execution.utils import CurrentNodeContext

    finder = "DamoFD" if detector == "DamoFD" else "Built-in"
    photos = [sample(400), sample(460)]
    with CurrentNodeContext("a prompt", "1"):
        crops, faces, _ = align(pack, photos, detector)
        looked = seen[finder]
        assert looked == (4 if detector == "DamoFD" else 2), "DamoFD looks again at the photo that was turned upright"
        assert seen["FLCM"] == len(crops) == 2

        _, _, _, tagged = tag(pack, [crops], detector, faces)
        assert seen["FairFace"] == 2
        assert tag(pack, [crops], detector, tagged)[0][0].startswith("x, ")
        assert seen["FairFace"] == 2, "what the first Tagger read came along"

        ranked, _, ranked_faces, references = rank(pack, photos, detector, reference=[crops], reference_faces=[tagged], faces=[faces])
        assert seen["FQA"] == 2 and seen["RTS"] == 1 + 2

        rank(pack, photos, detector, reference=[crops], reference_faces=[references], faces=[ranked_faces])
        rank(pack, ranked, detector, reference=photos, reference_faces=[ranked_faces], faces=[ranked_faces])
        assert seen["RTS"] == 3 and seen["FQA"] == 2 + 2, "only the photos, which nobody had judged before, were judged"
        assert seen[finder] == looked


def test_a_photo_that_is_aligned_again_is_not_looked_at_again(pack, weights, seen):
    photos = [sample(400)]
    _, faces, _ = align(pack, photos, "Built-in", confidence_filter=False)
    again, _, _ = align(pack, photos, "Built-in", confidence_filter=False, faces=faces)
    assert seen == {"Built-in": 1} and len(again) == 1
