"""The type check: what it reads, and that nothing slips through it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from launcher import places, type_check

IGNORE = re.compile(r"#\s*type:\s*ignore")
REASONED = re.compile(r"# type: ignore\[[a-z, -]+\]  # \w+ \w+")


def test_nodes_are_read_with_imports_that_can_be_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "home", lambda: tmp_path)
    words = type_check.command(Path("python"))
    pairs = [words[place + 1 : place + 3] for place, word in enumerate(words) if word == "--shadow-file"]
    assert {node for node, _ in pairs} == {str(Path("nodes", path.name)) for path in (places.ROOT / "nodes").glob("*.py")}
    for node, copy in pairs:
        original, read = (places.ROOT / node).read_text(encoding="utf-8"), Path(copy).read_text(encoding="utf-8")
        assert "from .." not in read
        assert read.count("\n") == original.count("\n")
        assert re.findall(r"from \.\.(facechain_impl\S*)", original) == re.findall(r"from (facechain_impl\S*)", read)


def test_a_wrong_argument_is_found(tmp_path):
    """The configuration is the one of pyproject.toml; the file that it reads is not part of the pack."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text('from launcher.console import elapsed\n\nprint(elapsed("a minute"))\n\n\ndef untyped(value):\n    return value\n')
    command = [*type_check.command(Path(sys.executable)), str(wrong)]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[arg-type]" in done.stdout
    assert "[no-untyped-def]" in done.stdout


def test_every_ignored_error_has_a_code_and_a_reason():
    files = [
        *places.ROOT.glob("*.py"),
        *(file for part in ("facechain_impl", "nodes", "launcher", "bench") for file in (places.ROOT / part).rglob("*.py")),
    ]
    lines = [(file.name, line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    ignored = [(name, line) for name, line in lines if IGNORE.search(line)]
    assert [(name, line) for name, line in ignored if not REASONED.search(line)] == []
    assert "ignore_errors" not in (places.ROOT / "pyproject.toml").read_text(encoding="utf-8")
