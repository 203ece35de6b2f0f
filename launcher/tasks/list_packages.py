"""Print as JSON what the running interpreter has: packages, which modules are found, and whether torch has CUDA."""

import importlib.metadata
import importlib.util
import json
import re
import sys


def versions() -> dict[str, str]:
    """{name: version} of every package, names as pip compares them."""
    found = ((entry.metadata["Name"], entry.version) for entry in importlib.metadata.distributions())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found if name}


def torch_has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.version.cuda is not None


def main(modules: list[str]) -> None:
    found = [module for module in modules if importlib.util.find_spec(module) is not None]
    print(json.dumps({"versions": versions(), "modules": found, "cuda": torch_has_cuda()}))


if __name__ == "__main__":
    main(sys.argv[1:])
