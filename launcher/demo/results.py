"""What the demo made, as files in its output folder, and what the nodes said about it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

from .material import Person
from .settings import Settings

DONE = "done"


@dataclass
class Trained:
    """One person's. folder: for all of it. portraits: by noise. strengths: strength of the LoRA -> picture, of one noise.

    ranking: one dict for each portrait, best first."""

    person: Person
    folder: Path
    crops: list[Path] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    loss: Path | None = None
    lora: Path | None = None
    portraits: list[Path] = field(default_factory=list)
    strengths: dict[float, Path] = field(default_factory=dict)
    ranking: list[dict] = field(default_factory=list)

    @property
    def photo(self) -> Path | None:
        """The picture that shows who it is; of the user's photos, the first crop."""
        return self.person.photos[0] if self.person.is_sample else next(iter(self.crops), None)

    def best(self) -> Path | None:
        """The best portrait in which a face was found; else a crop."""
        found = (self.folder / row["file"] for row in self.ranking if row["status"] == "ranked")
        return next(found, None) or next(iter(self.crops), None)

    def rank(self, rows: list[dict], files: list[Path]) -> None:
        """Keep the ranking, best first, beside the portraits. rows: of the node's report, files: of the portraits, in the same order."""
        self.ranking = [
            {"place": place, "file": f"{file.parent.name}/{file.name}", **row["values"], "status": row["status"], "reason": row["reason"]}
            for place, (row, file) in enumerate(zip(rows, files, strict=True), 1)
        ]
        (self.folder / "ranking.json").write_text(json.dumps(self.ranking, indent=2), encoding="utf-8")
        with (self.folder / "ranking.csv").open("w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, list(dict.fromkeys(key for row in self.ranking for key in row)))
            writer.writeheader()
            writer.writerows(self.ranking)


@dataclass(frozen=True)
class Painted:
    """A person painted into a picture. problem: why the face was left as it was, if it was."""

    person: Person
    before: Path
    after: Path
    problem: str = ""


@dataclass(frozen=True)
class Talking:
    """A portrait that speaks. video: None where a published file is missing."""

    person: Person
    video: Path | None = None


@dataclass
class Results:
    """Everything. base: portraits of the untrained base model, by noise. state: what the demo does, DONE, or what ended it early.

    reports: step -> title of a node -> its report."""

    settings: Settings
    is_pocket: bool
    expected: tuple[Person, ...] = ()
    base: list[Path] = field(default_factory=list)
    people: list[Trained] = field(default_factory=list)
    painted: Painted | None = None
    talking: Talking | None = None
    workflows: list[Path] = field(default_factory=list)
    reports: dict[str, dict[str, dict]] = field(default_factory=dict)
    state: str = "starting"
    stopped: str = ""

    def add_reports(self, step: str, shown: dict[str, dict]) -> None:
        self.reports[step] = {node: output["report"][0] for node, output in shown.items() if "report" in output}

    def named(self, kind: str) -> list[str]:
        """The `stand_ins` or the `pocket_models` of all reports."""
        return sorted({name for nodes in self.reports.values() for report in nodes.values() for name in report.get(kind, [])})

    @property
    def is_running(self) -> bool:
        return not self.stopped and self.state != DONE
