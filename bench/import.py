"""What importing the pack costs in the host: `python run.py bench import`

Fresh processes, each with the imports of a running ComfyUI, load the pack and an empty pack the way the host does, in
turn first and second. A shared machine slows a known piece of work down by the same factor at the same time, so the
seconds of an idle machine are those on the clock divided by that factor. The figure is the median of the runs. Exit status 1 when it is
not under the goal, or when the import pulls in a package that only some nodes need.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOAL = 0.3
RUNS = 5
# Needed by some nodes only, and slow to import.
FORBIDDEN = ("diffusers", "modelscope", "onnxruntime", "peft")
EMPTY = "an-empty-pack"
EMPTY_SOURCE = """
from comfy_api.latest import ComfyExtension


async def comfy_entrypoint():
    class Empty(ComfyExtension):
        async def get_node_list(self):
            return []

    return Empty()
"""
SPINS = 300_000


@dataclass(frozen=True)
class Cost:
    """Seconds of one import: on the clock, of computing, and of a known piece of work beside it on the clock and of computing."""

    wall: float
    cpu: float
    spin_wall: float
    spin_cpu: float

    @property
    def idle(self) -> float:
        """Wall-clock seconds of an idle machine."""
        return self.wall * min(1.0, self.spin_cpu / self.spin_wall)


def spin() -> tuple[float, float]:
    """Seconds on the clock and of computing that a loop takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(SPINS):
        pass
    return time.perf_counter() - wall, time.process_time() - cpu


def loaded(loop: asyncio.AbstractEventLoop, folder: Path) -> tuple[Cost, list[str]]:
    """The cost of loading one pack as the host does, and the packages of others that it imported."""
    nodes = importlib.import_module("nodes")  # the host's; the pack has a package of that name as well
    before, first = set(sys.modules), spin()
    wall, cpu = time.perf_counter(), time.process_time()
    fine = loop.run_until_complete(nodes.load_custom_node(str(folder), set(), module_parent="custom_nodes"))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    second = spin()
    if not fine:
        sys.exit(f"The host could not load {folder}; see above.")
    new = {name.split(".")[0] for name in set(sys.modules) - before if not name.startswith(str(folder))}
    return Cost(wall, cpu, first[0] + second[0], first[1] + second[1]), sorted(new - sys.stdlib_module_names)


def child(base: Path, names: list[str]) -> None:
    """Import the host, load the packs in this order and print the cost."""
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base), "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    importlib.import_module("main")  # everything that a server imports
    import server

    nodes = importlib.import_module("nodes")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    found = {name: loaded(loop, base / "custom_nodes" / name) for name in names}
    print(json.dumps({name: [asdict(cost), packages] for name, (cost, packages) in found.items()}), flush=True)
    os._exit(0)  # the host's threads


def run_once(base: Path, names: list[str]) -> dict[str, tuple[Cost, list[str]]]:
    host = os.environ["COMFYUI_PATH"]
    command = [sys.executable, __file__, "--child", str(base), *names]
    # The host's own modules alone: the pack has a package called nodes as well. And bytecode, which every installation keeps.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": host}
    done = subprocess.run(command, env=env, cwd=host, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    return {name: (Cost(**cost), packages) for name, (cost, packages) in json.loads(done.stdout.splitlines()[-1]).items()}


def measure(runs: int) -> int:
    from launcher import places

    costs, empties, packages = [], [], set()
    with places.temporary_base({}) as base:
        (base / "custom_nodes" / EMPTY).mkdir()
        (base / "custom_nodes" / EMPTY / "__init__.py").write_text(EMPTY_SOURCE, encoding="utf-8")
        for number in range(runs + 1):
            names = [places.PACK_NAME, EMPTY][:: 1 if number % 2 else -1]
            found = run_once(base, names)
            if not number:
                continue  # the first run compiles and fills the disk's cache
            (cost, new), (empty, _) = found[places.PACK_NAME], found[EMPTY]
            costs.append(cost)
            empties.append(empty)
            packages |= set(new)
            slowed = cost.spin_wall / cost.spin_cpu
            print(f"run {number}: {cost.wall:.3f} s on the clock, {cost.cpu:.3f} s computing, slowed down {slowed:.2f} times", flush=True)
    return report(costs, empties, packages)


def report(costs: list[Cost], empties: list[Cost], packages: set[str]) -> int:
    idle, cpu = (statistics.median(getattr(cost, name) for cost in costs) for name in ("idle", "cpu"))
    empty = statistics.median(cost.idle for cost in empties)
    unwanted = sorted(packages & set(FORBIDDEN))
    print(f"packages that only the pack imports: {', '.join(sorted(packages)) or 'none'}")
    if unwanted:
        print(f"MISSED: {', '.join(unwanted)} must not be imported with the pack, but by the nodes that need them")
    verdict = "reached" if idle < GOAL else "MISSED"
    print(f"computing: {cpu:.3f} s; {idle / empty:.0f} times the import of an empty pack")
    print(f"import on an idle machine: {idle:.3f} s (goal: under {GOAL} s, {verdict})")
    return int(bool(unwanted) or idle >= GOAL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="run.py bench import", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help="fresh processes (default: %(default)s)")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), options.child[1:])
    sys.exit(measure(options.runs))
