"""The demo's page: what it leads with, what it says, and what it is while the demo runs and after it ended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from launcher.console import Failure
from launcher.demo import material, page
from launcher.demo.results import DONE, Painted, Results, Talking, Trained
from launcher.demo.settings import POCKET, STRENGTHS, USUAL
from launcher.lifetime import Ended

REFRESH = '<meta http-equiv="refresh"'


def report(**names: list[str]) -> dict:
    row = {"name": "picture 1", "status": "trained", "severity": "good", "reason": "", "values": {"steps": 3}}
    return {"report": [{"title": "Said", "rows": [row], "notes": ["a note"], "stand_ins": [], "pocket_models": [], **names}]}


def picture(folder: Path, name: str) -> Path:
    Image.new("RGB", (8, 8), "red").save(folder / name)
    return folder / name


@pytest.fixture
def made(tmp_path) -> Results:
    """Everything of one person."""
    drawn = material.DRAWN_PERSON
    trained = Trained(drawn, tmp_path, [picture(tmp_path, "crop.png")], ["<fcsks>, a person"], picture(tmp_path, "loss.png"))
    trained.lora = tmp_path / "lora.safetensors"
    trained.lora.write_bytes(b"1")
    trained.portraits = [picture(tmp_path, f"lora_{number}.png") for number in (1, 2)]
    trained.strengths = {strength: picture(tmp_path, f"at_{strength}.png") for strength in STRENGTHS}
    trained.ranking = [{"place": 1, "file": "lora_1.png", "score": None, "status": "passed through", "reason": "no face found"}]
    base = [picture(tmp_path, f"base_{number}.png") for number in (1, 2)]
    results = Results(POCKET, True, (drawn,), base, [trained], state=DONE)
    results.painted = Painted(drawn, picture(tmp_path, "before.png"), picture(tmp_path, "after.png"))
    results.add_reports("One", {"A": report(stand_ins=["rts"]), "B": {"images": []}})
    return results


def written(folder: Path, results: Results) -> str:
    page.write(folder, results)
    return (folder / page.FILE_NAME).read_text(encoding="utf-8")


def figures(text: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", text)


def test_the_page_leads_with_the_pictures(tmp_path, made):
    text = written(tmp_path, made)
    titles = re.findall(r"<h[23]>(.*?)</h[23]>", text)
    assert titles[:6] == [
        "A person who does not exist", "The untrained base model", "With the LoRA, from the same noise",
        "Noise 1, with the LoRA at 0, 0.5, 1, 1.3", "Painted into a picture (two-stage inpainting)", "What is a toy here",
    ]  # fmt: skip
    assert titles[6:9] == ["What is real", "What to do next", "A person who does not exist: crops and captions"]
    assert text.index("<img") < text.index("<ul>")


def test_every_picture_of_the_pocket_model_says_so(tmp_path, made):
    label = ' <span class="label">pocket model</span>'
    assert figures(written(tmp_path, made)) == [
        "trained on 6 pictures such as this", "held out of the training",
        f"noise 1{label}", f"noise 2{label}", f"noise 1{label}", f"noise 2{label}",
        *(f"LoRA at {strength}{label}" for strength in ("0", "0.5", "1", "1.3")),
        f"before: {material.CANVAS_TITLE}", f"after: with the face of A person who does not exist{label}",
        "&lt;fcsks&gt;, a person",
    ]  # fmt: skip
    made.is_pocket = False
    assert not any("pocket model" in text for text in figures(written(tmp_path, made)))


def test_the_word_seed_is_for_programmers(tmp_path, made):
    shown = re.sub(r"<(details|style)>.*?</\1>|<[^>]*>", "", written(tmp_path, made), flags=re.DOTALL)
    assert "seed" not in shown.casefold() and "noise 1" in shown


def test_toy_and_real_are_told_apart(tmp_path, made):
    toy, real = re.search(r"What is a toy here</h2>(.*?)What is real</h2>(.*?)<h2>", written(tmp_path, made), re.DOTALL).groups()
    assert "trained from nothing by this project" in toy and "likeness scores" in toy and ": rts." in toy
    assert "400 training steps a person (200 where there is one photo), pictures of 128 pixels, 15 sampling steps" in real
    made.is_pocket, made.settings, made.reports, made.painted = False, USUAL, {}, None
    text = written(tmp_path, made)
    assert "What is a toy here" not in text and "None of these people" not in text
    assert "as many training steps as the preset says" in text


@pytest.mark.parametrize("words", ["--checkpoint FILE", "--base film", "models get rts", "run.py serve"])
def test_what_to_do_next(tmp_path, made, words):
    assert words in written(tmp_path, made)


def test_it_refreshes_itself_until_the_demo_is_done(tmp_path, made):
    made.state = "step 3/4: A person who does not exist: portraits"
    text = written(tmp_path, made)
    assert REFRESH in text and made.state in text
    made.state = DONE
    text = written(tmp_path, made)
    assert REFRESH not in text and "Running" not in text


def test_an_empty_page_is_a_page(tmp_path):
    text = written(tmp_path, Results(POCKET, True))
    assert REFRESH in text and "<img" not in text


def test_the_base_is_shown_before_anybody_is_trained(tmp_path, made):
    made.people, made.painted = [Trained(material.GIRL, tmp_path)], None
    text = written(tmp_path, made)
    assert "The base model before any training" in text
    assert [caption.split(" <")[0] for caption in figures(text)] == ["noise 1", "noise 2", "trained on this picture"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Failure("training", "it <broke>", "Mend it."), "it &lt;broke&gt;"),
        (Ended(15), "The demo was stopped at step 2/4"),
        (KeyboardInterrupt(), "The demo was stopped at step 2/4"),
        (ValueError("odd"), "ValueError(&#x27;odd&#x27;)"),
    ],
)
def test_what_ended_the_demo_early_stands_on_the_page(tmp_path, made, error, words):
    with pytest.raises(type(error)), page.following(tmp_path, made):
        made.state = "step 2/4"
        raise error
    text = (tmp_path / page.FILE_NAME).read_text(encoding="utf-8")
    assert "The demo ended early." in text and words in text and REFRESH not in text
    assert "noise 1" in text, "what was made before stays"


def test_a_demo_that_went_well_is_done_at_the_end(tmp_path, made):
    with page.following(tmp_path, made):
        made.state = "step 1/4"
        page.write(tmp_path, made)
        made.state = DONE
    text = (tmp_path / page.FILE_NAME).read_text(encoding="utf-8")
    assert REFRESH not in text and "ended early" not in text


def test_a_face_that_could_not_be_painted_is_explained(tmp_path, made):
    assert "left as it was" not in written(tmp_path, made)
    made.painted = Painted(material.GIRL, made.painted.before, made.painted.after, "no face was found <there>")
    made.people[0].person = material.GIRL
    assert "The face was left as it was: no face was found &lt;there&gt;." in written(tmp_path, made)


def test_somebody_speaks_where_the_weights_are_here(tmp_path, made):
    assert "<video" not in written(tmp_path, made)
    video = tmp_path / "talking.mp4"
    video.write_bytes(b"film")
    made.talking = Talking(material.DRAWN_PERSON, video)
    text = written(tmp_path, made)
    assert '<video class="wide" controls src="data:video/mp4;base64,ZmlsbQ=="' in text and "Nobody speaks" not in text
    made.talking = Talking(material.DRAWN_PERSON)
    text = written(tmp_path, made)
    assert "<video" not in text and "Nobody speaks on this page" in text and 'models get --for "Talking Portrait"' in text


def test_the_page_escapes_what_people_wrote(tmp_path, made):
    made.people[0].captions = ["<script>alert(1)</script>"]
    text = written(tmp_path, made)
    assert "<script>" not in text and "&lt;script&gt;alert(1)" in text


def test_reports_are_on_the_page(tmp_path, made):
    text = written(tmp_path, made)
    assert "A: Said" in text and "a note" in text and "<th>steps</th>" in text
    assert "B" not in made.reports["One"]


def test_nothing_is_warned_of_without_stand_ins(made):
    made.is_pocket, made.reports = False, {"One": {"A": report()["report"][0]}}
    assert page.warnings(made) == []


@pytest.mark.parametrize(("name", "words"), [("rts", "likeness scores mean nothing"), ("x.safetensors", "portraits are noise")])
def test_stand_ins_are_warned_of_in_plain_words(made, name, words):
    made.reports = {}
    made.add_reports("One", {"A": report(stand_ins=[name])})
    assert words in " ".join(page.warnings(made))
    assert "the pocket model, a toy" in page.warnings(made)[0]


def test_the_best_portrait_is_one_with_a_face(tmp_path, made):
    (one,) = made.people
    assert one.best() == one.crops[0]
    row = {"name": "picture 2", "reason": "", "values": {"score": 0.5}}
    rows = [{**row, "status": "ranked"}, {**row, "status": "passed through"}]
    one.rank(rows, [tmp_path / "portraits" / name for name in ("noise_2.png", "noise_1.png")])
    assert one.best() == tmp_path / "portraits" / "noise_2.png"
    assert [(each["place"], each["file"]) for each in one.ranking] == [(1, "portraits/noise_2.png"), (2, "portraits/noise_1.png")]
