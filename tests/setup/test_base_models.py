"""`demo --base`: a published base model on the way from the hub into the demo's workflows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facechain_impl.host import checkpoints
from facechain_impl.weights import catalogue, files
from facechain_impl.weights.convert import write
from facechain_impl.weights.stand_ins import checkpoint as stand_in_checkpoint
from launcher import base_models, cli, demo
from launcher.base_models import BaseModel
from launcher.console import Failure
from launcher.workflows import Workflow

from ..weights import hub

FILM = "leosamsMoonfilm_filmGrain20"
PARTS = {"unet": "unet/diffusion_pytorch_model", "vae": "vae/diffusion_pytorch_model", "clip": "text_encoder/model"}


@pytest.fixture
def asked(monkeypatch, own_host):
    """What the pack is asked, and its answers: the status of the first call, the text of the second."""
    commands, answers = [], {"status": 0, "path": "a line of the host's\n/models/film"}

    def keep(answer):
        return lambda command, env: commands.append(command[4:]) or answers[answer]

    monkeypatch.setattr(base_models.console, "follow", keep("status"))
    monkeypatch.setattr(base_models.console, "answer", keep("path"))
    return commands, answers


def host(own_host: dict) -> base_models.Host:
    return base_models.Host(Path(own_host["COMFYUI_PATH"]), Path(own_host["COMFYUI_PYTHON"]), True)


@pytest.mark.parametrize("name", ["film", "base_film", "Film"])
def test_the_pack_asks_and_says_where_it_is(asked, own_host, name):
    commands, _ = asked
    assert base_models.fetched(host(own_host), name, yes=False) == Path("/models/film")
    assert commands == [["models", "get", "--base", "film"], ["models", "path", "base_film"]]
    base_models.fetched(host(own_host), name, yes=True)
    assert commands[2] == ["models", "get", "--base", "film", "--yes"]


def test_a_no_and_a_failure_end_the_demo(asked, own_host):
    asked[1]["status"] = 1
    with pytest.raises(Failure, match="getting the base model film: it was not downloaded") as raised:
        base_models.fetched(host(own_host), "film", yes=False)
    assert "--checkpoint FILE" in raised.value.remedy
    asked[1].update(status=0, path=None)
    with pytest.raises(Failure, match="it vanished"):
        base_models.fetched(host(own_host), "film", yes=False)


def test_one_base_model_is_enough(capsys, tmp_path):
    assert cli.main(["demo", "--base", "film", "--checkpoint", "mine.safetensors", "--out", str(tmp_path)]) == 1
    assert "both --base and --checkpoint name one" in capsys.readouterr().out


def test_an_earlier_demo_is_kept_until_the_model_is_here(monkeypatch, tmp_path, own_host):
    kept = demo._output_folder(tmp_path / "out") / "reports.json"
    kept.touch()
    for name, value in own_host.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(base_models.console, "follow", lambda command, env: 1)
    assert cli.main(["demo", "--base", "film", "--out", str(tmp_path / "out")]) == 1
    assert kept.is_file()


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize(("folder", "loader"), [(True, "DiffusersLoader"), (False, "CheckpointLoaderSimple")])
def test_files_and_folders_go_where_the_host_looks(tmp_path, monkeypatch, folder, loader, linked):
    source = tmp_path / "film"
    (source / "unet").mkdir(parents=True) if folder else source.write_text("weights")
    if not linked:
        monkeypatch.setattr(Path, "symlink_to", lambda *args, **options: (_ for _ in ()).throw(OSError("not here")))
    assert base_models.place(source, tmp_path / "base") == BaseModel("film", loader)
    shown = tmp_path / "base" / "models" / ("diffusers" if folder else "checkpoints") / "film"
    assert shown.is_symlink() is linked
    assert (shown / "unet").is_dir() if folder else shown.read_text() == "weights"


@pytest.mark.parametrize("title", [demo.TRAIN, demo.PORTRAIT, demo.PAINT])
def test_a_folder_is_loaded_by_the_node_that_loads_folders(title):
    workflow, before = Workflow(title), Workflow(title)
    BaseModel(FILM, "DiffusersLoader").choose(workflow)
    number = before.id_of("CheckpointLoaderSimple")
    assert workflow.api[number] == {**before.api[number], "class_type": "DiffusersLoader", "inputs": {"model_path": FILM}}
    node, old = (next(node for node in one.editor["nodes"] if str(node["id"]) == number) for one in (workflow, before))
    assert (node["type"], node["widgets_values"], node["outputs"]) == ("DiffusersLoader", [FILM], old["outputs"])
    assert "v1-5-pruned" not in json.dumps(workflow.editor["nodes"][old["order"]]["properties"]) and "models" not in node["properties"]


def test_names_in_the_help_are_in_the_catalogue(run_py):
    text = " ".join(run_py("demo", "--help").stdout.split())
    assert "film or majic, FaceChain's own, or sd15" in text
    assert [catalogue.base(name).name for name in ("film", "majic", "sd15")] == ["base_film", "base_majic", "base_sd15"]


def write_folder(folder: Path) -> None:
    """Random numbers as a base model in the folders of diffusers."""
    tensors = stand_in_checkpoint.make(1, multipliers=(1,), blocks=1, transformers=(1,))
    for part, place in PARTS.items():
        prefix, path = checkpoints.PREFIXES[part], folder / f"{place}.safetensors"
        path.parent.mkdir(parents=True)
        chosen = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        write(path, chosen, {files.MARK: files.STAND_IN})
    (folder / "model_index.json").write_text("{}", encoding="utf-8")


@pytest.mark.slow
@pytest.mark.host
@pytest.mark.matrix
def test_from_the_hub_to_portraits(run_py, own_host, tmp_path):
    entry = catalogue.get("base_film")
    write_folder(tmp_path / "hub" / entry.repo / entry.path)
    sizes = ["--steps", 3, "--size", 64, "--portraits", 1, "--sampling-steps", 1]
    with hub.serving(tmp_path / "hub") as (served, address):
        where = {**own_host, "MODELSCOPE_ENDPOINT": address, "MODELSCOPE_CACHE": tmp_path / "cache", "HOME": tmp_path}
        done = run_py("demo", "--base", "film", "--out", tmp_path / "out", *sizes, **where)
        assert done.returncode == 1 and not served.requests, done.stdout + done.stderr
        assert "licence CreativeML OpenRAIL-M" in done.stdout and "there is no terminal to ask in. Add --yes" in done.stderr

        done = run_py("demo", "--base", "film", "--yes", "--out", tmp_path / "out", *sizes, **where)
        assert done.returncode == 0, done.stdout + done.stderr
        assert served.requests
        assert "Together " in done.stdout and "portraits are noise" in done.stdout

        served.requests.clear()
        done = run_py("models", "get", "--base", "film", **where)
        assert done.returncode == 0 and "Nothing has to be downloaded." in done.stdout and not served.requests
    assert (Path(own_host["COMFYUI_PATH"]) / "models" / "diffusers" / FILM / "unet").is_dir()
    assert len(list((tmp_path / "out" / "people" / "eileen_collins" / "portraits").iterdir())) == 1
    ran = json.loads((tmp_path / "out" / "workflows" / f"{demo.PORTRAIT} (API).json").read_text(encoding="utf-8"))
    assert [node["inputs"] for node in ran.values() if node["class_type"] == "DiffusersLoader"] == [{"model_path": FILM}]


@pytest.mark.slow
@pytest.mark.host
def test_on_a_machine_without_the_hub(run_py, own_host, tmp_path):
    where = {**own_host, "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9", "HOME": tmp_path}
    done = run_py("demo", "--base", "film", "--yes", "--out", tmp_path / "out", **where)
    assert done.returncode == 1
    assert "ly261666/cv_portrait_model v2.0 could not be listed" in done.stderr and "127.0.0.1" in done.stderr
    assert "Stopped at: getting the base model film" in done.stdout and "--checkpoint FILE" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
