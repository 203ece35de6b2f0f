"""What shipped workflows need: from their settings, their loaders and the files that are here."""

from __future__ import annotations

import json

import pytest

from facechain_impl.errors import BadInput
from facechain_impl.identity.tagger import AUTOMATIC
from facechain_impl.identity.training.settings import Start
from facechain_impl.perception.detection import DAMOFD
from facechain_impl.photos.pick import LIKE
from facechain_impl.portrait.people import Assign
from facechain_impl.talking.crop import Mode
from facechain_impl.talking.faces import NETWORK, RETINAFACE
from facechain_impl.talking.sadtalker import SadTalker
from facechain_impl.weights import catalogue, uses, workflows
from launcher.places import ROOT
from launcher.workflows import Workflow

SIGNATURES = json.loads((ROOT / "tests" / "host" / "signatures.json").read_text("utf-8"))
NOTES = json.loads((ROOT / "workflows" / "notes" / "notes.json").read_text("utf-8"))
INPAINTING = {"base_sd15", "controlnet_openpose", "controlnet_canny", "m2fp", "sadtalker_fan"}
SPEAKING = {"sadtalker_256", "sadtalker_mapping_full"}
NEEDED = {
    "Train My Portrait": {"base_sd15", "rts", "fqa", "face_frombase_c4"},
    "Train My Portrait, Modern Models": {"rts", "fqa"},
    "Portrait In A Style": {"base_sd15", "rts"},
    "Face Into A Picture": INPAINTING,
    "Group Portrait": INPAINTING | {"rts"},
    "Talking Portrait": SPEAKING,
    "Talking Portrait Or Speech To Video": SPEAKING,
}


def names(title: str) -> set[str]:
    return {one.entry.name for one in workflows.wanted(title)}


def test_every_shipped_workflow_needs_what_its_settings_ask_for(models):
    assert {title: names(title) for title in workflows.titles()} == NEEDED


def test_files_that_are_asked_for_twice_come_once_with_both_reasons(models, monkeypatch):
    twin = Workflow("Group Portrait").api
    twin["11"] = {"class_type": "FaceChain_RTSRank", "inputs": {"choose_reference": True}, "_meta": {"title": "Rank"}}
    monkeypatch.setattr(workflows, "_shipped", lambda path: twin if path.parent.name == "api" else {"nodes": []})
    (found,) = [one for one in workflows.wanted("Group Portrait") if one.entry.name == "rts"]
    assert found.why == "Put everybody in (likeness); Rank"
    assert not found.spared  # the ranking does not do without


def test_a_loader_whose_own_file_is_here_needs_no_other(models):
    (models / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors").touch()
    assert names("Train My Portrait") == {"rts", "fqa", "face_frombase_c4"}
    assert workflows.to_choose("Train My Portrait") == []


def test_what_to_choose_is_what_the_hosts_loaders_list(models):
    import folder_paths

    for name, files in {
        "contronet-canny": ("config.json", "diffusion_pytorch_model.bin"),
        "control_v11p_sd15_openpose": ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"),
    }.items():
        (models / "controlnet" / name).mkdir()
        for file in files:
            (models / "controlnet" / name / file).touch()
    (models / "checkpoints" / "v1-5-pruned-emaonly.safetensors").touch()
    chosen = dict(workflows.to_choose("Group Portrait"))
    assert list(chosen) == ["Choose a checkpoint", "Pose ControlNet", "Canny ControlNet"]
    assert chosen["Pose ControlNet"].endswith("fp16.safetensors") and chosen["Canny ControlNet"].endswith("model.bin")
    assert chosen["Choose a checkpoint"] in folder_paths.get_filename_list("checkpoints")
    assert {chosen["Pose ControlNet"], chosen["Canny ControlNet"]} <= set(folder_paths.get_filename_list("controlnet"))


def test_every_loader_has_a_published_file_or_an_offer_of_comfyuis(models):
    named = {loader.name for title in workflows.titles() for loader in workflows.loaders(title)}
    stand_for = {name for entry in catalogue.ENTRIES for name in entry.instead_of}
    assert stand_for <= named
    others = {loader.name for title in workflows.titles() for loader in workflows.not_published(title)}
    assert named - stand_for == others and len(others) == 7
    assert all(loader.source.startswith("https://") for loader in workflows.not_published("Talking Portrait Or Speech To Video"))


@pytest.mark.parametrize("title", NEEDED)
def test_loaders_name_what_their_widgets_do(title):
    nodes = Workflow(title).api.values()
    values = {(node["_meta"]["title"], value) for node in nodes for value in node["inputs"].values() if isinstance(value, str)}
    assert {(loader.title, loader.name) for loader in workflows.loaders(title)} <= values


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("Group Portrait", "Group Portrait"), ("group", "Group Portrait"), ("GROUP-PORTRAIT.json", "Group Portrait"),
        ("talking portrait", "Talking Portrait"), ("style", "Portrait In A Style"),
        ("speech to video", "Talking Portrait Or Speech To Video"),
    ],
)  # fmt: skip
def test_any_unambiguous_spelling_finds_a_workflow(words, title):
    assert workflows.find(words) == title


@pytest.mark.parametrize(
    ("words", "near"),
    [("groop portrait", "'Group Portrait'"), ("portrait", "'Group Portrait' or 'Portrait In A Style' or "), ("", "'Train My Portrait'")],
)
def test_other_words_get_the_nearest(words, near):
    with pytest.raises(BadInput) as raised:
        workflows.find(words)
    assert str(raised.value).startswith(f"There is no shipped workflow called {words!r}. Did you mean ") and near in str(raised.value)


@pytest.mark.parametrize("title", NEEDED)
def test_the_note_of_a_workflow_names_the_command(title):
    assert f"`{workflows.command(title)}`" in NOTES[title]["note"]


class Seen(dict):
    """Inputs of a node that remember which of them were looked at."""

    def __init__(self, *names: str):
        super().__init__(dict.fromkeys(names, 0))
        self.names: set[str] = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("node", uses.NODES, ids=lambda node: node.node_id)
def test_what_asks_for_files_is_an_input_of_the_node(node):
    known = {name for name, *_ in SIGNATURES[node.node_id]["inputs"]}
    inputs = Seen(*known)
    inputs["assign"] = ""
    for need in (*node.needs, *node.handed):
        need.asked(inputs)
    assert inputs.names <= known


ASKED = [
    (uses.FACE_ALIGN, {"detector": DAMOFD}, "damofd"),
    (uses.FACE_ALIGN, {"rotate_photo": True}, "rot_bgr"),
    (uses.FACE_ALIGN, {"retouch": True}, "skin_unet skin_mask retinaface"),
    (uses.FACE_ALIGN, {"white_background": True}, "m2fp"),
    (uses.FACE_ALIGN, {"confidence_filter": True}, "flcm"),
    (uses.PICK_FACES, {"min_likeness": -1.0}, ""),
    (uses.PICK_FACES, {"min_likeness": 0.3}, "rts"),
    (uses.PICK_FACES, {"order": LIKE}, "rts"),
    (uses.TAGGER, {"trigger": AUTOMATIC}, "fairface"),
    (uses.TAGGER, {"append_tags": True}, "deepdanbooru"),
    (uses.TRAIN, {"start": Start.RANDOM.value}, "rts fqa"),
    (uses.TRAIN, {"start": Start.PRESET.value}, "rts fqa face_frombase_c4"),
    (uses.TRAIN, {"start": Start.FACE_COMMON.value}, "rts fqa face_frombase_c4"),
    (uses.RANK, {"choose_reference": True}, "rts fqa"),
    (uses.FUSE_FACE, {"enhance": True}, " ".join((*uses.FUSION.files, *uses.ENHANCEMENT.files))),
    (uses.INPAINT, {"fusion": True}, " ".join(("m2fp", *uses.FUSION.files, "sadtalker_fan"))),
    (uses.INPAINT, {"fusion": False, "enhance": True}, "m2fp sadtalker_fan"),
    (uses.INPAINT, {"face_detection_model": ["1", 0], "face_mask": ["2", 0], "human_mask": ["2", 1]}, ""),
    (uses.INPAINT, {"face_detection_model": ["1", 0], "face_mask": ["2", 0], "human_mask": ["2", 1], "include_neck": True}, "m2fp"),
    (uses.INPAINT, {"face_detection_model": ["1", 0], "assign": Assign.AUTO.value, "persons.person0": ["3", 0]}, "m2fp rts"),
    (uses.INPAINT, {"face_detection_model": ["1", 0], "assign": Assign.LIKENESS.value, "persons.person0": ["3", 0]}, "m2fp rts"),
    (uses.INPAINT, {"face_detection_model": ["1", 0], "assign": Assign.ORDER.value, "persons.person0": ["3", 0]}, "m2fp"),
    (uses.TALKING_PORTRAIT, {"detector": RETINAFACE, "landmarks": NETWORK}, "sadtalker_retinaface sadtalker_fan"),
    (uses.RENDER, {"enhancer": ["4", 0]}, "parsenet"),
    *(
        (uses.MOTION, {"size": str(size), "preprocess": mode.value}, f"{SadTalker(size, mode).bundle} {SadTalker(size, mode).mapping_name}")
        for size in SadTalker.sizes
        for mode in Mode
    ),
]


@pytest.mark.parametrize(("node", "inputs", "expected"), ASKED, ids=lambda value: getattr(value, "display_name", None))
def test_settings_ask_for_files_by_the_values_of_the_nodes(node, inputs, expected):
    assert {name for need in node.needs if need.asked(inputs) for name in need.files} == set(expected.split())


def test_every_need_with_a_condition_is_among_the_cases():
    """So that a new one is compared with the value that its node really has."""
    for node in uses.NODES:
        tried = {name for other, _, expected in ASKED if set(node.needs) & set(other.needs) for name in expected.split()}
        assert set(node.files) <= tried | {"damofd"}, node.display_name
