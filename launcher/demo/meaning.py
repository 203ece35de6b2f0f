"""What the demo's page says about its pictures: what is a toy, what is real, and what to do next."""

from __future__ import annotations

import html
from collections.abc import Sequence

from .results import Results

SILENT = (
    'Nobody speaks on this page, since the weights for that are not here: <code>python run.py models get --for "Talking Portrait"</code> '
    "gets them, and the demo then lets the first person speak."
)


def sections(results: Results) -> list[str]:
    """As HTML."""
    parts = [("What is a toy here", _toy(results)), ("What is real", _real(results)), ("What to do next", _next(results))]
    return [f"<h2>{title}</h2>\n<ul>{''.join(f'<li>{text}</li>' for text in texts)}</ul>" for title, texts in parts if texts]


def _toy(results: Results) -> list[str]:
    said = []
    if results.is_pocket:
        said.append(
            "The base model. The <strong>pocket model</strong> was trained from nothing by this project, on painted portraits in the "
            "public domain and on drawn faces. It is a fortieth of the size of Stable Diffusion 1.5, knows tight crops of faces and "
            "nothing else, and its pictures are soft. It stands for no published model."
        )
    if found := results.named("stand_ins"):
        said.append(
            f"These weights are random numbers in the published format, since the files are not here: {html.escape(', '.join(found))}."
        )
    if "rts" in found:
        said.append("One of them is the face recognition, so <strong>the likeness scores, and the order they give, mean nothing</strong>.")
    if results.painted:
        said.append(
            "For the painted face, a mask comes with the picture where a parsing network would find one, no ControlNet holds the pose, "
            "and a portrait or crop of the person takes the place of the picture that stage 1 would make."
        )
    return said


def _real(results: Results) -> list[str]:
    noise = "Pictures with the same noise differ by the LoRA alone."
    if results.is_pocket:
        noise = f"None of these people is in the base model's training pictures: what portraits show of them comes from the LoRA. {noise}"
    return [
        "Every step ran in ComfyUI over its HTTP interface, with the workflows of this pack and other settings: "
        f"{html.escape(results.settings.summary())}.",
        noise,
        "The training is the one that Train Face LoRA does with any base model; its loss is below. Nothing on this page left the machine.",
    ]


def _next(results: Results) -> Sequence[str]:
    silent = results.talking is not None and results.talking.video is None
    return [
        "Your photos on a base model: <code>python run.py demo --base film --photos my-photos --who \"a woman\"</code> says what it "
        "downloads and under which licence, and asks first. A base model of yours: <code>--checkpoint FILE</code>. Both want a GPU.",
        *(["Likeness that means something: <code>python run.py models get rts</code>"] if "rts" in results.named("stand_ins") else []),
        "All that a workflow needs: <code>python run.py models get --for \"Face Into A Picture\"</code>",
        "The editor with these workflows: <code>python run.py serve</code>",
        *([SILENT] if silent else []),
    ]  # fmt: skip
