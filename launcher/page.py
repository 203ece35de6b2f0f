"""The demo's results on one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass, field
from pathlib import Path

FILE_NAME = "facechain-demo.html"
TITLE = "FaceChain Studio demo"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --warn: #b45309; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.warning { border: 2px solid var(--warn); border-radius: .5rem; padding: .75rem 1rem; margin: 1rem 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 13rem; } figure img { width: 100%; border-radius: .4rem; } figcaption { font-size: .85rem; }
img.wide { max-width: 100%; background: #fff; border-radius: .4rem; }
table { border-collapse: collapse; } td, th { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
pre { overflow: auto; max-height: 26rem; border: 1px solid var(--line); padding: .75rem; font-size: .8rem; }
"""


@dataclass
class Results:
    """What the demo made. reports: per workflow and node title, what a FaceChain node reported. ranking: one dict per portrait."""

    sizes: dict[str, int]
    crops: list[Path] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    lora: Path | None = None
    portraits: list[Path] = field(default_factory=list)
    ranking: list[dict] = field(default_factory=list)
    workflows: list[Path] = field(default_factory=list)
    reports: dict[str, dict[str, dict]] = field(default_factory=dict)

    def add_reports(self, title: str, shown: dict[str, dict]) -> None:
        self.reports[title] = {node: output["report"][0] for node, output in shown.items() if "report" in output}

    def stand_ins(self) -> list[str]:
        return sorted({name for nodes in self.reports.values() for report in nodes.values() for name in report["stand_ins"]})


def warnings(results: Results) -> list[str]:
    """Warnings for the reader, shown first."""
    found = results.stand_ins()
    if not found:
        return []
    said = [f"Stand-in weights were used: {', '.join(found)}. They are random numbers in the published format."]
    if any(name.endswith(".safetensors") for name in found):
        said.append(
            "The checkpoint is one of them, so the portraits are noise and the LoRA means nothing. Give yours with --checkpoint FILE."
        )
    if "rts" in found:
        said.append("The face recognition (rts) is one of them, so the likeness scores mean nothing. Get it: python run.py models get rts")
    return said


def write(folder: Path, results: Results) -> None:
    sections = [
        _heading(results),
        _section("Crops and captions", _figures(results.crops, results.captions)),
        _section("Loss of the training", f'<img class="wide" alt="Loss curve" src="{_embedded(folder / "loss.png")}">'),
        _section("Portraits, best first", _figures(results.portraits, [_score(row) for row in results.ranking]) + _table(results.ranking)),
        _section("Node reports", "".join(_reports(title, nodes) for title, nodes in results.reports.items())),
        _section("The workflows", "".join(_file(path) for path in results.workflows)),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{TITLE}</title><style>{STYLE}</style>'
    body = "\n".join(sections)
    (folder / FILE_NAME).write_text(
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n', encoding="utf-8"
    )


def _heading(results: Results) -> str:
    boxes = "".join(f'<p class="warning"><strong>{html.escape(text)}</strong></p>' for text in warnings(results))
    sizes = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in results.sizes.items())
    return f"<h1>{TITLE}</h1><p>{html.escape(sizes)}. {_lora(results.lora)} Nothing on this page left the machine.</p>{boxes}"


def _lora(file: Path | None) -> str:
    if file is None:
        return "No LoRA was trained."
    return f"The LoRA is <code>{html.escape(file.name)}</code> ({file.stat().st_size / 2**20:.1f} MB) beside this page."


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{content}"


def _embedded(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


def _figures(files: list[Path], texts: list[str]) -> str:
    figures = (
        f'<figure><img alt="{html.escape(file.name)}" src="{_embedded(file)}"><figcaption>{html.escape(text)}</figcaption></figure>'
        for file, text in zip(files, texts, strict=True)
    )
    return f'<div class="pictures">{"".join(figures)}</div>'


def _score(row: dict) -> str:
    return f"{row['place']}. {row['reason']}" if row["score"] is None else f"{row['place']}. likeness {row['score']:.3f}"


def _table(rows: list[dict], severities: list[str] | None = None) -> str:
    """`rows` with the same keys as a table; severities: good, note, warning or problem for each, which colours it."""
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    cells = ["".join(f"<td>{html.escape(_text(value))}</td>" for value in row.values()) for row in rows]
    body = "".join(f'<tr class="{html.escape(kind)}">{row}</tr>' for kind, row in zip(severities or ["good"] * len(rows), cells))
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _reports(title: str, nodes: dict[str, dict]) -> str:
    parts = [f"<h3>{html.escape(title)}</h3>"]
    for node, report in nodes.items():
        rows = [{"name": row["name"], "status": row["status"], **row["values"], "reason": row["reason"]} for row in report["rows"]]
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in report["notes"])
        table = _table(_even(rows), [row["severity"] for row in report["rows"]])
        parts.append(f"<h4>{html.escape(node)}: {html.escape(report['title'])}</h4><ul>{notes}</ul>{table}")
    return "".join(parts)


def _even(rows: list[dict]) -> list[dict]:
    """The same keys in every row."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in keys} for row in rows]


def _file(path: Path) -> str:
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=1, ensure_ascii=False)
    return f"<details><summary>{html.escape(path.name)}</summary><pre>{html.escape(text)}</pre></details>"
