"""The base of every node: while it runs, it records what it opens and what it receives."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from ..facechain_impl import provenance
from ..facechain_impl.host import handed as host_handed
from ..facechain_impl.provenance import Record
from ..facechain_impl.types import Wire, replace
from ..facechain_impl.weights import check, handed
from ..facechain_impl.weights.uses import NOTHING, Uses
from ._api import io


class FaceChainNode(io.ComfyNode):
    """A node of the pack. Each run of `execute` has its own record, which the report shows and the outputs carry.

    uses: its row of `weights.uses`, where it may open published files: its id, its name, and what it opens."""

    uses: ClassVar[Uses] = NOTHING

    @classmethod
    def fingerprint_inputs(cls, *_: Any, **inputs: Any) -> Any:
        """Changes when one of those files appears, disappears or changes. A node with more to watch adds that."""
        return check.fingerprint(*cls.uses.files) if cls.uses.files else ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        execute = vars(cls).get("execute")
        # the host runs clones of a node, whose execute is wrapped already
        if execute is not None and not hasattr(execute.__func__, "__wrapped__"):
            cls.execute = classmethod(_recorded(execute.__func__))


def _recorded(execute: Callable) -> Callable:
    if inspect.iscoroutinefunction(execute):

        @functools.wraps(execute)
        async def run_async(cls: type, *values: Any, **inputs: Any) -> io.NodeOutput:
            with provenance.recording() as record:
                record.inherit(*handed.used_by([*values, *inputs.values()]))
                return _stamped(await execute(cls, *values, **inputs), [*values, *inputs.values()], record)

        return run_async

    @functools.wraps(execute)
    def run(cls: type, *values: Any, **inputs: Any) -> io.NodeOutput:
        with provenance.recording() as record:
            record.inherit(*handed.used_by([*values, *inputs.values()]))
            return _stamped(execute(cls, *values, **inputs), [*values, *inputs.values()], record)

    return run


def _stamped(output: io.NodeOutput, inputs: list[Any], record: Record) -> io.NodeOutput:
    """`output` with the record attached to its wire types, models and LoRAs; inputs that are only passed on stay as they are."""
    used = tuple(record)
    passed_on = {id(value) for value in _leaves(inputs)}
    output.args = tuple(value if id(value) in passed_on else _with_used(value, used) for value in output.args)
    return output


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *_leaves(list(value.values()))]
    return [leaf for entry in value for leaf in _leaves(entry)] if isinstance(value, (list, tuple)) else [value]


def _with_used(value: Any, used: tuple) -> Any:
    if isinstance(value, list):
        return [_with_used(entry, used) for entry in value]
    if isinstance(value, Wire) and hasattr(value, "used"):
        wire: Any = value
        return replace(wire, used=used)
    if handed.is_lora(value):
        handed.remember_lora(value, used)
    else:
        host_handed.attach(value, used)
    return value
