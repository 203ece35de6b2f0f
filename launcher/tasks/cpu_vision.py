"""Make torchvision and torchaudio importable beside a CPU build of torch.

A package index may serve a CPU torch while the other two come as CUDA builds, whose compiled parts cannot load with it. Both work
in plain Python, which is all the host needs here: torchvision once its two operators are declared, torchaudio once its
library is out of the way. Environments in which both can be imported are not changed.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

DECLARE = '''"""Declares torchvision's compiled operators, which a CPU torch cannot load, when torchvision is first imported."""

import importlib.abc
import sys


class DeclareOperators(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            torch.facechain_torchvision_library = self.library


sys.meta_path.insert(0, DeclareOperators())
'''
MODULE = "facechain_cpu_vision"


def can_import(name: str) -> str:
    """The last line of the import error of `name`, or empty."""
    done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def declare_operators() -> None:
    site = Path(sysconfig.get_paths()["purelib"])
    (site / f"{MODULE}.py").write_text(DECLARE, encoding="utf-8")
    (site / f"{MODULE}.pth").write_text(f"import {MODULE}\n", encoding="utf-8")


def set_library_aside() -> None:
    spec = importlib.util.find_spec("torchaudio")
    folders = spec.submodule_search_locations if spec else None
    for library in Path(folders[0], "lib").glob("_torchaudio.*") if folders else ():
        if library.suffix != ".aside":
            library.replace(library.with_name(library.name + ".aside"))


def main() -> None:
    import torch

    for name, remedy in (("torchvision", declare_operators), ("torchaudio", set_library_aside)):
        if can_import(name) and torch.version.cuda is None:
            remedy()
        if error := can_import(name):
            sys.exit(f"{name} cannot be imported beside torch {torch.__version__}: {error}")


if __name__ == "__main__":
    main()
