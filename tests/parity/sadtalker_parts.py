"""The networks of the talking head with the recipe's weights, each made alone: the whole bundle is 725 MB."""

from __future__ import annotations

import numpy as np
import torch

from facechain_impl.types import Origin

from . import recipe
from .harness import Case, rows_of
from .recipe_sadtalker import maker


class Held:
    """A ManagedModel without a host."""

    origin, device = Origin.STAND_IN, torch.device("cpu")

    def __init__(self, network: torch.nn.Module):
        self.network = network

    def load(self) -> torch.nn.Module:
        return self.network


def part(case: Case, network: type, prefix: str, keys: str = "bundle", seed: int | None = None, **options) -> Held:
    """`network` from the tensors of the list `keys` whose names start with `prefix`."""
    listed = case.key_list(keys)
    rows = recipe.read_keys(listed) if listed.is_file() else rows_of({prefix + key: row for key, row in network.layout().items()})
    arrays = maker(keys)([row for row in rows if row[0].startswith(prefix)], case.seed if seed is None else seed)
    tensors = {key.removeprefix(prefix): torch.from_numpy(np.require(array, requirements="CW")) for key, array in arrays.items()}
    return Held(network.from_state_dict(tensors, **options))


def pixels(picture: np.ndarray) -> torch.Tensor:
    """RGB uint8 [..., H, W, 3] -> float [N, 3, H, W] in 0..1, as the fixtures' networks were fed."""
    batch = picture if picture.ndim == 4 else picture[None]
    return torch.from_numpy(batch).movedim(-1, 1).float().contiguous() / 255


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
