"""People, trainings and portraits on the pocket model, inside this process: what `bench learning` and its parts work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from launcher.demo.settings import POCKET

if TYPE_CHECKING:
    from facechain_impl.host.sampling import Diffusion
    from facechain_impl.identity.training.looks import LookPlan
    from facechain_impl.identity.training.order import TrainResult

ASSETS = Path(__file__).parents[1] / "assets"
SIZE, FACE_SHARE = POCKET.size, POCKET.face_share
"""Side of a picture in pixels, and how much of that of a training picture a face takes."""
CAPTION = "<fcsks>, a person"
PROMPT = POCKET.prompt("a person")
SAMPLING: dict[str, Any] = {"steps": POCKET.sampling_steps, "cfg": POCKET.cfg, "sampler": "dpmpp_2m", "scheduler": "karras"}
STEPS, RATE, RANK = POCKET.steps, POCKET.training["learning_rate"], POCKET.training["rank"]
OF_ONE_PHOTO = 0.25
"""Share of the steps for somebody with one photo. With all of them portraits repeat it: their correlation with it is 0.99."""
USUAL_FACE = (0.5, 0.45, 0.65)
"""Middle and side of an aligned face in such a picture, in shares of it: where the detector finds none."""


@dataclass(frozen=True)
class Somebody:
    """A person to train. photos, held_out: in assets/. painted: a painting or photograph, in which the detector must find a face."""

    name: str
    photos: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    painted: bool = True

    @property
    def shown(self) -> tuple[str, ...]:
        """What portraits are compared with."""
        return self.held_out or self.photos

    def steps(self, steps: int) -> int:
        """How many of `steps` this person is trained for."""
        return steps if len(self.photos) > 1 else max(1, round(OF_ONE_PHOTO * steps))


PEOPLE = {
    one.name: one
    for one in (
        Somebody("girl", ("paintings/girl_with_a_pearl_earring.jpg",)),
        Somebody("drawn", tuple(f"drawn/view_{number}.png" for number in range(1, 7)), ("drawn/held_out.png",), painted=False),
        Somebody("mona_lisa", ("paintings/mona_lisa.jpg",)),
        Somebody("astronaut", ("sample/eileen_collins.png",)),
    )
}
LADY = "paintings/lady_with_an_ermine.jpg"


def use_folder(base: Path) -> None:
    """Work on the host's folders below `base`. Before anything of the host is imported but its options."""
    import comfy.cli_args

    comfy.cli_args.args.base_directory = str(base)
    import comfy.utils

    from facechain_impl.host import folders

    folders.register()
    comfy.utils.set_progress_bar_enabled(False)


def assemble(base: Path) -> dict[str, Any]:
    """Write the pocket model into `base`."""
    from facechain_impl.weights import pocket

    if not (base / pocket.FILE_NAME).is_file():
        pocket.assemble(base / pocket.FILE_NAME)
    return {}


class Studio:
    """The pocket model, with the people who are trained on it in the folder `base`."""

    def __init__(self, base: Path):
        use_folder(base)
        import comfy.sd

        from facechain_impl.host.sampling import Diffusion
        from facechain_impl.weights import pocket

        with torch.inference_mode():
            model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(base / pocket.FILE_NAME))
        self.base = Diffusion(model, clip, vae)

    def train(self, somebody: Somebody, steps: int, looks: LookPlan | None = None, name: str = "") -> TrainResult:
        """Train a person on their photos and store it under `name`; one that is there already is not trained again."""
        from facechain_impl.identity.training import presets, train
        from facechain_impl.identity.training.looks import LookPlan
        from facechain_impl.identity.training.order import TrainInputs, TrainPolicy, TrainRequest

        photos = crops(somebody.photos)
        inputs = TrainInputs(
            model=self.base.model, clip=self.base.clip, vae=self.base.vae, photos=photos, captions=[CAPTION] * len(photos)
        )  # fmt: skip
        settings = presets.from_preset("FaceChain", len(photos), recipe(somebody.steps(steps)))
        policy = TrainPolicy(name=name or somebody.name, looks=looks or LookPlan(0))
        with torch.inference_mode():
            return train.train_face_lora(TrainRequest(inputs=inputs, settings=settings, policy=policy))

    def with_lora(self, tensors: Mapping[str, torch.Tensor], strength: float = 1.0) -> Diffusion:
        from facechain_impl.portrait.inpaint import group
        from facechain_impl.types import Person

        return group.with_person(self.base, Person("trained", dict(tensors), CAPTION), strength)

    def portraits(self, model: Diffusion, seeds: Sequence[int]) -> list[torch.Tensor]:
        """One [H, W, 3] in 0..1 for each seed."""
        from facechain_impl.host.sampling import DiffusionSampler, SamplingProgress, SamplingSettings

        settings = SamplingSettings(**SAMPLING)
        with torch.inference_mode():
            sampler = DiffusionSampler(model, settings, SamplingProgress(settings.steps))
            return list(sampler.decode(sampler.new(sampler.text(PROMPT, ""), SIZE, seeds, [])))

    def of_noise(self, seeds: Sequence[int]) -> list[torch.Tensor]:
        """What the VAE makes of latents that are nothing but noise, one [H, W, 3] for each seed."""
        side = SIZE // self.base.factor
        noise = [torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        with torch.inference_mode():
            return list(self.base.vae.decode(torch.cat(noise)).cpu().float())


def recipe(steps: int) -> dict[str, Any]:
    """The settings of a training: the demo's, without mirroring."""
    from facechain_impl.identity.training.settings import Augmentation, Targets

    return {
        "steps": steps, "learning_rate": RATE, "rank": RANK, "targets": Targets(POCKET.training["targets"]),
        "augmentation": Augmentation(POCKET.training["augmentation"]), "resolution": SIZE, "mirror": False,
    }  # fmt: skip


def read(file: str) -> torch.Tensor:
    """A picture of assets/ [H, W, 3] in 0..1."""
    from PIL import Image

    with Image.open(ASSETS / file) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)


def crops(files: Sequence[str], size: int = 2 * SIZE) -> list[torch.Tensor]:
    """The faces of pictures of assets/, cut so that a face takes FACE_SHARE of the side."""
    from facechain_impl.perception.detection import BUILT_IN
    from facechain_impl.perception.faces import find_faces
    from facechain_impl.photos.crop_and_stitch import cut_faces

    pictures = [read(file) for file in files]
    found, _ = cut_faces(pictures, find_faces(pictures, BUILT_IN), size, FACE_SHARE, upright=False)
    return [one[0] if one.ndim == 4 else one for one in found]


def save(folder: Path, name: str, pictures: Sequence[torch.Tensor]) -> None:
    """In one row, as a PNG."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    row = torch.cat([picture[..., :3] for picture in pictures], 1)
    Image.fromarray((row.clamp(0, 1) * 255).round().byte().cpu().numpy()).save(folder / f"{name}.png")
