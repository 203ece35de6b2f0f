"""Clients of ComfyUI that others wrote, started as README.md says."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from launcher import console
from launcher.places import ROOT
from launcher.server import Server

SECONDS = 300
ADDRESS, TWIN = "127.0.0.1:8188", "workflows/api/Train My Portrait.json"
EXAMPLE = Path("script_examples", "websockets_api_example.py")

TRANSLATION = """
import json, re
from comfy_script.runtime import *
load("http://{address}", watch=False)
from comfy_script.runtime.nodes import *
from comfy_script.transpile import WorkflowToScriptTranspiler

def translated(graph):
    with Workflow(queue=False) as run:
        exec(re.sub("^# ", "", WorkflowToScriptTranspiler(graph).to_script(), flags=re.MULTILINE))
    return run.api_format()

print(json.dumps([translated(graph) for graph in {graphs}]))
"""


@cache
def readme(word: str) -> str:
    """The one code block of the README's section on other programs that contains `word`."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## From other programs\n")[2].partition("\n## ")[0]
    (block,) = (block for block in re.findall(r"^```\w*\n(.*?)^```", section, re.DOTALL | re.MULTILINE) if word in block)
    return block


class Outsiders:
    """The programs beside the interpreter `python`, with a home of their own below `folder`. Nobody answers questions of theirs."""

    def __init__(self, python: Path, folder: Path, server: Server):
        self.python, self.folder, self.server = python, folder, server
        self.home, self.here = folder / "home", folder / "here"
        for made in (self.home, self.here):
            made.mkdir()

    def comfy_run(self, graph: dict) -> str:
        command, *words = shlex.split(self._ours(readme("comfy run").replace(f'"{TWIN}"', shlex.quote(self._workflow(graph)))))
        return self._call(self.python.with_name(command), *words)

    def comfy_script(self, graph: dict) -> str:
        kinds = self.server.client.object_info()
        return self.program(script(graph, {kind: len(kinds[kind]["output"]) for kind in kinds}))

    def websocket_example(self, graph: dict) -> str:
        source = (self.server.host.path / EXAMPLE).read_text(encoding="utf-8")
        changed = with_lines(source, readme("prompt_text").replace(f'"{TWIN}"', repr(self._workflow(graph))))
        return self.program(f"{changed}\nprint(json.dumps({{node: len(found) for node, found in images.items()}}))\n")

    def translated(self, graphs: list[dict]) -> list[dict]:
        """The graphs of the programs that ComfyScript itself writes for graphs. They are not queued.

        It writes calls as comments where no output is used, which since ComfyUI 0.30 is so for all that saves."""
        printed = self.program(TRANSLATION.format(address=ADDRESS, graphs=graphs))
        return json.loads(printed.splitlines()[-1])

    def program(self, source: str) -> str:
        """What a program prints that was written for a ComfyUI at ADDRESS."""
        return self._call(self.python, self._write("program.py", self._ours(source)))

    def _ours(self, text: str) -> str:
        address, port = ADDRESS.split(":")
        return text.replace(ADDRESS, f"{address}:{self.server.port}").replace(f"--port {port}", f"--port {self.server.port}")

    def _workflow(self, graph: dict) -> str:
        return str(self._write("workflow.json", json.dumps(graph)))

    def _write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file

    def _call(self, *command: str | Path) -> str:
        home = {name: str(self.home) for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        done = subprocess.run(
            [str(word) for word in command], env=console.clean_env(**home, DO_NOT_TRACK="1"), cwd=self.here, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert list(self.here.iterdir()) == []
        return done.stdout


def script(graph: dict, outputs: Mapping[str, int]) -> str:
    """A ComfyScript program that builds `graph`, whose nodes follow those that they need. `outputs`: how many each kind of node has."""
    lines = [*readme("comfy_script").partition("    ")[0].splitlines()]
    for number, node in graph.items():
        inputs = {key: _value(graph, outputs, value) for key, value in node["inputs"].items()}
        named = [f"{key}={value}" if key.isidentifier() else f"**{{{key!r}: {value}}}" for key, value in inputs.items()]
        lines.append(f"    n{number} = {node['class_type'].replace('_', '')}({', '.join(named)})")
    return "\n".join([*lines, "print(run.task.prompt_id)"])


def _value(graph: dict, outputs: Mapping[str, int], value: object) -> str:
    """A widget's value, or the variable of an output; ComfyScript gives a list only where a node has several."""
    if not isinstance(value, list):
        return repr(value)
    number, slot = value
    return f"n{number}[{slot}]" if outputs[graph[number]["class_type"]] > 1 else f"n{number}"


def with_lines(source: str, lines: str) -> str:
    """ComfyUI's example with `lines` in the place of those that set the same names, and without those that set widgets of its prompt."""
    changes = {ast.unparse(line.targets[0]): line for line in ast.parse(lines).body}
    kept = []
    for line in ast.parse(source).body:
        target = line.targets[0] if isinstance(line, ast.Assign) else None
        if not isinstance(target, ast.Subscript):
            kept.append(changes.pop(ast.unparse(target), line) if target else line)
    assert not changes, f"the example of this ComfyUI no longer sets {', '.join(changes)}"
    return ast.unparse(ast.Module(kept, []))
