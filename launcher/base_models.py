"""The base model of the demo: fetched by the pack's own command line, which asks first, and put where the host's loaders look."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import console, environment
from .console import Failure
from .hosts import Host
from .workflows import Workflow

CHECKPOINT, FOLDER = "CheckpointLoaderSimple", "DiffusersLoader"
PREFIX = "base_"


@dataclass(frozen=True)
class BaseModel:
    """A base model as a server lists it. loader: the host's node that loads it."""

    name: str
    loader: str = CHECKPOINT

    def choose(self, workflow: Workflow) -> None:
        """Have a workflow with the host's checkpoint loader load this model."""
        if self.loader == CHECKPOINT:
            workflow.change(CHECKPOINT, ckpt_name=self.name)
        else:
            workflow.exchange(CHECKPOINT, self.loader, model_path=self.name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", metavar="NAME", help="download a base model, after a question: film or majic, FaceChain's own, or sd15")
    parser.add_argument("--yes", action="store_true", help="with --base: answer the question with yes")


def fetched(host: Host, name: str, yes: bool) -> Path:
    """The published base model of this name in the store of all commands, downloaded where it is not there and the user agrees.

    Raises Failure."""
    short, env = name.casefold().removeprefix(PREFIX), environment.pack_env(host)
    words = ["models", "get", "--base", short, *(["--yes"] if yes else [])]
    if console.follow(environment.pack_command(host, host.store(), *words), env):
        raise Failure(
            f"getting the base model {name}",
            "it was not downloaded; the lines above say why",
            "Run this again: a download resumes where it stopped. Where ModelScope cannot be reached, name a file of yours with "
            "--checkpoint FILE, or run the demo without a base model.",
        )
    path = console.answer(environment.pack_command(host, host.store(), "models", "path", PREFIX + short), env)
    if not path:
        raise Failure(f"looking for the base model {name}", "it vanished after its download", "Run this again.")
    return Path(path.splitlines()[-1])


def place(source: Path, base: Path) -> BaseModel:
    """Show a checkpoint, or a folder in the format of diffusers, to a server with the base directory `base`."""
    category, loader = ("diffusers", FOLDER) if source.is_dir() else ("checkpoints", CHECKPOINT)
    target = base / "models" / category / source.name
    target.parent.mkdir(parents=True)
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, target)
    return BaseModel(target.name, loader)
