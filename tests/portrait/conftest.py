"""A host without weights: models that paint flat colours, a VAE that loses detail, a detector that knows where faces are."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from facechain_impl.host.sampling import Diffusion, DiffusionSampler, SamplingSettings
from facechain_impl.perception.detection import Detector
from facechain_impl.portrait.inpaint import group
from facechain_impl.portrait.inpaint.group import FaceAssignment, GroupInpaint, PromptText, Subjects, TargetPicture
from facechain_impl.portrait.inpaint.targets import FaceAnalyzer, GivenMasks
from facechain_impl.portrait.inpaint.two_stage import Nets, Settings
from facechain_impl.types import Face, NoFace, Person

SIZE = 128


class BlockVAE:
    """Keeps the mean of every 8 x 8 cell: as lossy as a VAE can be."""

    def spacial_compression_encode(self):
        return 8

    def encode(self, images):
        return F.avg_pool2d(images.permute(0, 3, 1, 2), 8)

    def decode(self, latents):
        return latents.repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1)


class Clip:
    def tokenize(self, text, disable_weights):
        assert disable_weights
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[tokens, {}]]


@dataclass
class Net:
    """A ControlNet that remembers what it was shown."""

    name: str
    hint: torch.Tensor | None = None
    strength: float = 0.0
    previous: Net | None = None

    def copy(self):
        return Net(self.name)

    def set_cond_hint(self, hint, strength, timestep_percent_range, vae):
        self.hint, self.strength = hint, strength
        return self

    def set_previous_controlnet(self, previous):
        self.previous = previous
        return self


@dataclass
class Call:
    """One sampling: which model, from which latents, with which controls."""

    model: str
    prompt: str
    negative: str
    latents: torch.Tensor
    seeds: list[int]
    skipped: int
    masks: torch.Tensor | None
    controls: list[Net]


@dataclass
class Studio:
    """What the fakes are told, and what they saw. colour: what models paint, None leaves the latents alone. nets: by their names."""

    colour: dict[str, float] = field(default_factory=dict)
    faces: bool = True
    nets: tuple[str, ...] = ("pose", "canny")
    calls: list[Call] = field(default_factory=list)
    fused: list[torch.Tensor] = field(default_factory=list)

    def sampler(self, base, schedule, bar):
        return FlatPainter(self, base, schedule, bar)

    def inpaint(self, persons=(), fusion=None, photo=None, parser=None, landmarker=None, **settings) -> GroupInpaint:
        base = Diffusion(SimpleNamespace(name="base", model=SimpleNamespace(concat_keys=())), Clip(), BlockVAE())
        settings = Settings(**{"size": SIZE, **settings})
        subjects = Subjects(persons=list(persons), strength=0.95, photo=photo, fusion=fusion)
        analyzer = FaceAnalyzer(CentreDetector(self), landmarker, parser)
        words = PromptText(scene="in a garden", negative="blurry", trigger="<fcsks>, a mature man")
        nets = Nets(**{name: Net(name) for name in self.nets})
        return GroupInpaint(
            base=base, nets=nets, analyzer=analyzer, subjects=subjects, words=words, settings=settings, schedule=SamplingSettings()
        )

    def run(self, target_picture, persons=(), choice=None, seed=5, variants=1, no_face=NoFace.STOP, **settings):
        inpaint = self.inpaint(persons, **settings)
        images = inpaint.run(target_picture, choice or FaceAssignment(), seed, variants, no_face)
        return images, inpaint.report


class FlatPainter(DiffusionSampler):
    """Samples at once: the colour of the model everywhere, or inside the mask."""

    def __init__(self, studio, base, schedule, bar):
        super().__init__(base, schedule, bar)
        self.studio = studio

    def new(self, text, size, seeds, controls):
        empty = torch.zeros(len(seeds), 3, size // 8, size // 8)
        return self._sample(self._controlled(text, controls), empty, seeds, 0)

    def _sample(self, text, latents, seeds, skipped, masks=None):
        name = self.base.model.name
        link, nets = text.positive[0][1].get("control"), []
        while link is not None:
            nets.append(link)
            link = link.previous
        call = Call(name, text.positive[0][0], text.negative[0][0], latents.clone(), list(seeds), skipped, masks, nets[::-1])
        self.studio.calls.append(call)
        colour = self.studio.colour.get(name)
        return (
            latents.clone()
            if colour is None
            else torch.full_like(latents, colour) + torch.tensor(seeds).remainder(97).view(-1, 1, 1, 1) * 1e-4
        )


class CentreDetector(Detector):
    """One face in the middle of every picture, of half its side."""

    name = "centre"

    def __init__(self, studio):
        self.studio = studio

    def detect(self, images):
        return [[centre_face(*image.shape[:2])] if self.studio.faces else [] for image in images]


def centre_face(height, width):
    centre, half = np.array([width / 2, height / 2]), min(height, width) / 4
    return face_at(*(centre - half), 2 * half)


def face_at(x, y, side):
    """A face of that box, its points where faces have them."""
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]])
    box = np.array([x, y, x + side, y + side], np.float32)
    return Face(box, 0.9, (places * side + [x, y]).astype(np.float32))


def marked(faces, height, width):
    """A face mask: an ellipse in every box."""
    rows, columns = np.mgrid[0:height, 0:width]
    mask = np.zeros((height, width), np.float32)
    for face in faces:
        centre, half = (face.box[:2] + face.box[2:]) / 2, (face.box[2:] - face.box[:2]) / 2
        mask[((columns - centre[0]) / half[0]) ** 2 + ((rows - centre[1]) / half[1]) ** 2 < 0.9] = 1
    return torch.from_numpy(mask)


def target_picture(faces, height=240, width=320, people=False, **extra) -> TargetPicture:
    """A picture of noise with `faces`, their masks given; `people` puts everything into the human mask."""
    image = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(3))
    human = torch.full((height, width), float(people))
    given = GivenMasks(marked(faces, height, width), human, torch.zeros(height, width))
    return TargetPicture(name="party.png", image=image, faces=faces, given=given, **extra)


def person(name, embedding=None):
    return Person(name, {"key": torch.zeros(1)}, f"<fcsks>, a beautiful woman, {name}", embedding=embedding)


@pytest.fixture
def studio(monkeypatch) -> Studio:
    studio = Studio()
    monkeypatch.setattr(group, "DiffusionSampler", studio.sampler)

    def with_person(base, person, strength):
        return Diffusion(SimpleNamespace(name=person.name, model=base.model.model), base.clip, base.vae)

    monkeypatch.setattr(group, "with_person", with_person)
    return studio
