"""torchvision and torchaudio beside a CPU build of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from launcher.tasks import cpu_vision

CHECK = """
import facechain_cpu_vision, torch, torchvision
for name in ("nms", "qnms"):
    print(torch.ops.torchvision.__getattr__(name).default._schema)
"""


def test_what_can_be_imported_has_no_error():
    assert cpu_vision.can_import("json") == ""
    assert cpu_vision.can_import("there_is_no_such_module") == "ModuleNotFoundError: No module named 'there_is_no_such_module'"


def test_the_operators_are_declared_when_torchvision_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_vision.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path / "site")})
    package = tmp_path / "site" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import torch\ntorch.library.register_fake('torchvision::nms')(lambda *_: None)\n")
    cpu_vision.declare_operators()
    assert (tmp_path / "site" / "facechain_cpu_vision.pth").read_text() == "import facechain_cpu_vision\n"
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}){CHECK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"torchvision::{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
    ], done.stderr


def test_the_library_is_set_aside_once(tmp_path, monkeypatch):
    (tmp_path / "torchaudio" / "lib").mkdir(parents=True)
    (tmp_path / "torchaudio" / "__init__.py").write_text("")
    for name in ("_torchaudio.abi3.so", "libtorchaudio.so"):
        (tmp_path / "torchaudio" / "lib" / name).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    cpu_vision.set_library_aside()
    cpu_vision.set_library_aside()
    assert sorted(path.name for path in (tmp_path / "torchaudio" / "lib").iterdir()) == ["_torchaudio.abi3.so.aside", "libtorchaudio.so"]


def test_what_cannot_be_mended_is_an_error(monkeypatch):
    monkeypatch.setattr(cpu_vision, "can_import", lambda name: "ImportError: broken")
    for remedy in ("declare_operators", "set_library_aside"):
        monkeypatch.setattr(cpu_vision, remedy, lambda: None)
    with pytest.raises(SystemExit, match="torchvision cannot be imported beside torch"):
        cpu_vision.main()
