"""The pack inside this process, as the host imports it."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from launcher.places import ROOT


@pytest.fixture(scope="module")
def pack():
    """The pack, imported as the host imports it."""
    pytest.importorskip("folder_paths", reason="set COMFYUI_PATH to the folder of ComfyUI")
    spec = importlib.util.spec_from_file_location("travelling_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield lambda name: importlib.import_module(f"travelling_pack.{name}")
    for name in [name for name in sys.modules if name.startswith("travelling_pack")]:
        del sys.modules[name]
