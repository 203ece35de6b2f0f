"""Everything for a workflow, and base models, after one question, from a folder that plays the hub."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from facechain_impl.networks.published import Entry
from facechain_impl.weights import catalogue, cli, files, workflows

FOLDER_FILES = {"config.json": 2, "diffusion_pytorch_model.bin": 3_000_000}
GROUP = ("base_sd15", "controlnet_openpose", "controlnet_canny", "flcm", "damofd")


class Terminal(io.StringIO):
    """What someone types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch):
    def answer(text: str) -> Terminal:
        terminal = Terminal(f"{text}\n")
        monkeypatch.setattr(sys, "stdin", terminal)
        return terminal

    return answer


def write_checkpoint(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"model.diffusion_model.x": torch.zeros(300_000)}, path)


@pytest.fixture
def group(hub, models, published, monkeypatch) -> Path:
    """The hub holds everything for Group Portrait, where small networks stand for the large ones that it needs. Where on the hub."""
    small = [workflows.Wanted(catalogue.get(name), "Put everybody in", name == "damofd") for name in ("flcm", "damofd")]
    monkeypatch.setattr(workflows, "_for_nodes", lambda title: iter(small if title == "Group Portrait" else []))
    for name in ("flcm", "damofd"):
        published(name, hub.folder)
    for name in ("controlnet_openpose", "controlnet_canny"):
        for file, size in FOLDER_FILES.items():
            path = hub.folder / catalogue.get(name).repo / catalogue.get(name).path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * size)
    return replaced_base(monkeypatch, hub.folder)


def replaced_base(monkeypatch, folder: Path) -> Path:
    """A small checkpoint on the hub in the place of SD 1.5, with its hash in the catalogue."""
    real = catalogue.get("base_sd15")
    path = folder / real.repo / real.path
    write_checkpoint(path)
    entry = Entry(**real.__dict__ | {"megabytes": path.stat().st_size / 1e6, "sha256": files.sha256(path)})
    entries = tuple(entry if one is real else one for one in catalogue.ENTRIES)
    monkeypatch.setattr(catalogue, "ENTRIES", entries)
    monkeypatch.setattr(catalogue, "_BY_NAME", {one.name: one for one in entries})
    return path


def downloaded(hub) -> set[str]:
    return {path for _, path in hub.requests}


def here(models: Path) -> set[str]:
    return {entry.name for entry in map(catalogue.get, GROUP) if files.published(entry)}


def test_licences_and_sizes_then_one_question_then_everything(group, hub, models, typed, capsys):
    left = typed("y\nnobody reads this")
    assert cli.main(["get", "--for", "group", "portrait"]) == 0
    assert left.read() == "nobody reads this\n"
    assert here(models) == set(GROUP)
    said = capsys.readouterr().out
    before, after = said.split("Download? [y/N] ")
    assert before.splitlines()[0] == "Group Portrait needs these files, which are not here:"
    for name in GROUP:
        assert f"  {name}: {catalogue.get(name).title}, " in before
        assert f"      licence {catalogue.get(name).licence.text()}\n" in before
    assert "  controlnet_canny: ControlNet canny, 3.0 MB\n" in before  # the catalogue does not know; the hub does
    assert "      for Pose ControlNet\n" in before
    assert before.count("which also works without it") == 1
    assert f"\nTogether 9.8 MB, into {models}\n" in before
    assert "No licence among them forbids commercial use.\nUnclear whether for commercial use: flcm\n" in before
    assert after.splitlines()[-4:] == [
        "Choose in Group Portrait:",
        "  Choose a checkpoint: v1-5-pruned-emaonly.safetensors",
        f"  Pose ControlNet: {Path('control_v11p_sd15_openpose/diffusion_pytorch_model.bin')}",
        f"  Canny ControlNet: {Path('contronet-canny/diffusion_pytorch_model.bin')}",
    ]


def test_nothing_comes_before_the_answer(group, hub, models, typed, capsys):
    typed("")
    assert cli.main(["get", "--for", "Group Portrait"]) == 1
    assert not downloaded(hub) and not here(models)
    assert capsys.readouterr().out.endswith("Nothing was downloaded. Single files: python run.py models get NAME\n")


def test_without_a_terminal_it_asks_for_yes(group, hub, models, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert cli.main(["get", "--for", "Group Portrait"]) == 1
    assert not downloaded(hub) and not here(models)
    said = capsys.readouterr()
    assert "licence CreativeML OpenRAIL-M" in said.out
    assert said.err == "Nothing was downloaded: there is no terminal to ask in. Add --yes to agree to the licences above.\n"


def test_yes_answers_the_question(group, models, capsys):
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 0
    assert here(models) == set(GROUP)
    assert "[y/N]" not in capsys.readouterr().out


def test_what_is_here_is_left_out_and_all_of_it_ends_well(group, hub, models, published, capsys):
    published("flcm")
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 0
    assert "flcm" not in capsys.readouterr().out
    hub.requests.clear()
    hub.broken = True
    assert cli.main(["get", "--for", "Group Portrait"]) == 0
    assert not downloaded(hub)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Nothing has to be downloaded." and said[1] == "Choose in Group Portrait:"


def test_a_cut_connection_goes_on_where_it_stopped(group, hub, models):
    hub.cut = 500_000
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 0
    assert any(not wanted.startswith("bytes=0-") for wanted in hub.ranges)
    assert here(models) == set(GROUP)


def test_after_a_failure_the_same_command_gets_the_rest(group, hub, models, capsys):
    gone = hub.folder / catalogue.get("flcm").repo / catalogue.get("flcm").path
    gone.rename(gone.with_name("elsewhere"))
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 1
    assert here(models) == {"base_sd15", "controlnet_openpose", "controlnet_canny"}
    assert "no longer has pytorch_model.pt" in capsys.readouterr().err
    gone.with_name("elsewhere").rename(gone)
    hub.requests.clear()
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 0
    assert here(models) == set(GROUP)
    assert "v1-5-pruned-emaonly.safetensors" not in downloaded(hub)


def test_a_file_with_another_hash_is_refused(group, models, capsys):
    content = bytearray(group.read_bytes())
    content[-1] ^= 1
    group.write_bytes(content)
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 1
    assert "v1-5-pruned-emaonly.safetensors arrived with the hash " in capsys.readouterr().err
    assert not here(models) and not list(models.rglob("v1-5-*"))


def test_a_damaged_file_stops_before_the_question(group, hub, published, capsys):
    published("flcm").write_bytes(b"broken")
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 1
    assert "Delete it and get it again." in capsys.readouterr().err
    assert not downloaded(hub)


def test_a_checkpoint_of_the_users_own_under_the_published_name_is_taken_as_it_is(group, models, capsys):
    """Whoever has it in half precision keeps it."""
    path = models / "checkpoints" / "v1-5-pruned-emaonly.safetensors"
    save_file({"model.diffusion_model.x": torch.zeros(8)}, path)
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 0
    assert path.stat().st_size < 200
    assert "base_sd15" not in capsys.readouterr().out


def test_what_the_hub_no_longer_lists_is_said_before_the_question(group, hub, capsys):
    for path in (hub.folder / catalogue.get("controlnet_canny").repo / "contronet-canny").iterdir():
        path.unlink()
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 1
    assert "no longer has contronet-canny/. Please report this" in capsys.readouterr().err
    assert not downloaded(hub)


def test_without_the_hub(group, hub, capsys):
    hub.broken = True
    assert cli.main(["get", "--for", "Group Portrait", "--yes"]) == 1
    assert "could not be listed" in capsys.readouterr().err


def test_words_that_fit_nothing(models, capsys):
    assert cli.main(["get", "--for", "Groop", "Portrait"]) == 1
    assert "Did you mean 'Group Portrait'" in capsys.readouterr().err
    assert cli.main(["get", "--base", "flim"]) == 1
    assert capsys.readouterr().err == "There is no base model called 'flim'. There are sd15, film, majic, sdxl.\n"
    for words in ([], ["rts", "--base", "film"]):
        assert cli.main(["get", *words]) == 1
        assert capsys.readouterr().err.startswith("Say what to get: ")


def test_licences_that_forbid_commercial_use_are_named_together(hub, models, typed, capsys):
    typed("n")
    assert cli.main(["get", "--for", "Talking Portrait"]) == 1
    assert "\nNot for commercial use: sadtalker_256, sadtalker_mapping_full\nDownload?" in capsys.readouterr().out


def test_what_only_comfyui_offers_is_said(hub, models, monkeypatch, capsys):
    monkeypatch.setattr(workflows, "_for_nodes", lambda title: iter(()))
    assert cli.main(["get", "--for", "speech to video"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Nothing has to be downloaded." and len(lines) == 5
    assert lines[1].startswith(
        "ComfyUI itself offers wan2.2_s2v_14B_fp8_scaled.safetensors when it opens Talking Portrait Or Speech To Video"
    )


def test_a_base_model_that_is_a_folder(hub, models, typed, capsys):
    entry = catalogue.get("base_film")
    for file in ("model_index.json", "unet/diffusion_pytorch_model.safetensors"):
        path = hub.folder / entry.repo / entry.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    typed("yes")
    assert cli.main(["path", "base_film"]) == 1
    assert cli.main(["get", "--base", "film"]) == 0
    said = capsys.readouterr().out
    assert "  base_film: Base 0, leosamsMoonfilm_filmGrain20, 0.000 MB\n" in said
    choice = "Choose leosamsMoonfilm_filmGrain20 in ComfyUI's node Load Diffusers Model (DEPRECATED), in the place of Load Checkpoint;"
    assert said.splitlines()[-1].startswith(choice)
    assert cli.main(["path", "base_film"]) == 0
    assert capsys.readouterr().out == f"{models / 'diffusers' / 'leosamsMoonfilm_filmGrain20'}\n"


def test_ctrl_c_at_the_question(group, models, monkeypatch, capsys):
    class Leaving(Terminal):
        def readline(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Leaving())
    assert cli.main(["get", "--for", "Group Portrait"]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert not here(models)
