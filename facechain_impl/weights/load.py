"""Opening published files: the real one if present, else a stand-in, else an error that says how to get it."""

from __future__ import annotations

import importlib.util
import json
import logging
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import nn

from .. import provenance
from ..errors import KeyMismatch, MissingWeights, WeightsError
from ..networks.published import Entry
from ..provenance import Used
from . import catalogue, convert, files, headers, uses
from .files import WeightFile

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

log = logging.getLogger(__name__)


def find(name: str) -> WeightFile:
    """The file that the catalogue calls `name`, or "file.part". A pickle is converted first. Raises MissingWeights, WeightsError."""
    entry = catalogue.get(name)
    path = files.published(entry) or files.stand_in(entry)
    if path is None:
        raise MissingWeights(missing_message(entry))
    if entry.is_converted and path.suffix != ".safetensors":
        path = convert.convert(catalogue.get(entry.name), path)
    file = files.weight_file(entry, name, path)
    provenance.register(Used("network", name, file.origin, path.name, file.sha256))
    return file


def missing_message(entry: Entry) -> str:
    """File, folder, size, licence and the command that gets it."""
    nodes = uses.needed_by(entry.name)
    needed = f" It is needed by: {nodes}." if nodes else ""
    return (
        f"{entry.file_name} ({entry.title}) is not on this machine.{needed} Expected {files.target(entry)} "
        f"({entry.size_text}; licence: {entry.licence.text()}). "
        f"Get it with: python run.py models get {entry.name}, or copy it there from {entry.repo} {entry.revision} on ModelScope."
    )


def tensors(file: WeightFile) -> dict[str, torch.Tensor]:
    """Its tensors on the CPU under the published names, a part's without its prefix, floating point ones in float32."""
    entry = catalogue.get(file.name)
    headers.read(file.path)
    with safe_open(file.path, "pt") as opened:
        names = list(opened.keys())
        chosen = {name: opened.get_tensor(name) for name in names if name.startswith(entry.prefix)}
    if not chosen:
        found = f"It holds {len(names)} tensors, the first is {names[0]!r}." if names else "It is empty."
        raise KeyMismatch(f"{file.path} has no tensors under {entry.prefix!r}. {found} Replace it by the published {entry.path}.")
    return {name[len(entry.prefix) :]: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in chosen.items()}


def network(file: WeightFile) -> nn.Module:
    """The network in `file`, in float32, evaluation mode, on the CPU. Raises KeyMismatch that names the file."""
    entry = catalogue.get(file.name)
    if entry.network is None:
        raise WeightsError(f"{file.path} holds no network of the pack ({entry.title}).")
    try:
        return entry.network.from_state_dict(tensors(file))
    except KeyMismatch as error:
        raise KeyMismatch(f"{file.path} is not {entry.title} ({entry.repo} {entry.revision}). {error}") from error


def tags(file: WeightFile) -> list[str]:
    """The list of tags in a tagger's file. Raises WeightsError."""
    text = headers.read(file.path).metadata.get("tags")
    if text is None:
        raise WeightsError(f"{file.path} contains no list of tags. Replace it by the published {catalogue.get(file.name).path}.")
    return json.loads(text)


def session(file: WeightFile) -> InferenceSession:
    """An onnxruntime.InferenceSession on the best device its build has. Raises WeightsError."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise WeightsError(f"{file.path.name} needs onnxruntime, which is not installed. Install it with: pip install onnxruntime")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]
    if torch.cuda.is_available() and len(providers) == 1:
        log.warning("%s runs on the CPU: this onnxruntime has no GPU. For the GPU: pip install onnxruntime-gpu", file.name)
    headers.read(file.path)
    try:
        return onnxruntime.InferenceSession(str(file.path), providers=providers)
    except (failures.Fail, failures.InvalidProtobuf, failures.InvalidGraph, failures.InvalidArgument, failures.NotImplemented) as error:
        raise WeightsError(f"{file.path} cannot be opened by onnxruntime: {error} Delete it and get it again.") from error
