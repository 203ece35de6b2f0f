"""Commands of the pack that need the host's folders: pack.py BASE models|persons ..."""

import sys
from pathlib import Path

COMMANDS = {"models": "weights", "persons": "identity"}


def use_folders(base: Path) -> None:
    """Point the host's folders at `base`, with the extra model paths that this installation configured."""
    import comfy.cli_args

    comfy.cli_args.args.base_directory = str(base)
    comfy.cli_args.args.cpu = True
    import folder_paths
    from utils.extra_config import load_extra_path_config

    extra = base / "extra_model_paths.yaml"
    if extra.is_file():
        load_extra_path_config(str(extra))
    from facechain_impl.host import folders

    folders.register()
    Path(folder_paths.models_dir).mkdir(parents=True, exist_ok=True)


def main() -> int:
    base, command, *arguments = sys.argv[1:]
    use_folders(Path(base))
    import importlib

    return importlib.import_module(f"facechain_impl.{COMMANDS[command]}.cli").main(arguments)


if __name__ == "__main__":
    sys.exit(main())
