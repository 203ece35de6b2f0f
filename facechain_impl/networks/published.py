"""What is known about one published file. Each network module holds the entry of its file beside the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ..types import Layout
from .base import FoundLayout, Network, differences, layout_at
from .probes import Probe

MODELS = "facechain"
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Licence:
    """commercial is None where no text settles it."""

    name: str
    commercial: bool | None
    why: str = ""

    def text(self) -> str:
        use = {True: "commercial use allowed", False: "non-commercial use only", None: "commercial use unclear"}[self.commercial]
        return f"{self.name}: {use}" + (f", {self.why}" if self.why else "")


@dataclass(frozen=True)
class Part:
    """One network of a file that holds several: its tensors are those whose names start with `prefix`. The rest as in `Entry`."""

    name: str
    prefix: str
    network: type[Network]
    probe: Probe
    narrow: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Entry:
    """One published file, or a folder of files where path ends with a slash.

    name: what the pack calls it. repo, revision, path: where it is published on ModelScope. network: the architecture, and probe:
    how it is run once; parts: the same for a file of several networks; none of them where the file is not ours to run. narrow:
    sizes at which its stand-in is made, where the published ones are too slow for tests. key: the entry of the pickle that holds
    the state dict. prefix: only tensors with this prefix are read, and it is taken off. ignore: prefixes that training left in
    the file and nothing reads. optional: parts of names that the file may lack. bytes: exact size where known, megabytes: about,
    where only that is. sha256: whole, or "head…tail" where only that much is documented. folder: category of the host's model
    folders, subfolder inside it. instead_of: names of other files in shipped workflows in whose place the host loads it as well.
    upstream_only: the pack never opens it.
    """

    name: str
    title: str
    repo: str
    revision: str
    path: str
    licence: Licence
    network: type[Network] | None = None
    probe: Probe | None = None
    parts: tuple[Part, ...] = ()
    narrow: Mapping[str, object] | None = None
    key: str = ""
    prefix: str = ""
    ignore: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    bytes: int | None = None
    megabytes: float | None = None
    sha256: str = ""
    folder: str = MODELS
    subfolder: str = ""
    instead_of: tuple[str, ...] = ()
    upstream_only: bool = False
    note: str = ""

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")

    @property
    def is_pickle(self) -> bool:
        return self.path.endswith(PICKLES)

    @property
    def is_onnx(self) -> bool:
        return self.path.endswith(".onnx")

    @property
    def is_ours(self) -> bool:
        return self.folder == MODELS

    @property
    def is_converted(self) -> bool:
        """Whether the pack reads it, as safetensors made from a pickle."""
        return self.is_ours and self.is_pickle and not self.upstream_only

    @property
    def place(self) -> PurePosixPath:
        """Its path inside its category of model folders."""
        if self.is_ours:
            return PurePosixPath(self.repo.split("/")[1]) / self.path
        return PurePosixPath(self.subfolder) / ("" if self.is_folder else self.file_name)

    @property
    def converted_place(self) -> PurePosixPath:
        """The path of the safetensors file made from a pickle."""
        return self.place.parent / f"{self.name}.safetensors"

    @property
    def size_text(self) -> str:
        if self.bytes:
            return megabytes(self.bytes)
        return f"about {self.megabytes:g} MB" if self.megabytes else "size unknown"

    def part(self, name: str) -> Entry:
        """The entry of one of the networks in this file. Raises KeyError."""
        part = {part.name: part for part in self.parts}[name]
        return replace(self, network=part.network, prefix=part.prefix, probe=part.probe, narrow=part.narrow, parts=())

    def layout(self) -> Layout:
        """Published key -> (shape, dtype) as the state dict in the file has them; empty where the pack does not know."""
        if self.network:
            return {self.prefix + name: value for name, value in self.network.layout().items()}
        return {name: value for part in self.parts for name, value in self.part(part.name).layout().items()}

    def narrow_layout(self) -> Layout:
        """The same at the narrow sizes, for the networks that have some."""
        if self.network:
            found = layout_at(self.network, **self.narrow) if self.narrow else self.network.layout()
            return {self.prefix + name: value for name, value in found.items()}
        return {name: value for part in self.parts for name, value in self.part(part.name).narrow_layout().items()}

    def problems(self, found: FoundLayout) -> list[str]:
        """Sentences about what does not fit between the published layout and that of a file; empty when it fits.

        Batch counters, which nothing reads and PyTorch before 0.4.1 did not store, may be absent."""
        may_lack = (COUNTER, *self.optional)
        expected = {name: value for name, value in self.layout().items() if name in found or not any(part in name for part in may_lack)}
        return differences(expected, found) if expected else []


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e6:.3f} MB"
