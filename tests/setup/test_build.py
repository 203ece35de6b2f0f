"""run.py build: what it writes, and what it leaves alone."""

from __future__ import annotations

import pytest

from launcher import build, cli, contract


def node(*inputs: str, category: str = "FaceChain/faces", **tooltips: str) -> dict:
    """A node of /object_info."""
    return {
        "display_name": "Shown", "description": "Does it.", "category": category, "output_name": ["image"], "output": ["IMAGE"],
        "output_tooltips": ["A picture."], "is_input_list": False, "output_is_list": [False], "input_order": {"required": list(inputs)},
        "input": {"required": {name: ["INT", {"tooltip": tooltips.get(name, f"About {name}.")}] for name in inputs}},
    }  # fmt: skip


class Served:
    """A server whose nodes are given."""

    def __init__(self, **nodes: dict):
        self.client = self
        self._nodes = nodes

    def object_info(self) -> dict:
        return {"KSampler": node("steps"), **{f"FaceChain_{name}": value for name, value in self._nodes.items()}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository that holds one node, of which one sentence is translated."""
    monkeypatch.setattr(build.places, "ROOT", tmp_path)
    monkeypatch.setattr(build, "LOCALES", tmp_path / "locales")
    monkeypatch.setattr(build, "SIGNATURES", tmp_path / "signatures.json")
    english, chinese = (contract.texts(Served(One=node("size")).object_info()) for _ in range(2))
    chinese["FaceChain_One"]["inputs"]["size"]["tooltip"] = "尺寸。"
    for language, content in (("en", english), ("zh", chinese)):
        (tmp_path / "locales" / language).mkdir(parents=True)
        build.write(tmp_path / "locales" / language / "nodeDefs.json", content)
        names = {"FaceChain": "FaceChain", "faces": "faces" if language == "en" else "人脸", "gone": "gone"}
        build.write(tmp_path / "locales" / language / "main.json", {"nodeCategories": names, "other": 1})
    build.write(build.SIGNATURES, contract.signatures(Served(One=node("size")).object_info()))
    return tmp_path / "locales"


def test_what_is_translated_stays_and_what_is_new_is_listed(folder, capsys):
    build.build_locales(Served(One=node("size", "count"), Two=node(category="FaceChain/styles")))
    chinese = build.read(folder / "zh" / "nodeDefs.json")
    assert chinese.keys() == build.read(folder / "en" / "nodeDefs.json").keys() == {"FaceChain_One", "FaceChain_Two"}
    assert chinese["FaceChain_One"]["inputs"]["size"]["tooltip"] == "尺寸。"
    assert chinese["FaceChain_One"]["inputs"]["count"]["tooltip"] == "About count."
    waiting = build.read(folder / "zh" / "untranslated.json")
    assert "FaceChain_One.inputs.count.tooltip" in waiting
    assert "FaceChain_Two.description" in waiting
    assert "FaceChain_One.inputs.size.tooltip" not in waiting
    assert build.read(folder / "zh" / "main.json") == {
        "nodeCategories": {"FaceChain": "FaceChain", "faces": "人脸", "styles": "styles"},
        "other": 1,
    }
    assert "The English changed" not in capsys.readouterr().out


def test_what_is_gone_goes_everywhere_and_a_changed_sentence_is_named(folder, capsys):
    build.build_locales(Served(One=node("count", size="no longer")))
    assert "size" not in build.read(folder / "zh" / "nodeDefs.json")["FaceChain_One"]["inputs"]
    capsys.readouterr()
    build.build_locales(Served(One=node("count", count="Said otherwise.")))
    assert "translations still agree: FaceChain_One.inputs.count.tooltip" in capsys.readouterr().out


def test_a_second_build_writes_nothing(folder, capsys):
    served = Served(One=node("size", "count"))
    for _ in range(2):
        capsys.readouterr()
        build.build_locales(served)
        build.build_snapshots(served)
    said = capsys.readouterr().out
    assert "written" not in said
    assert said.count("unchanged") == 6


@pytest.mark.parametrize(
    ("nodes", "changed"),
    [
        ({"One": node("size"), "Two": node("size")}, None),
        ({"One": node("size", "count")}, "FaceChain_One"),
        ({"Two": node("size")}, "FaceChain_One"),
    ],
)
def test_a_changed_signature_asks_for_a_row_of_the_changelog(folder, capsys, nodes, changed):
    build.build_snapshots(Served(**nodes))
    said = capsys.readouterr().out
    assert build.read(build.SIGNATURES).keys() == {f"FaceChain_{name}" for name in nodes}
    assert ("CHANGELOG.md" in said) is bool(changed)
    assert changed is None or changed in said


def test_a_pack_that_does_not_load_is_told_from_one_without_nodes(monkeypatch):
    served = Served()
    served.tail, served.log = (lambda: "ImportError: no module named x"), "log"
    with pytest.raises(build.Failure, match="no module named x"):
        build.require_pack(served)


def test_only_what_is_there_can_be_built(capsys):
    with pytest.raises(SystemExit):
        cli.main(["build", "houses"])
    assert "there are snapshots, locales, readme, workflows" in capsys.readouterr().err


def test_rows_of_a_table_are_replaced_and_nothing_else():
    text = (
        "# Title\n\n## One\n\nSaid before.\n\n| A | B |\n|---|---|\n| old | row |\n| old | row |\n\nSaid after.\n\n## Two\n\n| A |\n|---|\n"
    )
    changed = build.with_table(text, "One", ["| new | row |"])
    assert changed == text.replace("| old | row |\n| old | row |\n", "| new | row |\n")
    assert build.with_table(changed, "Two", ["| x |"]) == changed + "| x |\n"
    assert build.with_table(changed, "One", ["| new | row |"]) == changed
    for section in ("Three", "Title"):
        with pytest.raises(build.Failure, match="there is no table"):
            build.with_table(text, section, [])


def test_nodes_are_listed_in_the_order_of_the_menus():
    info = Served(B=node(category="FaceChain/new"), A=node(category="FaceChain/models"), C=node(category="FaceChain/photos")).object_info()
    for name, value in info.items():
        value["display_name"] = name
    assert [row.split(" | ")[0] for row in build.node_rows(info)] == ["| FaceChain_C", "| FaceChain_A", "| FaceChain_B"]


def test_files_by_the_names_in_the_workflows(tmp_path):
    build.name_models(tmp_path)
    assert (tmp_path / "models" / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors").is_file()


def test_the_browser_is_the_one_that_is_named(home, monkeypatch, capsys):
    def call(command, step, remedy, log, env):
        ran.append((command, env["FACECHAIN_CHROMIUM"]))
        log.parent.mkdir(parents=True)
        log.write_text("one.json: written\n")

    ran, served = [], Served()
    served.host, served.url = build.Host(home, home / "python", False), "http://here"
    monkeypatch.setenv("FACECHAIN_CHROMIUM", "/a/browser")
    monkeypatch.setattr(build.console, "call", call)
    build.build_workflows(served)
    script = build.places.ROOT / "launcher" / "tasks" / "convert_workflows.py"
    assert ran == [([home / "python", script, "http://here"], "/a/browser")]
    assert 'os.environ["FACECHAIN_CHROMIUM"]' in script.read_text(encoding="utf-8")
    assert "one.json: written" in capsys.readouterr().out
