"""First contact with the published files: their content, whether it fits the catalogue, and whether every network runs.

The report is one text file for a bug report. It contains names, sizes, hashes and statistics, no weights.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ... import __version__, atomic
from ...errors import BadInput, FaceChainError, WeightsError
from ...host import folders
from ...networks.base import FoundLayout, layout_of
from ...networks.published import Entry
from ...types import Layout
from .. import catalogue, convert, download, files, headers, load, uses
from . import probes
from .questions import QUESTIONS, quoted

SAMPLE = Path(__file__).resolve().parents[3] / "assets" / "sample" / "eileen_collins.png"
ALSO = ("style_id_photo", "style_inpaint")
"""Files that the host opens, whose tensors answer an open question."""


@dataclass
class Finding:
    """The result for one file. problems: sentences about what is not as expected. lines: all evidence."""

    entry: Entry
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return "; ".join(self.problems) or "as the catalogue says"


def run(names: list[str], report: str, picture: str | None, say: Callable[[str], None]) -> int:
    """Verify the named files, or all that the pack runs, and write `report`. Returns 1 when something is not as expected."""
    entries = [catalogue.get(name) for name in names] or [one for one in catalogue.ENTRIES if uses.is_run(one) or one.name in ALSO]
    pixels = read_picture(Path(picture) if picture else SAMPLE)
    findings = []
    for entry in entries:
        for line in download.announcement(entry):
            say(line)
        findings.append(examine(entry, pixels))
        say(f"{entry.name}: {findings[-1].verdict}")
    repositories = {entry.repo for entry in entries}
    answers = [
        (question.text, question.answer(folders.category_folders("facechain")[0].parent / download.WORK / "questions"))
        for question in QUESTIONS
        if any(repo in repositories for repo, _ in question.sources)
    ]
    atomic.write(Path(report), "\n".join(document(findings, answers)), WeightsError)
    say(f"The report is {Path(report).resolve()}. Attach it to a bug report if something is not as the catalogue says.")
    return int(any(finding.problems for finding in findings))


def read_picture(path: Path) -> torch.Tensor:
    """[1, 3, H, W] in 0..1. Raises BadInput."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    except OSError as error:
        raise BadInput(f"{path} cannot be read as a picture: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def examine(entry: Entry, picture: torch.Tensor) -> Finding:
    """Download a file, describe it, put it into place and run its networks. Every error becomes a line of the finding."""
    finding = Finding(entry)
    try:
        there = download.listing(entry.repo, entry.revision)
        finding.lines += ["Files of the repository:", *(f"    {size:>12}  {path}" for path, size in sorted(there.items()))]
        found = download.fetch(entry, companions=True)
        _describe(finding, found)
        download.install(entry, found)
        _run_networks(finding, picture)
        shutil.rmtree(download.work_folder(entry), ignore_errors=True)
    except FaceChainError as error:
        finding.problems.append(str(error))
    return finding


def _describe(finding: Finding, found: Path) -> None:
    entry = finding.entry
    if found.is_dir():
        return
    size, digest = found.stat().st_size, files.sha256(found)
    finding.lines.append(
        f"{entry.path}: {size} bytes (catalogue: {entry.size_text}), sha256 {digest} (catalogue: {entry.sha256 or 'unknown'})"
    )
    if entry.bytes and entry.bytes != size:
        finding.problems.append(f"{size} bytes instead of {entry.bytes}")
    if not files.hash_agrees(entry, digest):
        finding.problems.append(f"the hash is not {entry.sha256}")
    for path in sorted(download.work_folder(entry).glob("*")):
        if path.suffix == ".py" or path.name in download.COMPANIONS:
            words = ("licen",) if path.suffix == ".md" else ("import", "def ", "class ") if path.suffix == ".py" else ()
            finding.lines += [f"{path.name}: sha256 {files.sha256(path)}", *quoted(path, words)]
    for name, layout in _layouts(finding, found):
        finding.lines += [f"Tensors of {name}: {len(layout)}", *tensor_lines(layout)]


def _layouts(finding: Finding, found: Path) -> Iterable[tuple[str, FoundLayout]]:
    """Name and tensors of every network in a file; what does not fit the catalogue becomes a problem."""
    layout = headers.read(found).layout
    if layout is not None:
        finding.problems += finding.entry.problems(layout)
        yield found.name, layout
    elif finding.entry.is_pickle:
        content = convert.unpickle(found)
        finding.lines.append(f"Entries of {found.name}: {', '.join(map(str, list(content)[:40]))}")
        for sibling in download.siblings(finding.entry):
            yield sibling.name, _state_dict(finding, content, sibling, found)


def _state_dict(finding: Finding, content: Any, entry: Entry, found: Path) -> Layout:
    try:
        return layout_of(convert.state_dict(content, entry, found))
    except WeightsError as error:
        finding.problems.append(str(error))
        inside = content.get(entry.key, content)
        return layout_of({str(name): value for name, value in inside.items() if torch.is_tensor(value)})


def tensor_lines(layout: FoundLayout) -> list[str]:
    return [f"    {name}  {list(shape)}  {str(dtype).removeprefix('torch.')}" for name, (shape, dtype) in layout.items()]


def _run_networks(finding: Finding, picture: torch.Tensor) -> None:
    entry = finding.entry
    for name in [f"{entry.name}.{part.name}" for part in entry.parts] or [entry.name] * bool(entry.network):
        if run := catalogue.get(name).probe:
            _note_run(finding, name, probes.probe(run, load.network(load.find(name)), picture))
    if entry.is_onnx and uses.is_run(entry):
        _note_run(finding, entry.name, probes.probe_session(load.session(load.find(entry.name)), picture))


def _note_run(finding: Finding, name: str, outputs: list[str]) -> None:
    finding.lines += [f"Run of {name} on the picture:", *(f"    {line}" for line in outputs)]
    if any(probes.NOT_FINITE in line for line in outputs):
        finding.problems.append(f"{name} gives numbers that are not finite")


def document(findings: list[Finding], answers: list[tuple[str, list[str]]]) -> list[str]:
    """The report as lines of Markdown: a summary, the open questions, then every file."""
    lines = [
        "# FaceChain Studio: published files",
        f"Version {__version__}, Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.machine()}",
        "",
        *(f"- {one.entry.name} ({one.entry.repo} {one.entry.revision}): {one.verdict}" for one in findings),
        "",
        "## Open questions",
    ]
    for text, evidence in answers:
        lines += ["", f"### {text}", "```", *evidence, "```"]
    for one in findings:
        lines += ["", f"## {one.entry.name}: {one.entry.title}", one.entry.licence.text(), "```", *one.lines, *one.problems, "```"]
    return [*lines, ""]
