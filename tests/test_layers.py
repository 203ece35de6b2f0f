"""The rule of layers: who may import whom, read from the source without running it. docs/architecture.md draws the same picture."""

from __future__ import annotations

import ast
import shutil
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from launcher.places import ROOT

PACK = "facechain_impl"
# From the ground up; rooms of one floor do not see each other. What lies beside the rooms (types, errors, ...) is below them all.
FLOORS = (
    ("geometry",), ("host", "networks"), ("weights",), ("perception",), ("photos",), ("identity",), ("portrait",), ("talking",),
)  # fmt: skip
FLOOR = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}
HOST_MODULES = {
    "app", "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "comfy_kitchen", "comfyui_version",
    "execution", "folder_paths", "latent_preview", "main", "middleware", "node_helpers", "nodes", "protocol", "server", "utils",
}  # fmt: skip
# The other two places that see the host, and what they may see of it.
OF_THE_NODE_API = {"nodes._api": {"comfy_api", "comfy_execution"}, "__init__": {"comfy_api"}}
# Packages that take long to import. Whoever needs one imports it in the function that uses it; `run.py bench import` measures.
SLOW = {"accelerate", "bitsandbytes", "diffusers", "edge_tts", "modelscope", "onnxruntime", "peft", "transformers"}
DOOR = (f"{PACK}.__main__", f"{PACK}.__init__")
OUTSIDE = ("launcher", "fleet")
IMPORTERS = {"import_module", "__import__", "exec_module", "run_module", "run_path"}


Import = tuple[int, str | None, list[str | None]]


class Statements(NamedTuple):
    """What a source says. imports: (level, module, names) of each statement, `import a.b` as (0, "a.b", [None]). at_once: those of
    them that run when the module is imported."""

    imports: list[Import]
    at_once: list[Import]
    calls: set[str]


@cache
def statements(source: str) -> Statements:
    tree = ast.parse(source)
    later = {inner for node in ast.walk(tree) if _runs_later(node) for inner in ast.walk(node)}
    imports, at_once, calls = [], [], set()
    for node in ast.walk(tree):
        found = _imports_of(node)
        imports += found
        at_once += found if node not in later else []
        if isinstance(node, ast.Call):
            calls.add(getattr(node.func, "attr", getattr(node.func, "id", "")))
    return Statements(imports, at_once, calls)


def _runs_later(node: ast.AST) -> bool:
    """A function, or a block for the type checker alone."""
    if isinstance(node, ast.If):
        return getattr(node.test, "attr", getattr(node.test, "id", "")) == "TYPE_CHECKING"
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _imports_of(node: ast.AST) -> list[Import]:
    if isinstance(node, ast.Import):
        return [(0, alias.name, [None]) for alias in node.names]
    return [(node.level, node.module, [alias.name for alias in node.names])] if isinstance(node, ast.ImportFrom) else []


class House:
    """The modules below a folder by dotted name, and what each of them imports."""

    def __init__(self, root: Path):
        self.root = root
        files = [root / "__init__.py", *(file for top in (PACK, "nodes", *OUTSIDE) for file in sorted((root / top).rglob("*.py")))]
        self.files = {self._name(file): file for file in files if file.is_file()}
        self.imports = {name: self._resolve_all(name, self._statements(name).imports) for name in self.files}
        self.at_once = {name: self._resolve_all(name, self._statements(name).at_once) for name in self.files}

    def _name(self, file: Path) -> str:
        return ".".join(file.relative_to(self.root).with_suffix("").parts)

    def known(self, name: str) -> str | None:
        """A module of the house by its dotted name; a package is its __init__."""
        return next((found for found in (name, f"{name}.__init__") if found in self.files), None)

    def _resolve_all(self, name: str, imports: list[Import]) -> set[str]:
        """Modules of the house by their names here, others as they are written."""
        package, found = name.split(".")[:-1], set()
        for level, module, names in imports:
            start = package[: len(package) - level + 1] if level else []
            base = ".".join([*start, *filter(None, [module])])
            found |= {self._resolved(base, imported, bool(level)) for imported in names}
        return found

    def _statements(self, name: str) -> Statements:
        return statements(self.files[name].read_text(encoding="utf-8"))

    def _resolved(self, base: str, name: str | None, is_relative: bool = False) -> str:
        if base.split(".")[0] == "nodes" and not is_relative:
            return base  # written without dots it is the host's
        inner = ".".join(filter(None, [base, name]))
        return self.known(inner) or self.known(base) or (inner if is_relative else base)

    def dynamic(self, name: str) -> set[str]:
        """Ways to import without an import statement that a module calls."""
        return self._statements(name).calls & IMPORTERS


def floor_of(module: str) -> int:
    """0 for what lies beside the rooms."""
    parts = module.split(".")
    return FLOOR[parts[1]] if len(parts) > 2 else 0


def room_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") > 1 else ""


def is_inside(module: str) -> bool:
    return module.split(".")[0] == PACK and module not in DOOR


def is_upward(module: str, target: str) -> bool:
    if not is_inside(target):
        return target != f"{PACK}.__init__"
    return room_of(target) != room_of(module) and floor_of(target) >= floor_of(module)


def upward(house: House) -> list[str]:
    """Imports of the pack's inside that do not go down: to a higher room, to another room of the same floor, to nodes or the launcher."""
    pairs = [(module, target) for module in filter(is_inside, house.files) for target in house.imports[module] & house.files.keys()]
    return sorted(f"{module} imports {target}" for module, target in pairs if is_upward(module, target))


def may_see(module: str, target: str) -> bool:
    top = target.split(".")[0]
    return top not in HOST_MODULES or room_of(module) == "host" or top in OF_THE_NODE_API.get(module, set())


def host_imports(house: House) -> list[str]:
    """Imports of the host outside host/, apart from the node API in its one place."""
    pairs = [(module, target) for module in house.files for target in house.imports[module] - house.files.keys()]
    return sorted(f"{module} imports {target}" for module, target in pairs if not may_see(module, target))


def pack_imports_outside(house: House) -> list[str]:
    """Imports of the pack's inside or of nodes by what only starts processes."""
    outside = (module for module in house.files if module.split(".")[0] in OUTSIDE)
    pairs = ((module, target) for module in outside for target in house.imports[module])
    return sorted(f"{module} imports {target}" for module, target in pairs if target.split(".")[0] in (PACK, "nodes"))


def loaded_with_the_pack(house: House) -> dict[str, str]:
    """What is imported when the host loads the pack -> the module that does."""
    found, waiting = {}, [(target, "__init__") for target in house.imports["__init__"]]
    while waiting:
        target, module = waiting.pop()
        if target not in found:
            found[target] = module
            waiting += [(inner, target) for inner in house.at_once.get(target, ())]
    return found


def slow_imports(house: House) -> list[str]:
    """Packages that only some nodes need, imported when the pack is loaded."""
    return sorted(f"{module} imports {name}" for name, module in loaded_with_the_pack(house).items() if name.split(".")[0] in SLOW)


def cycles(house: House) -> list[str]:
    """Cycles between the parts (modules and sub-rooms) of each package of the pack."""
    found = []
    for package in sorted({module.rpartition(".")[0] for module in house.files if is_inside(module) or module in DOOR}):
        graph = defaultdict(set)
        for module in filter(is_inside, house.files):
            for target in house.imports[module]:
                ends = _part(module, package), _part(target, package)
                if all(ends) and ends[0] != ends[1]:
                    graph[ends[0]].add(ends[1])
        found += [f"{package}: {' -> '.join(cycle)}" for cycle in _cycles_of(graph)]
    return found


def _part(module: str, package: str) -> str | None:
    """The part of `package` that a module lies in; its __init__ is none."""
    if not module.startswith(f"{package}.") or module == f"{package}.__init__":
        return None
    return module[len(package) + 1 :].split(".")[0]


def _cycles_of(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    done = set()

    def visit(part: str, path: list[str]) -> Iterator[list[str]]:
        if part in path:
            yield [*path[path.index(part) :], part]
        elif part not in done:
            for target in sorted(graph.get(part, ())):
                yield from visit(target, [*path, part])
            done.add(part)

    for part in sorted(graph):
        yield from visit(part, [])


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def test_every_room_has_a_floor(house):
    assert {room_of(module) for module in house.files if is_inside(module)} - {""} == FLOOR.keys()
    assert len(house.files) > 150


def test_imports_go_down(house):
    assert upward(house) == []


def test_only_the_room_of_the_host_sees_the_host(house):
    assert host_imports(house) == []


def test_the_launcher_and_the_fleet_see_nothing_of_the_pack(house):
    assert pack_imports_outside(house) == []


def test_no_cycle_between_the_parts_of_a_room(house):
    assert cycles(house) == []


def test_loading_the_pack_is_quick(house):
    assert slow_imports(house) == []
    assert len(loaded_with_the_pack(house).keys() & house.files.keys()) > 100


def test_nothing_goes_round_the_import_statement(house):
    found = {module: house.dynamic(module) for module in house.files if is_inside(module) or module.split(".")[0] in ("nodes", *OUTSIDE)}
    allowed = {"facechain_impl.identity.training.optimisers", "launcher.tasks.tied"}  # a package of the user's; ComfyUI's main.py
    assert {module for module, calls in found.items() if calls} == allowed


def test_the_host_modules_of_the_rule_are_those_of_the_host(host_path):
    """Every top-level module and package of ComfyUI, so that none of them is taken for a library."""
    parts = [path for path in host_path.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file() or path.name in HOST_MODULES]
    scripts = {"cuda_malloc", "hook_breaker_ac10a0", "new_updater", "alembic_db", "api_server", "blueprints", "tests-unit", "tests"}
    assert {path.stem for path in parts} - HOST_MODULES - scripts == set()


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("facechain_impl/geometry/new.py", "from ..weights import files", upward),
        ("facechain_impl/geometry/new.py", "def later():\n    from facechain_impl.talking.talk import Scene", upward),
        ("facechain_impl/networks/new.py", "from ..host import folders", upward),
        ("facechain_impl/host/new.py", "from ..networks.base import Network", upward),
        ("facechain_impl/new.py", "from .perception import detection", upward),
        ("facechain_impl/portrait/fusion/new.py", "from ....nodes import align", upward),
        ("facechain_impl/photos/new.py", "import launcher.client", upward),
        ("facechain_impl/weights/new.py", "import comfy.utils", host_imports),
        ("facechain_impl/types.py", "if 1:\n    import folder_paths", host_imports),
        ("nodes/new.py", "from comfy_execution.graph_utils import ExecutionBlocker", host_imports),
        ("nodes/new.py", "from nodes import MAX_RESOLUTION", host_imports),
        ("nodes/_api.py", "import comfy.utils", host_imports),
        ("launcher/new.py", "from facechain_impl import types", pack_imports_outside),
        ("launcher/tasks/new.py", "from nodes import align", pack_imports_outside),
        ("fleet/new.py", "import facechain_impl.errors", pack_imports_outside),
        ("facechain_impl/identity/names.py", "from . import persons", cycles),
        ("facechain_impl/identity/training/adapters.py", "import peft", slow_imports),
        ("nodes/train.py", "if 1:\n    from transformers.optimization import get_scheduler", slow_imports),
        ("facechain_impl/portrait/fusion/new.py", "from ..inpaint import group", cycles),
    ],
)
def test_each_rule_can_fail(tmp_path, file, line, rule):
    """One forbidden import in a copy of the source is found, and nothing else is."""
    shutil.copy(ROOT / "__init__.py", tmp_path)
    for top in (PACK, "nodes", "launcher"):
        shutil.copytree(ROOT / top, tmp_path / top, ignore=lambda folder, names: [name for name in names if name == "__pycache__"])
    broken = tmp_path / file
    broken.parent.mkdir(parents=True, exist_ok=True)
    with broken.open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    (found,) = rule(House(tmp_path))
    part = Path(file).stem if rule is not cycles else Path(file).relative_to(PACK).parts[1].removesuffix(".py")
    assert part in found
