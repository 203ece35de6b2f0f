"""The host's folders and device for a process that is not its server, such as a command of `run.py`."""

from __future__ import annotations

from pathlib import Path

import comfy.cli_args


def use(base: Path) -> None:
    """Work on the CPU and on the model folders below `base`, with the extra model paths that the host's server would read.

    Call it before anything else of the host is imported."""
    comfy.cli_args.args.base_directory = str(base)
    comfy.cli_args.args.cpu = True
    # The host reads both settings while these are imported.
    import folder_paths
    from utils.extra_config import load_extra_path_config

    from . import folders

    extra = Path(folder_paths.__file__).resolve().with_name("extra_model_paths.yaml")
    if extra.is_file():
        load_extra_path_config(str(extra))
    folders.register()
    Path(folder_paths.models_dir).mkdir(parents=True, exist_ok=True)
