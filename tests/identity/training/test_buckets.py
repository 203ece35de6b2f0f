"""Aspect buckets: training pictures as broad as their photos, several sizes in one training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

train = pytest.importorskip("facechain_impl.identity.training.train", reason="set COMFYUI_PATH")
from facechain_impl.host import models  # noqa: E402
from facechain_impl.identity.training import crops, dataset, presets  # noqa: E402
from facechain_impl.identity.training.dataset import TrainingSet  # noqa: E402
from facechain_impl.identity.training.settings import Augmentation, IfState, TrainSettings  # noqa: E402

from .test_crops import cut  # noqa: E402
from .test_likeness import faces_of  # noqa: E402
from .test_train import apart, changed, order, same, stopped, weights, whole_norm  # noqa: E402

BUCKETS = {"augmentation": Augmentation.BUCKETS, "resolution": 192, "variants": 2}


@pytest.fixture
def mixed() -> list[torch.Tensor]:
    """Four smooth photos: tall, square, broad, tall."""
    generator = torch.Generator().manual_seed(3)
    sizes = [(256, 128), (160, 160), (100, 210), (240, 130)]
    return [
        F.interpolate(torch.rand(1, 3, 6, 6, generator=generator), size, mode="bicubic").clamp(0, 1)[0].movedim(0, -1) for size in sizes
    ]


def sigmas(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, generator=generator)


def settings_of(**changes) -> TrainSettings:
    return presets.from_preset("FaceChain", 4, {"steps": 4, **BUCKETS, **changes})


class TestSizes:
    @pytest.mark.parametrize(
        ("photo", "side", "expected"),
        [
            ((1000, 1000), 512, (512, 512)),
            ((3000, 4000), 512, (448, 576)),
            ((4000, 3000), 1024, (1152, 896)),
            ((6000, 1000), 512, (640, 384)),
            ((100, 200), 192, (128, 256)),
            ((90, 110), 64, (64, 64)),
        ],
    )
    def test_the_nearest_shape_of_at_most_the_area(self, photo, side, expected):
        assert crops.bucket(*photo, side) == expected

    def test_every_size_is_a_multiple_of_64_of_nearly_the_area(self):
        for side in (512, 768, 1024):
            for ratio in torch.linspace(0.4, 2.5, 40).tolist():
                width, height = crops.bucket(round(1000 * ratio), 1000, side)
                assert width % 64 == height % 64 == 0 and 0.85 * side**2 < width * height <= side**2
                if 0.6 < ratio < 1.7:
                    assert abs(width / height / ratio - 1) < 0.2

    def test_nothing_is_cut_from_a_photo_of_the_buckets_shape(self, mixed):
        (picture,) = crops.variants(mixed[0], 1, Augmentation.BUCKETS, 192, torch.Generator())
        assert torch.equal(picture, mixed[0])

    def test_the_rest_is_cut_at_random_and_mirrored(self, mixed):
        source = torch.Generator().manual_seed(1)
        pictures = crops.variants(mixed[2], 12, Augmentation.BUCKETS, 192, source)
        assert pictures.shape == (12, 128, 256, 3)
        again = crops.variants(mixed[2], 12, Augmentation.BUCKETS, 192, torch.Generator().manual_seed(1), mirror=False)
        assert torch.equal(again[1], pictures[1].flip(1)) and len({picture.sum().item() for picture in again}) > 3


class TestSet:
    def made(self, batch_size: int) -> tuple[TrainingSet, TrainSettings]:
        latents = [torch.full((2, 4, *size), float(index)) for index, size in enumerate([(8, 4), (6, 6), (4, 8), (8, 4), (6, 6)])]
        told = [f"photo {index}" for index in range(5)] + ["empty 4x8", "empty 6x6", "empty 8x4"]
        return TrainingSet(latents, told), settings_of(batch_size=batch_size, caption_dropout=0.5)

    def test_a_pass_has_one_size_and_a_batch_the_samples_that_it_had(self):
        data, settings = self.made(5)
        single, one_by_one = self.made(1)
        for number in range(6):
            batches = data.batches(number, settings, sigmas)
            assert sorted(photo for batch in batches for photo in batch.photos) == [0, 1, 2, 3, 4], "every photo once per epoch"
            assert len(batches) == 3 and all(len({data.latents[photo].shape for photo in batch.photos}) == 1 for batch in batches)
            found = {photo: (batch.noise[i], batch.sigmas[i]) for batch in batches for i, photo in enumerate(batch.photos)}
            for sample in range(5):
                alone = single.batch(5 * number + sample, one_by_one, sigmas)
                noise, sigma = found[alone.photos[0]]
                assert torch.equal(alone.noise[0], noise) and torch.equal(alone.sigmas[0], sigma)

    def test_the_empty_caption_has_the_size_of_its_photo(self):
        data, settings = self.made(5)
        seen = set()
        for batch in (batch for number in range(8) for batch in data.batches(number, settings, sigmas)):
            for photo, dropped, told in zip(batch.photos, batch.dropped, data.conditioning_for(batch)):
                height, width = data.latents[photo].shape[-2:]
                assert told == (f"empty {height}x{width}" if dropped else f"photo {photo}")
                seen.add(told)
        assert len(seen) == 8


def test_head_masks_follow(mixed):
    model = SimpleNamespace(latents=lambda vae, pixels: F.avg_pool2d(pixels.movedim(-1, 1), 8))
    masks = [photo[..., 0] for photo in mixed]
    latents, weights = dataset.encode_photos(model, None, mixed, settings_of(masked_loss=0.7), masks)
    for picture, weight in zip(latents, weights):
        torch.testing.assert_close(weight, 0.3 + 0.7 * picture[:, :1])
    assert [tuple(one.shape[-2:]) for one in latents] == [(32, 16), (24, 24), (16, 32), (32, 16)]


@pytest.mark.parametrize("encode", [dataset.encode_captions, dataset.LiveCaptions])
def test_sdxl_is_told_the_real_sizes(sdxl, mixed, encode):
    """As they were before an enlargement, and as they are, with the empty caption as with the photo's own."""
    settings = settings_of(variants=1)
    originals = [None, (160, 160), (210, 105), (64, 128)]
    with models.training_model(sdxl.model, torch.float32) as opened, torch.no_grad():
        latents, _ = dataset.encode_photos(opened, sdxl.vae, mixed, settings)
        told = encode(opened, sdxl.clip, dataset.with_sizes(["a"] * 4, latents, originals))
        data = TrainingSet(latents, told, originals=originals)
        embedder, now = opened.patcher.model.embedder, [(128, 256), (192, 192), (256, 128), (128, 256)]
        for dropped in (False, True):
            for photo, ((width, height), original) in enumerate(zip(now, originals)):
                first_width, first_height = original or (width, height)
                sizes = (first_height, first_width, 0, 0, height, width)
                expected = torch.cat([embedder(torch.tensor([float(one)])) for one in sizes]).flatten()
                (conditions,) = data.conditioning_for(SimpleNamespace(latents=latents[photo], photos=[photo], dropped=[dropped]))
                torch.testing.assert_close(conditions["y"].cond[0, -6 * 256 :], expected)


def test_the_original_sizes_are_those_of_the_photos_that_were_cut(home, sdxl, sd15, photos):
    """They are part of what an SDXL training is recognised by, and only where there are any."""

    def ordered(objects, scale, **changes):
        request = order(objects, photos, **changes)
        return train.ordered(changed(request, faces=cut(photos, [scale] * 3)))

    assert ordered(sdxl, 3.0).originals == [(16, 16)] * 3 and ordered(sdxl, 1.0).originals == [(48, 48)] * 3
    small, same_size = ordered(sdxl, 3.0, resolution=32), [ordered(sdxl, scale, resolution=32) for scale in (1.0, 0.5)]
    assert small.run != same_size[0].run == same_size[1].run and same_size[0].originals == []
    class_photos = train.ordered(changed(order(sdxl, photos, resolution=128), class_photos=photos[:1]))
    assert class_photos.class_originals == [(64, 64)] and small.class_originals == []
    assert ordered(sd15, 3.0).run == ordered(sd15, 1.0).run and ordered(sd15, 3.0).originals == []


def test_enlarged_photos_train_another_lora(home, sdxl, sd15, photos):
    """Where the model is told."""
    for objects, told in ((sdxl, True), (sd15, False)):
        request = order(objects, photos, name="SDXL" if told else "SD", steps=1)
        first, second = (
            train.train_face_lora(changed(request, faces=cut(photos, [scale] * 3), if_state=IfState.START_OVER)) for scale in (1.0, 3.0)
        )
        assert same(weights(first), weights(second)) is not told


class TestTraining:
    def test_photos_of_several_shapes_and_their_masks(self, home, sd15, mixed):
        faces = faces_of(mixed, [photo[..., 0].numpy() for photo in mixed])
        request = order(sd15, mixed, steps=2, batch_size=4, masked_loss=0.5, **BUCKETS)
        result = train.train_face_lora(changed(request, faces=faces, class_photos=mixed[:2]))
        assert len(result.losses) == 2 and all(value.abs().max() > 0 for key, value in weights(result).items() if "lora_up" in key)
        assert "Sizes of the training pictures, and of how many photos: 128x256 (2), 192x192 (1), 256x128 (1)." in result.report.notes

    def test_a_batch_may_be_split_and_stopped(self, home, sd15, mixed, monkeypatch):
        """Two of the four photos have one shape and go through the model together."""
        options = {"steps": 3, "batch_size": 4, **BUCKETS}
        whole = train.train_face_lora(order(sd15, mixed, name="Whole", **options))
        stopped(monkeypatch, order(sd15, mixed, **options), 1)
        again = train.train_face_lora(order(sd15, mixed, **options))
        assert "Resumed after step 1 of 3." in again.report.notes and same(weights(whole), weights(again))
        split = order(sd15, mixed, name="Split", **options | {"batch_size": 1, "gradient_accumulation": 4})
        quarters = train.train_face_lora(split)
        assert quarters.losses == pytest.approx(whole.losses, rel=1e-5)

        assert apart(whole_norm(whole), whole_norm(quarters)) < 1e-5
