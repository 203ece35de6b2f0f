"""Records what a publisher's program makes of made-up weights and input, as the fixture of a parity test. Needs numpy only.

In the environment of the publisher's program, with this repository on PYTHONPATH:

    from tests.parity import record, recipe

    rows = record.rows(network.state_dict())
    weights = recipe.make(rows, seed=1)                       # load them into the publisher's network
    x = recipe.array("brightness.x", (2, 3, 16, 16), -1.0, 1.0, seed=1)
    record.write("brightness", rows, x_shape=x.shape, out=network(x))

The weights are those of the recipe, and no photograph takes part, so the fixture may be committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import recipe

HERE = Path(__file__).parent


def rows(state_dict: Mapping) -> list[tuple[str, tuple[int, ...], str]]:
    """(name, shape, dtype) of every tensor, in the file's order."""
    return [(name, tuple(value.shape), str(value.dtype).rpartition(".")[2]) for name, value in state_dict.items()]


def write(name: str, keys: list[tuple[str, tuple[int, ...], str]], seed: int = 1, folder: Path = HERE, **arrays) -> None:
    """Write `folder`/data/NAME.npz and `folder`/keys/NAME.tsv. Arrays are numpy, CPU tensors without a gradient, or numbers."""
    lines = [f"# crc32 seed {seed} {recipe.fingerprint(recipe.make(keys, seed))}"]
    lines += [f"{key}\t{'x'.join(map(str, shape)) or '-'}\t{dtype}" for key, shape, dtype in keys]
    for part in ("data", "keys"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "keys" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "data" / f"{name}.npz", seed=seed, **{key: np.asarray(value) for key, value in arrays.items()})
