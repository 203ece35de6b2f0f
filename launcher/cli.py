"""The commands of `run.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import build, console, demo, environment, lifetime, places, server, testing
from .console import Failure, say

POCKET_MODEL = places.ROOT / "pocket-model.safetensors"
DELEGATED = {
    "models": "the published weights: list, check, get NAME, get --for WORKFLOW, verify",
    "persons": "the people stored here: list, rename, delete",
    "trainings": "the saved states of stopped trainings: list, delete",
}


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    arguments, rest = _split(argv)
    options = _parser().parse_args(arguments)
    options.rest = [*getattr(options, "words", []), *rest]
    with lifetime.unwinding():
        try:
            return options.run(options)
        except Failure as failure:
            say(failure.text())
            return 1
        except KeyboardInterrupt as stop:
            say("\nStopped. Finished steps are kept; the same command resumes there.")
            return stop.status if isinstance(stop, lifetime.Ended) else 130


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """The arguments for run.py, and those after `--`."""
    if argv[:1] and argv[0] in DELEGATED:
        return argv[:1], argv[1:]
    if argv[:1] == ["bench"] and argv[1:2] and not argv[1].startswith("-"):
        return argv[:2], [word for word in argv[2:] if word != "--"]
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="FaceChain Studio. Sets itself up on first use, in .facechain beside this file or in FACECHAIN_HOME. "
        "COMFYUI_PATH (and COMFYUI_PYTHON) name a ComfyUI to use instead of installing one.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("demo", help="sample people or your photos: training, portraits, a face in a picture, on one page")
    demo.add_arguments(show)
    show.set_defaults(run=demo.run)
    serve = commands.add_parser("serve", help="the editor in a browser, with the pack; arguments after -- go to ComfyUI")
    serve.add_argument("--port", type=int, default=8188, metavar="N", help="default: %(default)s")
    serve.add_argument("--listen", metavar="ADDRESS", help="serve to other machines as well, without a password")
    serve.set_defaults(run=_serve)
    test = commands.add_parser("test", help="lint, type check and the usual test suite; arguments after -- go to pytest")
    test.add_argument("--all", action="store_true", help="matrices and soak tests as well, as the continuous integration does")
    test.add_argument("--coverage", action="store_true", help="which lines of the code were run, which takes a fifth longer")
    test.set_defaults(
        run=lambda options: testing.run(options.rest, install=options.install, everything=options.all, coverage=options.coverage)
    )
    bench = commands.add_parser("bench", help="side-by-side measurements")
    bench.add_argument("name", nargs="?", help="which one; without it they are listed. Further arguments go to it")
    bench.set_defaults(run=_bench)
    make = commands.add_parser(
        "build", help="regenerate what is made from the nodes: signatures, English texts, tables of the README, workflows"
    )
    build.add_arguments(make)
    make.set_defaults(run=build.run)
    pocket = commands.add_parser("pocket", help="make the demo's toy base model again, from the paintings that pocket/pictures.tsv lists")
    pocket.add_argument("pictures", type=Path, help="the folder with the paintings")
    pocket.add_argument("--out", type=Path, default=POCKET_MODEL, metavar="FILE", help="what to write (default: %(default)s)")
    pocket.set_defaults(run=_pocket)
    for name, text in DELEGATED.items():
        commands.add_parser(name, help=text, add_help=False).set_defaults(run=_delegate, command=name)
    for command in (show, serve, test, make, pocket):
        command.add_argument("--install", action="store_true", help="install missing packages into the ComfyUI at COMFYUI_PATH")
    return parser


def _serve(options: argparse.Namespace) -> int:
    return server.serve(environment.ready(install=options.install), options.port, options.listen, options.rest)


def _delegate(options: argparse.Namespace) -> int:
    """Commands of the pack, on what `serve` shows."""
    host = environment.ready()
    command = environment.pack_command(host, host.store(), options.command, *options.rest)
    return console.follow(command, environment.pack_env(host))


def _pocket(options: argparse.Namespace) -> int:
    """It can be stopped at any time and goes on later."""
    host, folder = environment.ready(install=options.install), places.home() / "pocket"
    folder.mkdir(exist_ok=True)
    words = ["-m", "pocket", folder, options.pictures.resolve(), "--out", options.out.resolve()]
    return console.follow([str(host.python), *map(str, words)], environment.pack_env(host))


def _bench(options: argparse.Namespace) -> int:
    folder = places.ROOT / "bench"
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if options.name not in names:
        say(f"Measurements: {', '.join(names) or 'none yet'}")
        return 2 if options.name else 0
    host, script = environment.ready(for_tests=True), folder / f"{options.name}.py"
    return console.follow([str(host.python), str(script), *options.rest], environment.task_env(host))
