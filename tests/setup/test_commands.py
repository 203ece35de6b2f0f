"""run.py as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher import browser, cli, demo, environment, testing
from launcher.console import Failure


def test_help_names_every_command(run_py):
    done = run_py("--help")
    assert done.returncode == 0
    for command in ("demo", "serve", "test", "build", "bench", "models", "persons", "COMFYUI_PATH", "FACECHAIN_HOME"):
        assert command in done.stdout


def test_an_unknown_command_is_refused(run_py):
    assert run_py("dance").returncode == 2


def test_a_failure_ends_with_what_to_do(run_py, old_host):
    done = run_py("models", "list", COMFYUI_PATH=old_host)
    assert done.returncode == 1
    assert "Stopped at: checking the ComfyUI" in done.stdout
    assert "0.29.3" in done.stdout
    assert "What to do:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("argv", "arguments", "rest"),
    [
        (["test"], ["test"], []),
        (["test", "--", "-k", "demo"], ["test"], ["-k", "demo"]),
        (["test", "--install", "--", "--", "x"], ["test", "--install"], ["--", "x"]),
        (["models", "get", "--help"], ["models"], ["get", "--help"]),
        (["persons", "delete", "me", "--yes"], ["persons"], ["delete", "me", "--yes"]),
        (["bench"], ["bench"], []),
        (["bench", "train", "--shape", "full"], ["bench", "train"], ["--shape", "full"]),
        (["bench", "train", "--", "--shape", "full"], ["bench", "train"], ["--shape", "full"]),
        ([], [], []),
    ],
)
def test_what_is_for_whom(argv, arguments, rest):
    assert cli._split(argv) == (arguments, rest)


def test_commands_of_the_pack_run_on_the_host(run_py, host):
    done = run_py("models", "check", **host)
    assert "Published files:" in done.stdout, done.stderr
    assert "rts" in done.stdout
    done = run_py("persons", "list", **host)
    assert "No person is stored." in done.stdout, done.stderr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot leave the current folder out of what it imports from")
def test_the_pack_runs_beside_files_that_are_called_as_the_hosts(host_path, tmp_path):
    """Whoever stands in a folder with a `utils.py` or `server.py` of theirs still gets the host's."""
    for name in ("utils.py", "server.py", "folder_paths.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong file')\n")
    host = environment.Host(host_path, Path(sys.executable), True)
    command = environment.pack_command(host, tmp_path / "base", "stand-ins", tmp_path / "made", "rts")
    done = subprocess.run(command, env=environment.pack_env(host), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in (tmp_path / "made").glob("*.*")] == [".safetensors"]
    command = environment.pack_command(host, tmp_path / "base", "stand-ins", tmp_path / "made", "nothing")
    done = subprocess.run(command, env=environment.pack_env(host), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("lint", "tests", "status"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (0, 2, 2), (1, 2, 2)])
def test_lint_and_tests_both_count(monkeypatch, lint, tests, status):
    ran = []

    def call(command, env):
        ran.append(command[2:])
        return tests if "pytest" in command else lint

    monkeypatch.setattr(testing.environment, "ready", lambda **_: testing.environment.Host(testing.places.ROOT, sys.executable, True))
    monkeypatch.setattr(testing, "_browser", lambda: {})
    monkeypatch.setattr(testing, "_clients", lambda install: {})
    monkeypatch.setattr(testing, "_call", call)
    assert testing.run(["-k", "x"], install=False) == status
    assert ran[0] == ["ruff", "check", "."]
    assert ran[1] == ["ruff", "format", "--check", "."]
    assert ran[2][0] == "mypy"
    assert ran[3][0] == "pytest"
    assert ran[3][-2:] == ["-k", "x"]


@pytest.mark.parametrize(
    ("words", "chosen"), [([], []), (["--all"], ["--all"]), (["--coverage", "--", "-k", "x"], [*testing.COVERAGE, "-k", "x"])]
)
def test_what_is_asked_for_reaches_pytest(monkeypatch, words, chosen):
    ran = []
    monkeypatch.setattr(testing.environment, "ready", lambda **_: testing.environment.Host(testing.places.ROOT, sys.executable, True))
    monkeypatch.setattr(testing, "_browser", lambda: {})
    monkeypatch.setattr(testing, "_clients", lambda install: {})
    monkeypatch.setattr(testing, "_call", lambda command, env: ran.append(command) or 0)
    assert cli.main(["test", *words]) == 0
    assert ran[-1][3:] == [*testing.PARALLEL, *chosen]


def test_a_missing_browser_is_a_failure_under_ci_only(monkeypatch, capsys):
    def missing():
        raise Failure("installing Chromium", "there is no Chromium here", "Install it.")

    monkeypatch.setattr(browser, "ready", missing)
    monkeypatch.setenv("CI", "")
    assert testing._browser() == {}
    assert "The tests of the editor are skipped" in capsys.readouterr().out
    monkeypatch.setenv("CI", "1")
    with pytest.raises(Failure):
        testing._browser()


def test_missing_clients_are_a_failure_under_ci_only(monkeypatch, capsys, home):
    monkeypatch.setenv("CI", "")
    assert testing._clients(install=False) == {}
    assert "The tests with other clients of ComfyUI are skipped" in capsys.readouterr().out
    monkeypatch.setenv("CI", "1")
    with pytest.raises(Failure, match="other clients"):
        testing._clients(install=False)


@pytest.mark.parametrize(("is_users", "install", "allowed"), [(False, False, True), (True, False, False), (True, True, True)])
def test_clients_are_installed_beside_a_host_of_the_users_only_when_asked(monkeypatch, tmp_path, is_users, install, allowed):
    asked, passed = [], []
    host = testing.environment.Host(testing.places.ROOT, Path(sys.executable), is_users)
    monkeypatch.setattr(testing.environment, "ready", lambda **_: host)
    monkeypatch.setattr(testing.environment, "clients_ready", lambda install: asked.append(install) or tmp_path)
    monkeypatch.setattr(testing, "_browser", lambda: {})
    monkeypatch.setattr(testing, "_call", lambda command, env: passed.append(env["FACECHAIN_CLIENTS"]) or 0)
    assert testing.run([], install=install) == 0
    assert asked == [allowed] and set(passed) == {str(tmp_path)}


def test_ci_calls_the_test_command_and_nothing_else():
    lines = (testing.places.ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ['cd "$(dirname "$0")/.." && CI=1 exec python3 run.py test --all']


def test_the_demo_refuses_what_it_cannot_use(run_py, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for words, reason in (
        (["--photos", tmp_path / "nowhere"], "not a folder"),
        (["--photos", tmp_path / "empty"], "no picture"),
        (["--checkpoint", tmp_path / "nothing.safetensors"], "no such file"),
        (["--out", tmp_path / "full"], "other files"),
    ):
        done = run_py("demo", *words)
        assert done.returncode == 1
        assert reason in done.stdout
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_an_earlier_demo_is_cleared_and_nothing_else(tmp_path):
    folder = demo._output_folder(tmp_path / "out")
    for place in ("people/demo/crops/me.png", "base/noise_1.png", "painted/after.png", "workflows/Train My Portrait.json"):
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_text("")
    (folder / "reports.json").write_text("")
    (folder / "note.txt").write_text("mine")
    assert demo._output_folder(folder) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["facechain-demo.html", "note.txt"]
