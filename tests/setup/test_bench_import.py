"""The verdict of `run.py bench import`."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from launcher.places import ROOT


@pytest.fixture(scope="module")
def bench():
    # `import` is no name that an import statement can say.
    spec = importlib.util.spec_from_file_location("bench_import", ROOT / "bench" / "import.py")
    module = sys.modules["bench_import"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("wall", "slowed", "packages", "status"),
    [(0.2, 1.0, {"scipy"}, 0), (0.9, 4.0, set(), 0), (0.9, 1.0, set(), 1), (0.4, 0.5, set(), 1), (0.1, 1.0, {"peft"}, 1)],
)
def test_load_of_others_is_taken_out_and_waiting_is_not(bench, capsys, wall, slowed, packages, status):
    """Slow only because others compute: reached. Slow by itself, or by waiting for something: missed."""
    costs = [bench.Cost(wall * factor, 0.1, 0.01 * slowed * factor, 0.01) for factor in (1.0, 1.5, 1.2)]
    empties = [bench.Cost(0.001, 0.001, 0.01, 0.01)] * 3
    assert bench.report(costs, empties, packages) == status
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("import on an idle machine: ")
    assert ("MISSED" in last) == (status == 1 and not packages)
