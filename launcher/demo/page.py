"""The demo's results on one self-contained HTML page: the pictures first, then what they mean, then everything else."""

from __future__ import annotations

import base64
import html
import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..console import Failure
from ..stamps import write_atomic
from . import material, meaning
from .results import Painted, Results, Trained

FILE_NAME = "facechain-demo.html"
TITLE = "FaceChain Studio demo"
REFRESH_SECONDS = 10
POCKET_LABEL = "pocket model"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --warn: #b45309; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { margin: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.state { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; background: var(--soft); }
.warning { border: 2px solid var(--warn); border-radius: .5rem; padding: .75rem 1rem; margin: 1rem 0; white-space: pre-line; }
.person { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: start; }
.rows { flex: 1; min-width: min(30rem, 100%); }
h3 { margin: .75rem 0 .25rem; font-size: 1rem; } .rows h3:first-child { margin-top: 0; }
.credit { margin: 0 0 .75rem; opacity: .75; }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { margin: 0; width: 10rem; } figure.large { width: 17rem; }
.photos { width: 14rem; display: grid; gap: .75rem; } .photos figure { width: 100%; }
figure img { width: 100%; border-radius: .4rem; display: block; } figcaption { font-size: .8rem; line-height: 1.3; margin-top: .2rem; }
.label { border: 1px solid var(--warn); border-radius: .25rem; padding: 0 .25rem; color: var(--warn); white-space: nowrap; }
@media (prefers-color-scheme: dark) { :root { --warn: #f59e0b; } }
.wide { max-width: 34rem; width: 100%; background: #fff; border-radius: .4rem; }
table { border-collapse: collapse; } td, th { border: 1px solid var(--line); padding: .25rem .6rem; text-align: left; }
pre { overflow: auto; max-height: 26rem; border: 1px solid var(--line); padding: .75rem; font-size: .8rem; }
"""


def warnings(results: Results) -> list[str]:
    """What the reader must know about the weights."""
    said = []
    if results.is_pocket:
        said.append("The base model is the pocket model, a toy for demonstrations. Give yours with --checkpoint FILE or --base NAME.")
    if found := results.named("stand_ins"):
        said.append(f"Stand-in weights were used: {', '.join(found)}. They are random numbers in the published format.")
    if any(name.endswith(".safetensors") for name in found):
        said.append("The base model is one of them, so the portraits are noise and the LoRA means nothing.")
    if "rts" in found:
        said.append("The face recognition (rts) is one of them, so the likeness scores mean nothing. Get it: python run.py models get rts")
    return said


@contextmanager
def following(folder: Path, results: Results) -> Iterator[None]:
    """The page, written when the block begins and when it ends, with what ended it early."""
    write(folder, results)
    try:
        yield
    except Failure as failure:
        results.stopped = failure.text().strip()
        raise
    except KeyboardInterrupt:
        results.stopped = f"The demo was stopped at {results.state}."
        raise
    except Exception as error:
        results.stopped = f"An error in the demo itself at {results.state}: {error!r}"
        raise
    finally:
        write(folder, results)


def write(folder: Path, results: Results) -> None:
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if results.is_running else ""
    head = f'<meta charset="utf-8">{refresh}<meta name="viewport" content="width=device-width"><title>{TITLE}</title><style>{STYLE}</style>'
    body = "\n".join([_heading(results), *_pictures(results), *meaning.sections(results), *_details(results)])
    write_atomic(folder / FILE_NAME, f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')


def _heading(results: Results) -> str:
    state = ""
    if results.stopped:
        state = f'<p class="warning"><strong>The demo ended early.</strong>\n{html.escape(results.stopped)}</p>'
    elif results.is_running:
        state = f'<p class="state">Running, {html.escape(results.state)}. This page refreshes itself until the demo is done.</p>'
    return f"<h1>{TITLE}</h1>\n{state}"


def _pictures(results: Results) -> Iterator[str]:
    """What the page leads with."""
    label = f' <span class="label">{POCKET_LABEL}</span>' if results.is_pocket else ""
    if results.base and not any(made.portraits for made in results.people):
        yield _section("The base model before any training", _noises(results.base, label))
    for made in results.people:
        yield _section(made.person.title, f'<p class="credit">{html.escape(made.person.credit)}</p>{_person(results, made, label)}')
        if results.painted and results.painted.person is made.person:
            yield _painted(results.painted, label)
        if results.talking and results.talking.person is made.person and results.talking.video:
            yield _talking(results.talking.video)


def _person(results: Results, made: Trained, label: str) -> str:
    trained_on = f"trained on {'this picture' if len(made.person.photos) == 1 else f'{len(made.person.photos)} pictures such as this'}"
    shown = [(made.photo, trained_on), (made.person.held_out, "held out of the training")]
    photos = "".join(_figure(file, text) for file, text in shown if file)
    rows = "<h3>Training</h3>" if not made.portraits else ""
    if made.portraits:
        rows += f"<h3>The untrained base model</h3>{_noises(results.base, label)}"
        rows += f"<h3>With the LoRA, from the same noise</h3>{_noises(made.portraits, label)}"
    if made.strengths:
        figures = "".join(_figure(file, f"LoRA at {strength:g}", label) for strength, file in made.strengths.items())
        rows += f'<h3>Noise 1, with the LoRA at {", ".join(f"{one:g}" for one in made.strengths)}</h3><div class="pictures">{figures}</div>'
    return f'<div class="person"><div class="photos">{photos}</div><div class="rows">{rows}</div></div>'


def _painted(painted: Painted, label: str) -> str:
    figures = _figure(painted.before, f"before: {material.CANVAS_TITLE}", large=True)
    figures += _figure(painted.after, f"after: with the face of {painted.person.title}", label, large=True)
    problem = f"<p>The face was left as it was: {html.escape(painted.problem)}.</p>" if painted.problem else ""
    return f'<h3>Painted into a picture (two-stage inpainting)</h3>{problem}<div class="pictures">{figures}</div>'


def _talking(video: Path) -> str:
    player = f'<video class="wide" controls src="{_embedded(video)}"></video>'
    return f"<h3>Speaking (four vowels that a program made)</h3>{player}"


def _noises(files: Sequence[Path], label: str) -> str:
    return f'<div class="pictures">{"".join(_figure(file, f"noise {number}", label) for number, file in enumerate(files, 1))}</div>'


def _details(results: Results) -> Iterator[str]:
    for made in results.people:
        title, loss = made.person.title, made.loss
        if made.crops:
            crops = "".join(_figure(file, text) for file, text in zip(made.crops, made.captions, strict=True))
            yield _section(f"{title}: crops and captions", f'<div class="pictures">{crops}</div>')
        if loss:
            yield _section(f"{title}: loss of the training", f'<img class="wide" alt="Loss curve" src="{_embedded(loss)}">{_lora(made)}')
        if made.ranking:
            yield _section(f"{title}: portraits by likeness", _table(made.ranking))
    if results.reports:
        yield _section("Node reports", "".join(_reports(title, nodes) for title, nodes in results.reports.items()))
    if results.workflows:
        yield _section("The workflows", "".join(_file(path) for path in results.workflows))


def _lora(made: Trained) -> str:
    if made.lora is None:
        return ""
    place, size = f"people/{made.person.name}/{made.lora.name}", made.lora.stat().st_size / 2**20
    return f"<p>The LoRA is <code>{html.escape(place)}</code> ({size:.1f} MB) beside this page.</p>"


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{content}"


def _embedded(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0]
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _figure(file: Path, text: str, label: str = "", *, large: bool = False) -> str:
    """label: HTML behind the text."""
    kind = ' class="large"' if large else ""
    caption = f"<figcaption>{html.escape(text)}{label}</figcaption>"
    return f'<figure{kind}><img alt="{html.escape(text)}" src="{_embedded(file)}">{caption}</figure>'


def _table(rows: Sequence[Mapping], severities: Sequence[str] | None = None) -> str:
    """`rows` as a table; severities: good, note, warning or problem for each, which colours it."""
    if not rows:
        return ""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in keys)
    cells = ["".join(f"<td>{html.escape(_text(row.get(key)))}</td>" for key in keys) for row in rows]
    body = "".join(f'<tr class="{html.escape(kind)}">{row}</tr>' for kind, row in zip(severities or ["good"] * len(rows), cells))
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _reports(title: str, nodes: Mapping[str, dict]) -> str:
    parts = [f"<h3>{html.escape(title)}</h3>"]
    for node, report in nodes.items():
        rows = [{"name": row["name"], "status": row["status"], **row["values"], "reason": row["reason"]} for row in report["rows"]]
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in report["notes"])
        table = _table(rows, [row["severity"] for row in report["rows"]])
        parts.append(f"<details><summary>{html.escape(node)}: {html.escape(report['title'])}</summary><ul>{notes}</ul>{table}</details>")
    return "".join(parts)


def _file(path: Path) -> str:
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=1, ensure_ascii=False)
    return f"<details><summary>{html.escape(path.name)}</summary><pre>{html.escape(text)}</pre></details>"
