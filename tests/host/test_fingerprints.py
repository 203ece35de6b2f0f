"""A node runs again when a file that it may open appears, and not when another one does."""

from __future__ import annotations

import pytest

from facechain_impl.weights import catalogue, files, uses
from launcher.places import ROOT

from ..weights.conftest import models  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def nodes(pack) -> dict[str, type]:
    """The node classes by id, as the host loads them."""
    names = [path.stem for path in sorted((ROOT / "nodes").glob("[!_]*.py"))]
    base = pack("nodes._node").FaceChainNode
    found = {one for name in names for one in vars(pack(f"nodes.{name}")).values() if isinstance(one, type) and issubclass(one, base)}
    return {one.define_schema().node_id: one for one in found - {base}}


def fingerprint(node: type) -> str:
    return node.fingerprint_inputs(name=["somebody"])


@pytest.mark.parametrize("row", uses.NODES, ids=lambda row: row.node_id)
def test_every_declared_file_changes_the_fingerprint(nodes, models, row):  # noqa: F811
    folder = models / "facechain_stand_ins"
    folder.mkdir(exist_ok=True)
    node, seen = nodes[row.node_id], []
    for name in row.files:
        seen.append(fingerprint(node))
        assert seen[-1] == fingerprint(node)
        (folder / files.stand_in_name(catalogue.get(name))).write_bytes(b"x")
    assert len({*seen, fingerprint(node)}) == len(row.files) + 1
    before = fingerprint(node)
    for entry in catalogue.ENTRIES:
        if entry.name not in row.files:
            (folder / files.stand_in_name(entry)).write_bytes(b"x")
    assert fingerprint(node) == before


def test_check_training_photos_watches_the_recognition_network(nodes, models):  # noqa: F811
    """Once it had no fingerprint and kept its old answer."""
    place = models / "facechain" / catalogue.get("rts").converted_place
    place.parent.mkdir(parents=True)
    before = fingerprint(nodes["FaceChain_CheckPhotos"])
    place.write_bytes(b"x")
    assert fingerprint(nodes["FaceChain_CheckPhotos"]) != before


@pytest.mark.parametrize("name", ["FaceChain_LoRAMerge", "FaceChain_PortraitPrompt", "FaceChain_CropFaces"])
def test_nodes_without_files_watch_none(nodes, models, name):  # noqa: F811
    before = fingerprint(nodes[name])
    (models / "facechain_stand_ins").mkdir(exist_ok=True)
    (models / "facechain_stand_ins" / "rts.safetensors").write_bytes(b"x")
    assert fingerprint(nodes[name]) == before
