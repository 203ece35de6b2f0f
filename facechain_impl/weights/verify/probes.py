"""One forward run of every network on one picture: does the file give ordinary numbers of the expected shapes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Run = Callable[[nn.Module, torch.Tensor], object]
NOT_FINITE = "NOT FINITE"
IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def probe(name: str, network: nn.Module, picture: torch.Tensor) -> list[str]:
    """A line per output of the network that the manifest calls `name`, on `picture` [1, 3, H, W] in 0..1."""
    with torch.inference_mode():
        return [describe(output) for output in tensors_in(PROBES[name](network, picture))]


def probe_session(session, picture: torch.Tensor) -> list[str]:
    """The same for an onnxruntime session, at the size it asks for."""
    wanted = session.get_inputs()[0]
    if len(wanted.shape) == 3:
        pixels = (fitted(picture, 400)[0].permute(1, 2, 0) * 255).numpy()
    else:
        pixels = (fitted(picture, wanted.shape[-1] if isinstance(wanted.shape[-1], int) else 112) * 2 - 1).numpy()
    outputs = session.run(None, {wanted.name: np.ascontiguousarray(pixels, np.float32)})
    heads = [f"input {one.name} {one.shape}" for one in session.get_inputs()] + [f"output {one.name}" for one in session.get_outputs()]
    return heads + [describe(torch.from_numpy(np.asarray(output))) for output in outputs]


def describe(output: torch.Tensor) -> str:
    values = output.double()
    finite = "" if torch.isfinite(values).all() else f", {NOT_FINITE}"
    return (
        f"{list(output.shape)} mean {values.mean():.4g}, deviation {values.std(correction=0):.4g}, largest {values.abs().max():.4g}{finite}"
    )


def tensors_in(outputs) -> Iterator[torch.Tensor]:
    """The tensors of nested lists, tuples and objects with fields."""
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif outputs is not None:
        for part in outputs if isinstance(outputs, (list, tuple)) else vars(outputs).values():
            yield from tensors_in(part)


def fitted(picture: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(picture, (side, side), mode="bilinear", antialias=True, align_corners=False)


def _plain(side: int) -> Run:
    return lambda network, picture: network(fitted(picture, side))


def _signed(side: int) -> Run:
    return lambda network, picture: network(fitted(picture, side) * 2 - 1)


def _standardised(side: int) -> Run:
    mean, deviation = (values.view(1, 3, 1, 1) for values in IMAGENET)
    return lambda network, picture: network((fitted(picture, side) - mean) / deviation)


def _bytes(side: int, mean: tuple[float, ...] = (0, 0, 0)) -> Run:
    return lambda network, picture: network(fitted(picture, side) * 255 - torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))


def _retouch(network: nn.Module, picture: torch.Tensor):
    return network(fitted(picture, 512) * 2 - 1, torch.ones(1, 1, 512, 512))


def _tags(network: nn.Module, picture: torch.Tensor):
    return network(fitted(picture, 512).permute(0, 2, 3, 1))  # [N, C, H, W] -> [N, H, W, C]


def _swap(network: nn.Module, picture: torch.Tensor):
    jaw = torch.stack([torch.linspace(-0.6, 0.6, 17), torch.linspace(0, 0.6, 17)], -1)[None]
    identity = F.normalize(torch.linspace(-1, 1, 512)[None])
    return network(fitted(picture, 256) * 2 - 1, identity, jaw, jaw * 0.95)


def _adapter(network: nn.Module, picture: torch.Tensor):
    tokens = network.projector(fitted(picture, 112).mean(1).view(1, -1)[:, : 144 * 64].view(1, 144, 64).repeat(1, 1, 8) * 2 - 1)
    alphas = [float(value) for name, value in network.named_parameters() if name.endswith(("alpha_attn", "alpha_dense"))]
    return tokens, torch.tensor(alphas)


def _render(network: nn.Module, picture: torch.Tensor):
    points = torch.stack([torch.linspace(-0.5, 0.5, 15)] * 3, -1)[None]
    return network(network.encode(fitted(picture, 256), points), points + 0.02)


def _expression(network: nn.Module, picture: torch.Tensor):
    return network(_windows(picture, 2), torch.zeros(2, 64), torch.zeros(2, 1))


def _pose(network: nn.Module, picture: torch.Tensor):
    sound = network.embed(_windows(picture, 32))[None]
    return network(sound, torch.zeros(1, 6), torch.zeros(1, 64), torch.zeros(1, dtype=torch.long))


def _windows(picture: torch.Tensor, count: int) -> torch.Tensor:
    """Something like a spectrogram: [count, 1, 80, 16] in -4..4."""
    return F.interpolate(picture.mean(1, keepdim=True), (80, 16)).repeat(count, 1, 1, 1) * 8 - 4


def _motion(coefficients: int) -> Run:
    return lambda network, picture: network(torch.zeros(1, coefficients, 27))


PROBES: dict[str, Run] = {
    "damofd": _signed(640), "rts": _signed(112), "m2fp": _standardised(640), "fairface": _standardised(224), "flcm": _bytes(120),
    "retinaface": _bytes(640, (104, 117, 123)), "sadtalker_retinaface": _bytes(640, (104, 117, 123)), "skin_unet": _signed(512),
    "skin_detection": _signed(768), "skin_inpainting": _retouch, "deepdanbooru": _tags, "fusion_aei": _swap, "fusion_arcface": _signed(112),
    "fusion_recon": _plain(224), "fusion_gpen1024": _signed(1024), "transface": _signed(112), "fact_adapter_film": _adapter,
    "fact_adapter_majic": _adapter, "sadtalker_mapping_crop": _motion(70), "sadtalker_mapping_full": _motion(73),
    "sadtalker_fan": _plain(256), "parsenet": _signed(512),
    **{f"sadtalker_{size}.{part}": run for size in (256, 512) for part, run in (
        ("keypoints", _plain(256)), ("generator", _render), ("expression", _expression), ("pose", _pose), ("reconstruction", _plain(224)),
    )},
}  # fmt: skip
