"""How a training is fitted into the available memory: chosen from an estimate before the first step, and changed when memory runs out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ...host import borrowed, memory
from ...host.models import TrainingModel
from .checkpointing import checkpointed
from .demand import Demand, Way, measure
from .settings import Offload, TrainSettings
from .trainer import Trainer

Drawn = TypeVar("Drawn")

USABLE = 0.9
"""Of the free memory: what a network takes between the tensors that are counted is not known exactly."""


def ways(settings: TrainSettings, has_device: bool) -> list[Way]:
    """The ways to do the work, the one that was asked for first and those that take more time later. Splitting a batch costs hardly any
    time, checkpointing a third, offload more, and frees so much that batches and blocks may be as before. With dropout a batch is not
    split, since each pass drops other numbers; a DoRA computes with the norms of weights, which have to be there."""
    asked = Way(settings.batch_size, settings.gradient_checkpointing, has_device and settings.offload is Offload.ON)
    smaller = () if settings.dropout else range(settings.batch_size - 1, 0, -1)
    found = [asked, *(replace(asked, batch=batch) for batch in smaller if settings.batch_size % batch == 0)]
    if not asked.checkpointing:
        found.append(replace(found[-1], checkpointing=True))
    if has_device and settings.offload is Offload.AUTO and not settings.dora:
        found += [replace(way, offload=True) for way in found]
    return found


def load_first(model: TrainingModel, settings: TrainSettings) -> None:
    """Load the model for the first time. What is larger than what is free on the device stays in RAM as far as it has to."""
    if model.device.type == "cpu":
        model.load()
        return
    memory.unload_models(model.device)
    too_large = model.size() > USABLE * memory.free_bytes(model.device)
    may = settings.offload is Offload.AUTO and not settings.dora
    if settings.offload is Offload.ON or (may and too_large):
        model.room = borrowed.ALL_OF_IT
    try:
        model.load()
        return
    except Exception as error:
        if not memory.is_out_of_memory(error) or not may or model.room is not None:
            raise
    model.give_back()
    memory.release()
    model.room = borrowed.ALL_OF_IT
    model.load()


class Plan:
    """The way a training is done, of a model that was loaded. Contexts that it needs are left to `stack`. notes: for the report."""

    def __init__(self, trainer: Trainer, model: TrainingModel, stack: contextlib.ExitStack):
        self._trainer, self._model, self._stack = trainer, model, stack
        self._samples = trainer.settings.batch_size * trainer.settings.gradient_accumulation
        self._has_device = model.device.type != "cpu"
        self._ways = ways(trainer.settings, self._has_device)
        if model.room is not None:
            self._ways = [way for way in self._ways if way.offload] or self._ways
        self._checkpoints = False
        self.notes: list[str] = []
        self.demand = self._measured()
        self._choose()
        if trainer.settings.offload is Offload.ON and not self._has_device:
            self.notes.append("offload has no effect: this ComfyUI computes on the CPU, where all weights are in RAM anyway.")

    @property
    def way(self) -> Way:
        return self._ways[0]

    def text(self) -> str:
        """What the training is expected to take, for the user."""
        if self.demand is None:
            return f"Memory ran out while the training was measured: it goes on with {self.way.text()}."
        left = self._trainer.settings.steps - self._trainer.steps_done
        seconds = left * self.demand.step_seconds(self.way, self._samples)
        where = "RAM" if not self._has_device else "VRAM"
        return (
            f"Expected: about {_size(self.demand.total(self.way))} of {where}, {_size(self.demand.weights)} of them weights"
            f"{' (in RAM as far as needed)' if self.way.offload else ''}, and {_duration(seconds)} for {left} steps without looks; "
            f"{self.way.text()}."
        )

    def step(self) -> float:
        """A step of the trainer; returns its loss. Where memory runs out before anything changed, it is done again in a way that takes
        less. Raises what the trainer raises, also when there is no such way."""
        while True:
            try:
                return self._trainer.step()
            except Exception as error:
                if not memory.is_out_of_memory(error) or not self._trainer.consistent or len(self._ways) == 1:
                    raise
            # outside of the handler, whose traceback holds on to the tensors of the failed pass
            self._step_down(self._ways[1:], f"at step {self._trainer.steps_done + 1}")

    def draw(self, what: str, action: Callable[[], Drawn], otherwise: Callable[[], Drawn], price: str) -> Drawn:
        """What `action` returns, which may draw and leaves the training as it is. Where memory runs out it is done again: without other
        models on the device, then with offload where that is allowed. In the end `otherwise` takes its place, and a note names `what`
        it was and the `price`. Drawing keeps nothing for a backward pass, so that no other way takes less."""
        attempts = [self._clear, self._alone]
        if self._ways[-1].offload and not self.way.offload:
            offloaded = list(dict.fromkeys(replace(way, offload=True) for way in self._ways))
            attempts.append(lambda: self._step_down(offloaded, f"over {what}"))
        for make_room in attempts:
            make_room()
            try:
                return action()
            except Exception as error:
                if not memory.is_out_of_memory(error):
                    raise
        self._alone()
        if (note := f"Memory ran out over {what}: {price}.") not in self.notes:
            self.notes.append(note)
        return otherwise()

    def _clear(self) -> None:
        """Free what the device does not need between two steps."""
        self._trainer.forget_gradients()
        memory.release()

    def _alone(self) -> None:
        """The same, after unloading all other models from the device."""
        self._clear()
        self._model.load()

    def _step_down(self, ways: list[Way], where: str) -> None:
        self._trainer.forget_gradients()
        self._take(ways)
        self.notes.append(f"Memory ran out {where}: from there on {self.way.text()}.")

    def _measured(self) -> Demand | None:
        """None if memory runs out even for a single sample."""
        trained = [parameter for group in self._trainer.adapters for parameter in group.parameters()]
        try:
            return measure(self._model.module, self._model.size(), trained, self._trainer.sample_loss, self._trainer.dtype)
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
        memory.release()
        return None

    def _choose(self) -> None:
        """The first way that fits, or the last one."""
        if self.demand is None:
            self._take(self._ways[-1:])
            return
        free = USABLE * memory.free_bytes(self._model.device)
        gained = 0 if self.way.offload else self.demand.weights
        fitting = [way for way in self._ways if self.demand.beside_weights(way) <= free + (gained if way.offload else 0)]
        chosen = fitting[0] if fitting else self._ways[-1]
        if chosen is not self.way:
            self.notes.append(f"{_size(int(free))} of memory are free, too little for {self.way.text()}: chosen is {chosen.text()}.")
        if not fitting:
            self.notes.append("Even that may be too much. A lower resolution takes less memory.")
        self._take(self._ways[self._ways.index(chosen) :])

    def _take(self, ways: list[Way]) -> None:
        """Train in the first of these ways from now on; the others that need less memory are kept to fall back to."""
        self._ways = [way for way in ways if way.takes_no_more_than(ways[0])]
        if self.way.batch != self._trainer.settings.batch_size:
            self._trainer.split(self.way.batch)
        if self.way.checkpointing and not self._checkpoints:
            self._stack.enter_context(checkpointed(self._model.module, True))
            self._checkpoints = True
        if self.way.offload and self._model.room is None:
            self._model.room = borrowed.ALL_OF_IT if self.demand is None else self.demand.beside_weights(self.way)
            self._model.give_back()
            self._model.load()
        memory.release()


def _size(number: int) -> str:
    return f"{number / 2**30:.1f} GB" if number >= 2**29 else f"{math.ceil(number / 2**20)} MB"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
