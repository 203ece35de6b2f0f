"""The training data, computed once: latents of every variant and the conditioning of every caption."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from ...geometry.pixels import check
from ...host.models import Conditions, TrainingModel, encode_text, stored
from ...host.progress import check_interrupt
from ...host.protocols import Clip, Vae
from ...picture_names import nth
from . import crops as train_crops
from . import noise as train_noise
from .settings import TrainSettings


def generator_for(*numbers: int) -> torch.Generator:
    """A random generator that depends only on these numbers: any step can be repeated without those before it."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@dataclass
class Batch:
    """latents, noise: [B, C, ...]; sigmas: [B]; photos: which photo each sample comes from; dropped: trained without caption;
    weights: how much each place counts, as latents with one channel, or None."""

    latents: torch.Tensor
    noise: torch.Tensor
    sigmas: torch.Tensor
    photos: list[int]
    dropped: list[bool]
    weights: torch.Tensor | None = None


OfPhotos = torch.Tensor | Sequence[torch.Tensor]
"""A tensor [variant, ...] for each photo; one tensor [photo, variant, ...] where all have one size."""
Drawn = tuple[int, int, torch.Tensor, torch.Tensor, bool]
"""Photo, variant, noise [1, C, ...], noise level [1] and whether the caption is dropped."""


Original = tuple[int, int] | None
"""Width and height of a training picture before it was enlarged, for models that are told; None where it was not."""
Captioned = tuple[str, torch.Tensor, Original]
"""A caption, latents [1, C, ...] of the size of its pictures, and the original size."""


class Told(Protocol):
    """The conditions of photo `index`; the last are of the empty caption: -1 for pictures of the first size, -2 of the second."""

    def __getitem__(self, index: int, /) -> Conditions: ...


def sizes(latents: OfPhotos) -> list[torch.Size]:
    """Every shape [C, ...] of a latent, by the first photo that has it."""
    return list(dict.fromkeys(one.shape[1:] for one in latents))


def _told_sizes(latents: OfPhotos, originals: Sequence[Original]) -> list[tuple[torch.Size, Original]]:
    """Of each photo: the shape [C, ...] of its latents and its original size."""
    return [(one.shape[1:], original) for one, original in zip(latents, originals or [None] * len(latents), strict=True)]


class TrainingSet:
    """Latents of each photo [variant, C, ...] in the model's scale and its conditioning: one entry for each photo, and last ones for the
    empty caption. weights: of each photo [variant, 1, ...] or None. salt: gives two sets of one training different random numbers.
    originals: what `with_sizes` was given."""

    def __init__(
        self, latents: OfPhotos, conditions: Told, weights: OfPhotos | None = None, salt: int = 0, originals: Sequence[Original] = ()
    ):
        self.latents, self.weights = latents, weights
        self._conditions = conditions
        self._sizes = sizes(latents)
        told = _told_sizes(latents, originals)
        kinds = list(dict.fromkeys(told))
        self._empty = [-1 - kinds.index(one) for one in told]
        self._salt = salt

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, number: int, settings: TrainSettings, sample_sigmas: Callable[[int, torch.Generator], torch.Tensor]) -> Batch:
        """The samples of forward pass `number` of a set whose pictures have one size, or of a single sample."""
        (found,) = self.batches(number, settings, sample_sigmas)
        return found

    def batches(self, number: int, settings: TrainSettings, sample_sigmas: Callable[[int, torch.Generator], torch.Tensor]) -> list[Batch]:
        """The samples from number `number` x batch size on, grouped by size: every photo once per epoch, in an order of its own,
        a variant of it at random.

        Each sample draws from a generator of its own, so that splitting a batch over several passes changes no sample."""
        count = settings.batch_size
        drawn = [self._drawn(sample, settings, sample_sigmas) for sample in range(number * count, (number + 1) * count)]
        by_size = [[one for one in drawn if self.latents[one[0]].shape[1:] == size] for size in self._sizes]
        return [self._together(group) for group in by_size if group]

    def _together(self, drawn: list[Drawn]) -> Batch:
        photos, variants, noise, sigmas, dropped = zip(*drawn)
        latents = torch.stack([self.latents[photo][variant] for photo, variant in zip(photos, variants)])
        weights = None
        if self.weights is not None:
            weights = torch.stack([self.weights[photo][variant] for photo, variant in zip(photos, variants)])
        return Batch(latents, torch.cat(noise), torch.cat(sigmas), list(photos), list(dropped), weights)

    def _drawn(self, sample: int, settings: TrainSettings, sample_sigmas: Callable[[int, torch.Generator], torch.Tensor]) -> Drawn:
        source = generator_for(settings.seed, 1 + self._salt, sample)
        photo = self._photo(sample, settings.seed)
        count, *shape = self.latents[photo].shape
        variant = int(torch.randint(0, count, (1,), generator=source))
        noise = torch.randn((1, *shape), generator=source)
        sigmas = sample_sigmas(1, source)
        dropped = bool(torch.rand(1, generator=source) < settings.caption_dropout)
        if settings.noise_offset:
            noise = train_noise.offset(noise, settings.noise_offset, source)
        return photo, variant, noise, sigmas, dropped

    def _photo(self, sample: int, seed: int) -> int:
        epoch, position = divmod(sample, len(self))
        return int(torch.randperm(len(self), generator=generator_for(seed, 2 + self._salt, epoch))[position])

    def conditioning_for(self, batch: Batch) -> list[Conditions]:
        """Conditioning of each sample of a batch."""
        return [self._conditions[self._empty[photo] if drop else photo] for photo, drop in zip(batch.photos, batch.dropped, strict=True)]


def encode_photos(
    model: TrainingModel, vae: Vae, photos: list[torch.Tensor], settings: TrainSettings, masks: list[torch.Tensor] | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    """Latents [variant, C, ...] of the training pictures made from each photo [H, W, 3], and the weight of each place [variant, 1, ...]
    where head masks [H, W] are given."""
    latents, weights = [], []
    for index, photo in enumerate(photos):
        check_interrupt()
        check(photo, nth("photo", index))
        layers = photo.float() if masks is None else torch.cat([photo.float(), masks[index][..., None].float()], -1)
        source = generator_for(settings.seed, 3, index)
        pictures = train_crops.variants(layers, settings.variants, settings.augmentation, settings.resolution, source, settings.mirror)
        latents.append(torch.cat([model.latents(vae, picture[None, ..., :3]) for picture in pictures]))
        if masks is not None:
            weights.append(_weights(pictures[..., 3], latents[-1].shape, settings.masked_loss))
    return latents, weights or None


def _weights(masks: torch.Tensor, shape: torch.Size, strength: float) -> torch.Tensor:
    """Masks [variant, H, W] as weights of latents of `shape`, one channel."""
    small = F.adaptive_avg_pool2d(masks[:, None], (shape[-2], shape[-1]))
    return (1 - strength + strength * small).reshape(shape[0], 1, *[1] * (len(shape) - 4), *shape[-2:])


def with_sizes(captions: list[str], latents: OfPhotos, originals: Sequence[Original] = ()) -> list[Captioned]:
    """What is encoded: each caption with latents of its photo's size, then the empty one with those of every size, the first size last.
    originals: of each photo, where any was enlarged and the model is told."""
    of_each_size = {one.shape[1:]: one[:1] for one in reversed(list(latents))}
    told = [(of_each_size[size], original) for size, original in _told_sizes(latents, originals)]
    empty = [("", of_each_size[size], original) for size, original in reversed(dict.fromkeys(_told_sizes(latents, originals)))]
    return [*((caption, *size) for caption, size in zip(captions, told, strict=True)), *empty]


def encode_captions(model: TrainingModel, clip: Clip, captions: list[Captioned], guidance: float | None = None) -> list[Conditions]:
    """The conditioning of every caption of `with_sizes`, each distinct one encoded once. guidance: as in TrainSettings."""
    known: dict[tuple[str, torch.Size, Original], Conditions] = {}
    for caption, latents, original in captions:
        check_interrupt()
        if (caption, latents.shape, original) not in known:
            told = model.conditions(encode_text(clip, caption), latents, guidance, original)
            known[caption, latents.shape, original] = stored(told)
    return [known[caption, latents.shape, original] for caption, latents, original in captions]


class LiveCaptions:
    """Conditioning of the captions of `with_sizes`, recomputed at every use, for a text encoder that is being trained."""

    def __init__(self, model: TrainingModel, clip: Clip, captions: list[Captioned], guidance: float | None = None):
        self._model, self._clip, self._captions, self._guidance = model, clip, captions, guidance

    def __len__(self) -> int:
        return len(self._captions)

    def __getitem__(self, index: int) -> Conditions:
        caption, latents, original = self._captions[index]
        return self._model.conditions(encode_text(self._clip, caption), latents, self._guidance, original)
