"""The shipped workflows on a running server: portraits of the base model, then for each person training, portraits and more."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import console
from ..base_models import BaseModel
from ..client import HttpError, PromptFailed
from ..console import Failure, say
from ..server import Server
from ..workflows import Workflow
from . import graphs, material, page, voice
from .clock import Clock, Job, Kind
from .material import Person
from .results import Painted, Results, Talking, Trained
from .settings import SEED, STRENGTHS, Settings

TRAIN, PORTRAIT, PAINT, TALK = "Train My Portrait", "Portrait In A Style", "Face Into A Picture", "Talking Portrait"
BASE_TITLE = "Portraits of the untrained base model"
STEPS_OF_A_PHOTO = 300
CROP_SIZE = 512
"""Of crops that are filled with faces, as Face Align makes them; training pictures are reduced from them."""
MISSING = "MissingWeights"
"""The pack's error about a published file that is not here."""
DAY = 24 * 3600


def plan(people: tuple[Person, ...], settings: Settings) -> list[Job]:
    """All jobs in their order."""
    pictures, more = settings.portraits * settings.sampling_steps, len(_missing_strengths(settings)) * settings.sampling_steps
    jobs = [Job(BASE_TITLE, Kind.SAMPLING, pictures)]
    for person in people:
        jobs += [
            Job(_training(person), Kind.TRAINING, settings.training_steps(len(person.photos)) or STEPS_OF_A_PHOTO * len(person.photos)),
            Job(_portraits(person), Kind.SAMPLING, pictures + more),
        ]
        if person is people[0]:
            jobs += [Job(_painting(person), Kind.PAINTING, settings.sampling_steps), Job(_talking(person), Kind.SAMPLING, 0)]
    return jobs


class Demo:
    """The steps, and their results in `out`, where the page is written again after each."""

    def __init__(self, server: Server, out: Path, results: Results, model: BaseModel, who: str):
        self.server, self.client, self.out, self.results, self.model, self.who = server, server.client, out, results, model, who
        self.settings = results.settings
        self.clock = Clock(plan(results.expected, results.settings))

    def run(self) -> None:
        """All of it. Raises Failure."""
        self._step(BASE_TITLE, self._base_portraits)
        for person in self.results.expected:
            made = Trained(person, self.out / "people" / person.name)
            self.results.people.append(made)
            self._step(_training(person), partial(self._train, made))
            self._step(_portraits(person), partial(self._compare, made))
            if person is self.results.expected[0]:
                self._step(_painting(person), partial(self._paint, made))
                self._step(_talking(person), partial(self._talk, made))

    def _step(self, title: str, action: Callable[[], None]) -> None:
        place = self.clock.begin(title)
        self.results.state = f"step {place}: {title}"
        say(f"[{place}] {title} ({self.clock.text()})")
        page.write(self.out, self.results)
        action()
        self.clock.end()
        text = json.dumps(self.results.reports, indent=2, ensure_ascii=False)
        (self.out / "reports.json").write_text(text, encoding="utf-8")
        page.write(self.out, self.results)

    def _base_portraits(self) -> None:
        images, _ = self._portraits(BASE_TITLE, "None", 0.0, self.settings.portraits, None)
        self.results.base = [self._save(image, self.out / "base" / f"noise_{number}.png") for number, image in enumerate(images, 1)]

    def _train(self, made: Trained) -> None:
        person, workflow = made.person, Workflow(TRAIN)
        workflow.change("FaceChain_LoadPhotos", source="Folder", folder=person.name)
        workflow.change("FaceChain_FaceAlign", no_face="Skip")
        workflow.change("FaceChain_CheckPhotos", leave_out="Nothing" if person.is_sample else "Bad photos")
        workflow.change("FaceChain_Tagger", own_words=self.who)
        self.model.choose(workflow)
        steps = self.settings.training_steps(len(person.photos))
        settings = {"name": person.name, "steps": steps, "resolution": self.settings.size, **self.settings.training}
        workflow.change("FaceChain_TrainFaceLoRA", **settings)
        if self.settings.face_share:
            graphs.fill_with_faces(workflow, self.settings.face_share, CROP_SIZE)
        outputs = self._run(_training(person), workflow)
        names = _trained_names(outputs[workflow.id_of("FaceChain_CheckPhotos")])
        for image, name in zip(outputs[workflow.id_of("PreviewImage")]["images"], names, strict=True):
            made.crops.append(self._save(image, made.folder / "crops" / f"{Path(name).stem}.png"))
        self._save_captions(made, outputs[workflow.id_of("FaceChain_Tagger")], names)
        made.loss = self._save(outputs[workflow.id_of("LossGraphNode")]["images"][0], made.folder / "loss.png")
        stored = self.server.base / "models" / "facechain" / "persons" / person.name / f"{person.name}.safetensors"
        made.lora = Path(shutil.copy2(stored, made.folder))

    def _compare(self, made: Trained) -> None:
        """Portraits beside those of the base, and one noise at several strengths of the LoRA."""
        settings, title = self.settings, _portraits(made.person)
        images, rows = self._portraits(title, self._choice_of(made), settings.strength, settings.portraits, made.person)
        noises = [int(re.findall(r"\d+", row["name"])[-1]) for row in rows]
        files = [self._save(image, made.folder / "portraits" / f"noise_{noise}.png") for image, noise in zip(images, noises, strict=True)]
        made.rank(rows, files)
        made.portraits = [file for _, file in sorted(zip(noises, files))]
        page.write(self.out, self.results)
        known = {0.0: self.results.base[0], settings.strength: made.portraits[0]}
        for strength in _missing_strengths(settings):
            image = self._portraits(f"{title}, LoRA at {strength:g}", self._choice_of(made), strength, 1, made.person)[0][0]
            known[strength] = self._save(image, made.folder / "strengths" / f"{strength:g}.png")
        made.strengths = {strength: known[strength] for strength in STRENGTHS}

    def _portraits(self, title: str, lora: str, strength: float, count: int, person: Person | None) -> tuple[list[dict], list[dict]]:
        """The pictures that the server saved, best first, and the rows of the ranking, in the same order. lora: a choice of Merge LoRAs."""
        workflow, size = Workflow(PORTRAIT), self.settings.size
        if person is not None:
            workflow.change("FaceChain_LoadPhotos", source="Folder", folder=person.comparison)
        self.model.choose(workflow)
        workflow.change("FaceChain_LoRAMerge", face_lora=lora, style_lora="None", preset="Custom", face_weight=strength)
        workflow.change("EmptyLatentImage", width=size, height=size, batch_size=count)
        workflow.change("KSampler", steps=self.settings.sampling_steps, cfg=self.settings.cfg, seed=SEED)
        workflow.change("CLIPTextEncode", "What to show", text=self.settings.prompt(self.who))
        workflow.change("FaceChain_RTSRank", **self.settings.ranking)
        outputs = self._run(title, workflow)
        return outputs[workflow.id_of("SaveImage")]["images"], outputs[workflow.id_of("FaceChain_RTSRank")]["report"][0]["rows"]

    def _paint(self, made: Trained) -> None:
        workflow, title = Workflow(PAINT), _painting(made.person)
        workflow.change("FaceChain_LoadPhotos", source="Folder", folder=material.CANVAS_FOLDER)
        self.model.choose(workflow)
        lora = self._choice_of(made)
        workflow.change("FaceChain_LoRAMerge", face_lora=lora, style_lora="None", preset="Custom", face_weight=self.settings.strength)
        self._set_painting(workflow)
        graphs.give_mask(workflow)
        if first := made.best():
            graphs.give_first_stage(workflow, self.client.upload(first, f"{made.person.name}_first_stage.png"))
        outputs = self._run(title, workflow)
        after = self._save(outputs[workflow.id_of("SaveImage")]["images"][0], self.out / "painted" / "after.png")
        before = Path(shutil.copy2(material.CANVAS, self.out / "painted" / "before.jpg"))
        rows = outputs[workflow.id_of("FaceChain_TwoStageInpaint")]["report"][0]["rows"]
        self.results.painted = Painted(made.person, before, after, "; ".join(row["reason"] for row in rows if row["reason"]))

    def _talk(self, made: Trained) -> None:
        """The person's picture speaks, where the published files for that are here: the demo neither downloads nor replaces them."""
        workflow, title, photo = Workflow(TALK), _talking(made.person), made.photo
        if photo is None:
            return
        workflow.change("LoadImage", image=self.client.upload(photo, f"{made.person.name}_speaks{photo.suffix}"))
        workflow.change("LoadAudio", audio=voice.write(self.server.base / "input" / "voice.wav").name)
        try:
            outputs = self._run(title, workflow)
        except MissingFiles:
            self.results.talking = Talking(made.person)
            return
        video = self._save(outputs[workflow.id_of("SaveVideo")]["images"][0], self.out / "talking.mp4")
        self.results.talking = Talking(made.person, video)

    def _set_painting(self, workflow: Workflow) -> None:
        settings = self.settings
        workflow.change(
            "FaceChain_TwoStageInpaint", prompt=settings.words, trigger=f"<fcsks>, {self.who}", steps=settings.sampling_steps,
            cfg=settings.cfg, crop_size=settings.size, strength=settings.paint_strength, fusion=False, enhance=False, seed=SEED,
        )  # fmt: skip

    def _run(self, title: str, workflow: Workflow) -> dict:
        """The outputs of a successful workflow, by node."""
        progress = console.Progress(title)
        try:
            entry = self.client.run(workflow.api, DAY, lambda: progress.show(self._detail()), workflow.editor)
        except (PromptFailed, HttpError, OSError) as error:
            raise failure(title, error, self.server) from error
        finally:
            progress.close()
        self._keep(workflow)
        titles = {number: node["_meta"]["title"] for number, node in workflow.api.items()}
        self.results.add_reports(title, {titles[number]: shown for number, shown in entry["outputs"].items()})
        return entry["outputs"]

    def _detail(self) -> str:
        return f"{self.clock.text()} | {self.server.last_line()}"

    def _keep(self, workflow: Workflow) -> None:
        """The workflow as it ran; of each title the last one."""
        folder = self.out / "workflows"
        folder.mkdir(exist_ok=True)
        files = workflow.save(folder)
        self.results.workflows += [file for file in files if file not in self.results.workflows]

    def _choice_of(self, made: Trained) -> str:
        """The server's name for a person's LoRA."""
        choices = self.client.object_info("FaceChain_LoRAMerge")["FaceChain_LoRAMerge"]["input"]["required"]["face_lora"][1]["options"]
        return next(choice for choice in choices if made.lora and Path(choice.replace("\\", "/")).name == made.lora.name)

    def _save_captions(self, made: Trained, shown: dict, names: list[str]) -> None:
        made.captions = [row["values"]["caption"] for row in shown["report"][0]["rows"]]
        lines = [f"{name}\t{caption}\n" for name, caption in zip(names, made.captions, strict=True)]
        (made.folder / "captions.txt").write_text("".join(lines), encoding="utf-8")

    def _save(self, image: dict, file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.client.view(image))
        return file


def _missing_strengths(settings: Settings) -> list[float]:
    """Those that neither the base's portraits nor the person's show."""
    return [strength for strength in STRENGTHS if strength not in (0.0, settings.strength)]


def _training(person: Person) -> str:
    return f"{person.title}: training"


def _portraits(person: Person) -> str:
    return f"{person.title}: portraits"


def _painting(person: Person) -> str:
    return f"{person.title}: painted into a picture"


def _talking(person: Person) -> str:
    return f"{person.title}: speaking"


def _trained_names(shown: dict) -> list[str]:
    return [row["name"] for row in shown["report"][0]["rows"] if row["status"] != "left out"]


class MissingFiles(Failure):
    """A node needs a published file that is not here."""


def failure(title: str, error: Exception, server: Server) -> Failure:
    """What to tell about a workflow that failed."""
    if not server.is_running():
        return Failure(
            title, f"ComfyUI ended:\n    {server.tail()}", f"The log is {server.log}. Out of memory is the usual cause: try --size 256."
        )
    if isinstance(error, PromptFailed) and error.exception_type.endswith(MISSING):
        return MissingFiles(title, error.exception, "Get it with the command above, then run this again.")
    return Failure(title, str(error), f"Fix the error it reports, then run this again (log: {server.log}).")
