"""Every node of the pack on stand-ins in a real host: its report names everything that it opened or was handed."""

from __future__ import annotations

import re
import wave
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from facechain_impl.weights import uses
from facechain_impl.weights.convert import write
from facechain_impl.weights.handed import UNKNOWN
from facechain_impl.weights.stand_ins.controlnet import write_controlnet
from launcher.client import Client
from launcher.server import Server

pytestmark = [pytest.mark.host, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "assets" / "sample" / "eileen_collins.png"
POSE = "provenance-pose.safetensors"
NAMELESS = "provenance-nameless.safetensors"
"""A ControlNet whose header says nothing."""
PERSON = "Provenance"
TALKING = {f"sadtalker_256.{part}" for part in ("reconstruction", "keypoints", "generator", "expression", "pose")}
FUSION = {"fusion_aei", "fusion_arcface", "fusion_recon", "fusion_bfm", "fusion_alpha", "fusion_gpen1024"}
OPENED: dict[str, set[str]] = defaultdict(set)
"""Files that each kind of node opened itself in the tests of this module."""
ONLY_ELSEWHERE = {
    "FaceChain_TrainFaceLoRA": {"face_frombase_c4"},  # fits the full SD 1.5 only: tests/identity/training/test_start.py
    "FaceChain_SadTalker": {"parsenet"},  # with GFPGAN's published weights only: tests/parity/test_sadtalker_enhance.py
    "FaceChain_RenderMotion": {"parsenet"},
}
ALIGN = {"rot_bgr", "skin_unet", "skin_mask", "retinaface", "m2fp", "flcm", "damofd"}


@pytest.fixture(scope="module")
def widgets(server: Server) -> dict[str, dict]:
    """Every node's widgets as the editor fills them in."""
    found: dict[str, dict] = {}
    for name, node in server.client.object_info().items():
        specs = {key: spec for group in node["input"].values() for key, spec in group.items()} if name.startswith("FaceChain_") else {}
        found[name] = {key: value for key, spec in specs.items() if (value := default_of(spec)) is not None}
    return found


def default_of(spec: list):
    options = spec[1] if len(spec) > 1 else {}
    if spec[0] == "COMBO":
        return options.get("default", next(iter(options["options"]), None))
    return None if options.get("forceInput") else options.get("default")


@pytest.fixture(scope="module")
def run(server: Server, widgets):
    """Runs a graph of {key: (class, inputs)} and returns what each of our nodes says that it used."""

    def run(**nodes) -> dict[str, set[tuple[str, str]]]:
        graph = {
            key: {"class_type": kind, "inputs": {**widgets.get(kind, {}), **inputs}, "_meta": {"title": kind}}
            for key, (kind, inputs) in nodes.items()
        }
        outputs = server.client.run(graph)["outputs"]
        reports = {key: outputs[key]["report"] for key, (kind, _) in nodes.items() if kind.startswith("FaceChain_") and key in outputs}
        for key, rows in ((key, row["used"]) for key, found in reports.items() for row in found):
            OPENED[nodes[key][0]] |= {row["name"].partition(".")[0] for row in rows if row["opened"] and row["kind"] == "network"}
        return {key: used(found) for key, found in reports.items()}

    return run


def used(reports: list[dict]) -> set[tuple[str, str]]:
    """(kind, name) of everything, after a check that each row has its origin and that each report warns of its stand-ins."""
    rows = [row for report in reports for row in report["used"]]
    assert [row["origin"] for row in rows] == [origin_of(row) for row in rows], rows
    for report in reports:
        assert set(report["stand_ins"]) == {row["name"] for row in report["used"] if row["origin"] == "stand-in"}
    return {(row["kind"], row["name"]) for row in rows}


def origin_of(row: dict) -> str:
    """Everything here is made of random numbers, but nobody knows that of what was trained, or of what the host forgot the file of."""
    return "unknown" if row["kind"] in ("LORA", "PERSON") or row["name"] == UNKNOWN else "stand-in"


def networks(names: Iterable[str]) -> set[tuple[str, str]]:
    return {("network", name) for name in names}


@pytest.fixture(scope="module")
def base(server: Server, checkpoint: str) -> dict:
    """The loaders of the stand-in checkpoint and ControlNet; the sample photo and a tone are in the input folder."""
    pose = write_controlnet(server.base / "models" / "controlnet" / POSE, 3)
    write(pose.with_name(NAMELESS), {name: value + 1 for name, value in load_file(pose).items()}, {})
    with wave.open(str(server.base / "input" / "provenance.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes((8000 * np.sin(np.arange(6400) / 12)).astype("<i2").tobytes())
    Image.open(SAMPLE).convert("RGB").save(server.base / "input" / "provenance.png")
    return {
        "load": ("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        "photo": ("LoadImage", {"image": "provenance.png"}),
        "pose": ("ControlNetLoader", {"control_net_name": POSE}),
        "nameless": ("ControlNetLoader", {"control_net_name": NAMELESS}),
    }


MODEL = {"model": ["load", 0], "clip": ["load", 1], "vae": ["load", 2]}


def models(checkpoint: str, *kinds: str) -> set[tuple[str, str]]:
    return {(kind, checkpoint) for kind in kinds}


@pytest.fixture(scope="module")
def person(run, base, stand_in, checkpoint):
    """Somebody who was trained on stand-ins; what the training said."""
    for name in ("rts", "fqa"):
        stand_in(name)
    small = {"steps": 1, "resolution": 64, "variants": 1, "preview_every": 0, "augmentation": "Centre crop", "name": PERSON}
    return run(
        load=base["load"], photo=base["photo"],
        crops=("FaceChain_FaceAlign", {"images": ["photo", 0]}),
        captions=("FaceChain_Tagger", {"images": ["crops", 0]}),
        train=("FaceChain_TrainFaceLoRA", {
            **MODEL, **small, "images": ["crops", 0], "captions": ["captions", 0], "faces": ["crops", 1], "if_person_exists": "Replace",
            "if_state_exists": "Start over",
        }),
        saved=("FaceChain_SavePerson", {"person": ["train", 3], "name": f"{PERSON} saved", "if_person_exists": "Replace"}),
        entry=("FaceChain_LoRAEntry", {"lora": ["train", 0]}),
        merge=("FaceChain_LoRAMerge", {"model": ["load", 0], "clip": ["load", 1], "more.entry0": ["entry", 0]}),
        again=("FaceChain_LoRAMerge", {"model": ["merge", 0], "clip": ["merge", 1]}),
        shown=("PreviewAny", {"source": ["again", 0]}),
    )  # fmt: skip


def test_training_merging_and_saving(person, checkpoint):
    trained = models(checkpoint, "MODEL", "CLIP", "VAE") | networks(["rts", "fqa"])
    assert person["crops"] == set() and person["captions"] == set()
    assert person["train"] == trained
    assert person["saved"] == trained | {("PERSON", PERSON)}
    assert person["entry"] == trained
    assert person["merge"] == trained
    assert person["again"] == trained, "a MODEL carries what was merged into it"


def test_stored_people_and_their_files(run, person, base, stand_in, checkpoint):
    made = run(
        load=base["load"],
        stored=("FaceChain_LoadPerson", {"person": PERSON}),
        words=("FaceChain_PortraitPrompt", {"person": ["stored", 0]}),
        byfile=("FaceChain_LoRAMerge", {"model": ["load", 0], "clip": ["load", 1], "face_lora": f"{PERSON}/{PERSON}.safetensors"}),
        shown=("PreviewAny", {"source": ["byfile", 0]}),
        text=("PreviewAny", {"source": ["words", 0]}),
    )  # fmt: skip
    trained = models(checkpoint, "MODEL", "CLIP", "VAE") | networks(["rts", "fqa"])
    file = {("LORA", f"{PERSON}.safetensors")}
    assert made["stored"] == trained | file
    assert made["words"] == trained | file | {("PERSON", PERSON)}
    assert made["byfile"] == trained | file, "the file itself says what it was made with"


def test_faces_found_picked_cut_and_put_back(run, base, stand_in):
    for name in ("damofd", "rts", "fqa"):
        stand_in(name)
    picked = {"order": "Most like the reference", "images": ["photo", 0], "reference": ["photo", 0], "detector": "DamoFD"}
    made = run(
        photo=base["photo"],
        plain=("FaceChain_FindFaces", {"images": ["photo", 0]}),
        found=("FaceChain_FindFaces", {"images": ["photo", 0], "detector": "DamoFD"}),
        picked=("FaceChain_PickFaces", {**picked, "faces": ["plain", 0]}),
        cut=("FaceChain_CropFaces", {"images": ["photo", 0], "faces": ["picked", 0], "size": 64}),
        back=("FaceChain_StitchFaces", {"images": ["photo", 0], "crops": ["cut", 0], "faces": ["cut", 1]}),
        both=("ImageBatch", {"image1": ["photo", 0], "image2": ["photo", 0]}),
        ranked=("FaceChain_RTSRank", {
            "images": ["photo", 0], "reference": ["both", 0], "one_face_only": False, "check_face_size": False, "detector": "DamoFD",
        }),
        studied=("FaceChain_CheckPhotos", {"images": ["photo", 0]}),
        loaded=("FaceChain_LoadPhotos", {"files": ""}),
        checked=("FaceChain_ModelCheck", {}),
        shown=("PreviewImage", {"images": ["back", 0]}),
        count=("PreviewAny", {"source": ["found", 2]}),
        names=("PreviewAny", {"source": ["loaded", 1]}),
    )  # fmt: skip
    assert made["plain"] == made["loaded"] == made["checked"] == set(), "pictures make no claim"
    assert made["found"] == networks(["damofd"])
    assert made["picked"] == made["cut"] == made["back"] == networks(["damofd", "rts"])
    assert made["ranked"] == networks(["damofd", "rts", "fqa"])
    assert made["studied"] == networks(["rts"])


def test_all_stages_of_the_preparation_and_the_captions(run, base, stand_in):
    for name in (*ALIGN, "fairface", "deepdanbooru"):
        stand_in(name)
    stages = {"rotate_photo": True, "retouch": True, "white_background": True, "confidence_filter": True, "min_confidence": 0.0}
    made = run(
        photo=base["photo"],
        crops=("FaceChain_FaceAlign", {
            "images": ["photo", 0], "detector": "DamoFD", "no_face": "Pass through", "main_face_ratio": 1.0, **stages,
        }),
        captions=("FaceChain_Tagger", {"images": ["photo", 0], "trigger": "automatic", "append_tags": True, "detector": "DamoFD"}),
        shown=("PreviewImage", {"images": ["crops", 0]}),
        text=("PreviewAny", {"source": ["captions", 1]}),
    )  # fmt: skip
    assert made["crops"] == networks(ALIGN)
    assert made["captions"] == networks(["damofd", "fairface", "deepdanbooru"])


def test_fusion_and_inpainting(run, base, person, stand_in, checkpoint):
    for name in (*FUSION, "m2fp", "rts", "sadtalker_fan", "damofd"):
        stand_in(name)
    small = {"steps": 2, "strength": 0.5, "crop_size": 64, "refine": False, "no_face": "Pass through"}
    made = run(
        **base,
        fused=("FaceChain_FaceFusion", {"image": ["photo", 0], "face_image": ["photo", 0], "detector": "Built-in"}),
        stored=("FaceChain_LoadPerson", {"person": PERSON}),
        painted=("FaceChain_TwoStageInpaint", {
            **MODEL, **small, "image": ["photo", 0], "stage1_images": ["photo", 0], "persons.person0": ["stored", 0],
            "pose_control_net": ["pose", 0], "canny_control_net": ["pose", 0],
        }),
        one=("PreviewImage", {"images": ["fused", 0]}),
        two=("PreviewImage", {"images": ["painted", 0]}),
    )  # fmt: skip
    assert made["fused"] == networks(FUSION)
    trained = models(checkpoint, "MODEL", "CLIP", "VAE") | {("LORA", f"{PERSON}.safetensors"), ("PERSON", PERSON), ("CONTROL_NET", POSE)}
    assert made["painted"] == trained | networks([*FUSION, "m2fp", "rts", "fqa", "sadtalker_fan"])


def test_detectors_that_are_asked_for_by_name(run, base, stand_in, checkpoint):
    for name in ("damofd", *FUSION):
        stand_in(name)
    made = run(
        **base, empty=("EmptyImage", {"width": 64, "height": 64, "batch_size": 1, "color": 0}),
        fused=("FaceChain_FaceFusion", {
            "image": ["empty", 0], "face_image": ["empty", 0], "detector": "DamoFD", "which": "Chosen face", "face_number": 100,
            "no_face": "Pass through", "enhance": False,
        }),
        painted=("FaceChain_TwoStageInpaint", {
            **MODEL, "image": ["photo", 0], "pose_control_net": ["pose", 0], "canny_control_net": ["nameless", 0], "detector": "DamoFD",
            "which_faces": "none", "no_face": "Pass through",
        }),
        one=("PreviewImage", {"images": ["fused", 0]}),
        two=("PreviewImage", {"images": ["painted", 0]}),
    )  # fmt: skip
    assert made["fused"] >= networks(["damofd"]), "random numbers may see a hundred faces in nothing"
    assert made["painted"] == models(checkpoint, "MODEL", "CLIP", "VAE") | networks(["damofd"]) | {
        ("CONTROL_NET", POSE), ("CONTROL_NET", UNKNOWN),
    }  # fmt: skip


def test_a_talking_portrait_planned_edited_and_rendered(run, base, server, stand_in):
    for name in ("sadtalker_256", "sadtalker_mapping_full", "sadtalker_retinaface", "sadtalker_fan"):
        stand_in(name)
    subject = {"image": ["photo", 0], "audio": ["sound", 0], "detector": "Built-in", "landmarks": "five points"}
    made = run(
        photo=base["photo"], sound=("LoadAudio", {"audio": "provenance.wav"}),
        talking=("FaceChain_SadTalker", {**subject, "landmarks": "98-point network"}),
        planned=("FaceChain_MotionFromAudio", subject),
        edited=("FaceChain_EditMotion", {"motion": ["planned", 0]}),
        drawn=("FaceChain_RenderMotion", {**subject, "motion": ["edited", 0]}),
        one=saved("talking"), two=saved("drawn"),
    )  # fmt: skip
    full = TALKING | {"sadtalker_mapping_full"}
    assert made["talking"] == networks(full | {"sadtalker_fan"})
    assert made["planned"] == made["edited"] == networks(full - {"sadtalker_256.generator"}) | networks(["sadtalker_256.generator"])
    assert made["drawn"] == networks(full)


def test_a_text_that_is_sent_away_to_be_spoken(run, base, stand_in):
    """By a package that stands for the online service; its speech drives a portrait like a recording."""
    for name in ("sadtalker_256", "sadtalker_mapping_full"):
        stand_in(name)
    made = run(
        photo=base["photo"],
        speech=("FaceChain_TextToSpeech", {"text": "Hello"}),
        planned=("FaceChain_MotionFromAudio", {
            "image": ["photo", 0], "audio": ["speech", 0], "detector": "Built-in", "landmarks": "five points",
        }),
        shown=("PreviewAny", {"source": ["planned", 0]}),
    )  # fmt: skip
    assert made["speech"] == set()
    assert made["planned"] == networks(TALKING | {"sadtalker_mapping_full"})


SPEECH = {"image": ["photo", 0], "audio": ["sound", 0], "detector": "Built-in"}
SMALL = {**SPEECH, "size": "256", "preprocess": "full", "landmarks": "five points"}
LARGE = {**SPEECH, "size": "512", "preprocess": "crop", "landmarks": "98-point network"}


def saved(key: str) -> tuple[str, dict]:
    return "SaveVideo", {"video": [key, 0], "filename_prefix": "provenance", "format": "auto", "codec": "auto"}


@pytest.mark.matrix
def test_talking_nodes_with_small_and_large_networks(run, base, stand_in):
    for name in ("sadtalker_256", "sadtalker_mapping_full", "sadtalker_512", "sadtalker_mapping_crop", "sadtalker_fan"):
        stand_in(name)
    made = run(
        photo=base["photo"], sound=("LoadAudio", {"audio": "provenance.wav"}),
        small=("FaceChain_MotionFromAudio", SMALL), large=("FaceChain_MotionFromAudio", LARGE),
        large_from_small=("FaceChain_RenderMotion", {**LARGE, "motion": ["small", 0]}),
        small_from_large=("FaceChain_RenderMotion", {**SMALL, "motion": ["large", 0]}),
        talking=("FaceChain_SadTalker", LARGE),
        one=saved("large_from_small"), two=saved("small_from_large"), three=saved("talking"),
    )  # fmt: skip
    files = {key: {name.partition(".")[0] for _, name in names} for key, names in made.items()}
    small, large = {"sadtalker_256", "sadtalker_mapping_full"}, {"sadtalker_512", "sadtalker_mapping_crop", "sadtalker_fan"}
    assert files["small"] == small and files["large"] == files["talking"] == large
    assert files["large_from_small"] == files["small_from_large"] == small | large


@pytest.mark.matrix
@pytest.mark.parametrize("detector, file", [("RetinaFace", "sadtalker_retinaface"), ("DamoFD", "damofd")])
def test_talking_nodes_with_other_detectors(run, base, stand_in, detector, file):
    """The face asked for is most likely not there: then the detector is opened and nothing else."""
    for name in (file, "sadtalker_256", "sadtalker_512", "sadtalker_mapping_crop", "sadtalker_mapping_full", "sadtalker_fan"):
        stand_in(name)
    unseen = {"image": ["photo", 0], "audio": ["sound", 0], "detector": detector, "face_number": 99, "no_face": "Pass through"}
    made = run(
        photo=base["photo"], sound=("LoadAudio", {"audio": "provenance.wav"}),
        planned=("FaceChain_MotionFromAudio", LARGE),
        talking=("FaceChain_SadTalker", unseen),
        motion=("FaceChain_MotionFromAudio", {**unseen, "no_face": "Skip"}),
        drawn=("FaceChain_RenderMotion", {**unseen, "motion": ["planned", 0]}),
        one=saved("talking"), two=saved("drawn"), three=("PreviewAny", {"source": ["motion", 0]}),
    )  # fmt: skip
    assert all(("network", file) in made[key] for key in ("talking", "motion", "drawn"))


def test_one_prompt_does_not_see_the_record_of_the_one_before(run, base, stand_in):
    stand_in("damofd")
    found = ("FaceChain_FindFaces", {"images": ["photo", 0], "detector": "DamoFD"})
    shown = ("PreviewAny", {"source": ["found", 2]})
    assert run(photo=base["photo"], found=found, shown=shown)["found"] == networks(["damofd"])
    plain = ("FaceChain_FindFaces", {"images": ["photo", 0], "detector": "Built-in"})
    assert run(photo=base["photo"], found=plain, shown=shown)["found"] == set()


def test_a_cached_node_keeps_its_own_record(run, base, stand_in):
    for name in ("damofd", "rts"):
        stand_in(name)
    found = ("FaceChain_FindFaces", {"images": ["photo", 0], "detector": "DamoFD", "no_face": "Skip"})
    picked = {"faces": ["found", 0], "images": ["photo", 0], "reference": ["photo", 0], "no_face": "Skip"}
    run(photo=base["photo"], found=found, shown=("PreviewAny", {"source": ["found", 2]}))
    again = run(photo=base["photo"], found=found, picked=("FaceChain_PickFaces", picked), shown=("PreviewAny", {"source": ["picked", 2]}))
    assert "found" not in again, "it was not run again"
    assert again["picked"] == networks(["damofd"])


def test_no_node_opens_what_it_does_not_declare():
    """Over everything that the tests above ran."""
    declared = {node.node_id: set(node.files) for node in uses.NODES}
    assert {kind: names - declared.get(kind, set()) for kind, names in OPENED.items() if names - declared.get(kind, set())} == {}


@pytest.mark.matrix
def test_every_node_opens_all_that_it_declares():
    declared = {node.node_id: set(node.files) for node in uses.NODES}
    if declared.keys() - OPENED.keys():
        pytest.skip("looks at what the tests above ran: run the whole file with --all")
    assert {kind: names - OPENED[kind] for kind, names in declared.items() if names - OPENED[kind]} == ONLY_ELSEWHERE


def test_every_node_was_run_here(client: Client):
    """A node that is added has to be added here as well."""
    source = Path(__file__).read_text(encoding="utf-8")
    nodes = {name for name in client.object_info() if name.startswith("FaceChain_")}
    assert nodes == set(re.findall(r'"(FaceChain_\w+)"', source))
