"""Body parts, clothes and people in a picture, from M2FP's queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..geometry.pixels import size_of, to_bytes
from ..host.memory import ManagedModel
from ..host.progress import check_interrupt
from ..networks.m2fp.parser import M2FP, STRIDE
from .batching import batches, max_batch

CLASSES = (
    "Background", "Hat", "Hair", "Gloves", "Sunglasses", "UpperClothes", "Dress", "Coat", "Socks", "Pants", "Torso-skin",
    "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe", "Right-shoe", "Human",
)  # fmt: skip
BACKGROUND, HUMAN = 0, 20
SHORT_SIDE, LONG_SIDE = 640, 1333
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BEST = 100
MIN_SCORE = 0.1
SURE = 0.8
BATCH_PIXELS = 1_200_000  # about 700 MB of activations


class HumanParser:
    """Finds body parts and people with M2FP."""

    def __init__(self, managed: ManagedModel[M2FP]):
        self.managed = managed

    def parse(self, images: Sequence[torch.Tensor]) -> list[Parsing]:
        """Pictures [H, W, 3] in 0..1, of any sizes -> what is in each of them."""
        pictures = [resized(image) for image in images]
        sizes = [_whole_strides(picture.shape[1], picture.shape[2]) for picture in pictures]
        found: dict[int, Parsing] = {}
        for indices in batches(sizes, max_batch(BATCH_PIXELS, self.managed.device)):
            check_interrupt()
            batch = torch.stack([padded(pictures[index], sizes[index]) for index in indices])
            network = self.managed.load()
            logits, masks = (output.cpu() for output in network(batch.to(self.managed.device)))
            for row, index in enumerate(indices):
                inner, size = size_of(pictures[index][0]), size_of(images[index])
                found[index] = Parsing(logits[row], masks[row], sizes[index], inner, size)
        return [found[index] for index in range(len(images))]


@dataclass(frozen=True)
class Guess:
    """A (query, label) hypothesis. probability: of the label alone; the score is never higher."""

    query: int
    label: int
    probability: float


@dataclass(frozen=True)
class Instance:
    """A part or a person. area in pixels of the picture; score: probability of the label times the certainty of the mask."""

    label: str
    score: float
    area: int
    query: int


class Parsing:
    """The parts and people of one picture. Masks are bool [H, W] of the picture's size, made one at a time on request.

    logits: [Q, classes + 1], the last one for "no object". masks: [Q, h, w] logits of the padded picture. padded, inner, size:
    (height, width) of the network's input with and without its padding, and of the picture.
    """

    def __init__(
        self,
        logits: torch.Tensor,
        masks: torch.Tensor,
        padded: tuple[int, int],
        inner: tuple[int, int],
        size: tuple[int, int],
    ):
        self._padded, self._inner, self.size = padded, inner, size
        self._guesses = best_guesses(logits)
        self._masks = {guess.query: masks[guess.query].clone() for guess in self._guesses}
        self._certainty = cache(self._measure)

    @cached_property
    def instances(self) -> list[Instance]:
        """Everything scored at least 0.1: parts first, then people, the best first."""
        found = [self._instance(guess) for guess in self._guesses]
        people = [one for one in found if one.label == CLASSES[HUMAN] and one.score > MIN_SCORE]
        parts = [one for one in found if one.label != CLASSES[HUMAN] and one.score >= MIN_SCORE]
        return [one for group in (parts, people) for one in sorted(group, key=lambda one: -one.score)]

    @property
    def labels(self) -> list[str]:
        return [instance.label for instance in self.instances]

    @property
    def scores(self) -> list[float]:
        return [instance.score for instance in self.instances]

    def mask(self, instance: Instance) -> torch.Tensor:
        return self._full_logits(instance.query) > 0

    def largest(self, label: str, score: float = SURE) -> torch.Tensor | None:
        """The mask of the largest `label` scored above `score`, or None where there is none."""
        found = max(self._sure((label,), score), key=lambda one: one.area, default=None)
        return None if found is None else self.mask(found)

    def total(self, labels: Sequence[str], score: float = SURE) -> torch.Tensor:
        """The union of the masks of `labels` scored above `score`."""
        covered = torch.zeros(self.size, dtype=torch.bool)
        for query in {one.query for one in self._sure(labels, score)}:
            covered |= self._full_logits(query) > 0
        return covered

    def _sure(self, labels: Sequence[str], score: float) -> Iterator[Instance]:
        """Instances of `labels` above `score`, without computing the masks of hypotheses that cannot reach it."""
        for guess in self._guesses:
            if CLASSES[guess.label] in labels and guess.probability > score:
                instance = self._instance(guess)
                if instance.score > score:
                    yield instance

    def _instance(self, guess: Guess) -> Instance:
        certainty, area = self._certainty(guess.query)
        return Instance(CLASSES[guess.label], guess.probability * certainty, area, guess.query)

    def _measure(self, query: int) -> tuple[float, int]:
        """Mean probability of the mask inside the mask, and its area."""
        logits = self._full_logits(query)
        inside = logits[logits > 0]
        return float(inside.sigmoid().sum() / (inside.numel() + 1e-6)), inside.numel()

    def _full_logits(self, query: int) -> torch.Tensor:
        height, width = self._inner
        logits = F.interpolate(self._masks[query][None, None], self._padded, mode="bilinear", align_corners=False)
        return F.interpolate(logits[:, :, :height, :width], self.size, mode="bilinear", align_corners=False)[0, 0]


def best_guesses(logits: torch.Tensor) -> list[Guess]:
    """The likeliest 100 pairs of query and label, without background and without those that cannot reach a score of 0.1."""
    probabilities = logits.softmax(1)[:, :-1]
    values, places = probabilities.flatten().topk(min(BEST, probabilities.numel()))
    guesses = [Guess(*divmod(int(place), probabilities.shape[1]), float(value)) for value, place in zip(values, places)]
    return [guess for guess in guesses if guess.label != BACKGROUND and guess.probability >= MIN_SCORE]


def resized(image: torch.Tensor) -> torch.Tensor:
    """Picture [H, W, 3] in 0..1 -> [3, h, w] in 0..255 with a short side of 640, or a long one of 1333, smoothed when it shrinks."""
    pixels = to_bytes(image)
    height, width = resized_size(*pixels.shape[:2])
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float()


def resized_size(height: int, width: int) -> tuple[int, int]:
    scale = SHORT_SIDE / min(height, width)
    scale = min(scale, LONG_SIDE / (scale * max(height, width)) * scale)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def _whole_strides(height: int, width: int) -> tuple[int, int]:
    return height + -height % STRIDE, width + -width % STRIDE


def padded(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[3, h, w] in 0..255 -> normalised, with zeros to the right and below up to `size` (height, width)."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    height, width = picture.shape[1:]
    return F.pad((picture - mean) / deviation, (0, size[1] - width, 0, size[0] - height))
