"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher.console import clean_env
from launcher.places import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = ("a network", "a node", "a workflow", "a locale string", "a help page", "a published file")
MOST_FILES = {"a network": 5, "a node": 6, "a workflow": 2, "a locale string": 2, "a help page": 1, "a published file": 2}
STEP = re.compile(r"^\d\. `([^`]+)`", re.MULTILINE)
BLOCK = re.compile(r"^   ```(\w+)\n(.*?)^   ```$", re.MULTILINE | re.DOTALL)
# What the commands of the two recipes write.
RECORDED = {"tests/parity/data/exposure.npz", "tests/parity/keys/exposure.tsv"}
BUILT = {"README.md", "tests/host/signatures.json", *(f"locales/{name}.json" for name in ("en/nodeDefs", "zh/nodeDefs", "zh/untranslated"))}
# The publisher's program, in other words than ours.
PUBLISHER = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding="same")
        self.score = torch.nn.Linear(4, 1)

    def forward(self, x):
        maps = torch.clamp(self.conv(x), min=0)
        return torch.special.expit(self.score(maps.flatten(2).mean(-1))).squeeze(1)
"""


@dataclass(frozen=True)
class Change:
    """One code block of a step: the whole of a new file, or lines to put into one that is there."""

    path: str
    kind: str
    text: str

    def apply(self, root: Path) -> None:
        file = root / self.path
        if self.kind != "diff":
            assert not file.exists(), self.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.text, encoding="utf-8")
            return
        lines = self.text.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] in marks) for marks in (" -", " +"))
        source = file.read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{self.path} does not hold these lines of CONTRIBUTING.md once:\n{before}"
        file.write_text(source.replace(before, after), encoding="utf-8")


def section(recipe: str) -> str:
    return re.search(rf"^## Add {recipe}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def changes(recipe: str) -> list[Change]:
    text = section(recipe)
    steps = list(STEP.finditer(text))
    ends = [*(step.start() for step in steps[1:]), len(text)]
    return [
        Change(step[1], kind, "".join(line[3:] or "\n" for line in block.splitlines(keepends=True)))
        for step, end in zip(steps, ends)
        for kind, block in BLOCK.findall(text[step.start() : end])
    ]


def recording_script() -> str:
    (script,) = re.findall(r"^```python\n(.*?)^```$", section("a network"), re.MULTILINE | re.DOTALL)
    return script


@dataclass(frozen=True)
class Copy:
    """A copy of the repository with one commit, in which commands run as for somebody who has nothing else."""

    root: Path
    host: Path

    def run(self, *words: str | Path, beside: Path | None = None) -> subprocess.CompletedProcess:
        """`beside`: in place of the host, a folder that is on the path as well."""
        python_path = os.pathsep.join([str(self.root), str(beside or self.host)])
        env = clean_env(
            PYTHONPATH=python_path, COMFYUI_PATH=str(self.host), COMFYUI_PYTHON=sys.executable, FACECHAIN_HOME=str(self.root.parent)
        )
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run([str(word) for word in words], cwd=self.root, env=env, capture_output=True, text=True)

    def python(self, *words: str | Path, beside: Path | None = None) -> str:
        done = self.run(sys.executable, *words, beside=beside)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return done.stdout

    def tests(self, *words: str) -> str:
        return self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *words)

    def changed(self) -> set[str]:
        return {line[3:].strip('"') for line in self.run("git", "status", "--porcelain", "-uall").stdout.splitlines()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory, host_path) -> Copy:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    root = tmp_path_factory.mktemp("copy") / "facechain-studio"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    made = Copy(root, host_path)
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "The repository"]):
        assert made.run("git", *words).returncode == 0
    return made


@pytest.fixture(scope="module")
def with_network(copy, tmp_path_factory) -> Copy:
    """The recipe of a network, followed."""
    for change in changes("a network"):
        change.apply(copy.root)
    folder = tmp_path_factory.mktemp("publisher")
    (folder / "face_exposure.py").write_text(PUBLISHER)
    (folder / "record_exposure.py").write_text(recording_script())
    copy.python(folder / "record_exposure.py", beside=folder)
    return copy


@pytest.fixture(scope="module")
def with_node(with_network) -> Copy:
    """The recipe of a node, followed after that of the network, and what is generated built."""
    for change in changes("a node"):
        change.apply(with_network.root)
    with_network.python("run.py", "build", "snapshots", "locales", "readme")
    return with_network


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_lists_its_files(recipe):
    files = {step[1] for step in STEP.finditer(section(recipe))} or set(re.findall(r"^One file: `([^`]+)`", section(recipe), re.MULTILINE))
    assert 1 <= len(files) <= MOST_FILES[recipe]
    for file in files:
        known = re.sub(r"TITLE|FAMILY|NODE_ID|LANGUAGE|RateExposure|exposure", "*", file)
        assert list(ROOT.glob(known)) or list(ROOT.glob(known.rpartition("/")[0])), file


@pytest.mark.parametrize("recipe", ["a network", "a node"])
def test_every_file_of_a_worked_recipe_is_spelt_out(recipe):
    assert {change.path for change in changes(recipe)} == {step[1] for step in STEP.finditer(section(recipe))}


@pytest.mark.slow
def test_the_recipe_of_a_network(with_network):
    by_hand = {change.path for change in changes("a network")}
    assert len(by_hand) <= 5
    assert with_network.changed() == by_hand | RECORDED
    with_network.python("-m", "ruff", "check", ".")
    with_network.python("-m", "ruff", "format", "--check", ".")
    own = ("tests/parity/test_exposure.py", "tests/perception/test_exposure.py")
    others = ("tests/parity/test_harness.py", "tests/weights/test_catalogue.py", "tests/test_layers.py")
    said = with_network.tests(*own, *others, "-m", "not slow")
    assert "1 arrays of 1 fixture files compared" in said
    with_network.python("run.py", "models", "list")


@pytest.mark.slow
@pytest.mark.host
@pytest.mark.matrix
def test_the_recipe_of_a_node(with_node):
    """Contract, help page, locales, README, declared files and provenance, on a server that has the node."""
    by_hand = {change.path for change in changes("a node")}
    assert len(by_hand) <= 6
    network = {change.path for change in changes("a network")} | RECORDED
    assert with_node.changed() == by_hand | network | BUILT
    with_node.python("-m", "ruff", "check", ".")
    with_node.python("-m", "ruff", "format", "--check", ".")
    with_node.python("-m", "launcher.type_check")
    cases = ("the_light_on_pictures", "no_node_opens_what_it_does_not_declare", "every_node_was_run_here")
    of_nodes = ("tests/host/test_contract.py", "tests/host/test_fingerprints.py", "tests/weights/test_uses.py", "tests/test_messages.py")
    provenance = [f"tests/host/test_provenance.py::test_{case}" for case in cases]
    with_node.tests(*of_nodes, "tests/setup/test_documents.py", "tests/test_layers.py", *provenance)
    assert "Rate Exposure" in with_node.run("git", "diff", "README.md").stdout
    waiting = (with_node.root / "locales" / "zh" / "untranslated.json").read_text(encoding="utf-8")
    assert "FaceChain_RateExposure.inputs.images.tooltip" in waiting
