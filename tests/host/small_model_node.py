"""A node of the tests, never shipped: small random models of the host's own classes, where a workflow has its loaders.

ComfyUI loads it from the file that `install` writes into its custom_nodes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

NAME = "TestSmallModel"


def install(base: Path) -> None:
    """Give the node to the server with this base directory, before it starts."""
    text = Path(__file__).read_text(encoding="utf-8").replace("Path(__file__)", f"Path({str(Path(__file__).resolve())!r})")
    (base / "custom_nodes" / "test_small_models.py").write_text(text, encoding="utf-8")


def _small_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("test_small_models_made", Path(__file__).parents[1] / "small_models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class SmallModel:
    CATEGORY, FUNCTION, RETURN_TYPES = "testing", "make", ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"family": ("STRING", {"default": "SD1.5"})}}

    def make(self, family: str) -> tuple:
        made = _small_models().FAMILIES[family]()
        return made.model, made.clip, made.vae


NODE_CLASS_MAPPINGS = {NAME: SmallModel}
