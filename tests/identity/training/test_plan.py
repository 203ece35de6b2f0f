"""What a training takes, how it is fitted into the memory there is, and what happens when that runs out all the same."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
from facechain_impl.host import memory  # noqa: E402
from facechain_impl.identity.training import demand, plan, presets, train  # noqa: E402
from facechain_impl.identity.training.adapters import Adapters, target_modules  # noqa: E402
from facechain_impl.identity.training.checkpointing import blocks, checkpointed  # noqa: E402
from facechain_impl.identity.training.demand import Demand, Way  # noqa: E402
from facechain_impl.identity.training.looks import Sitting  # noqa: E402
from facechain_impl.identity.training.previews import Preview  # noqa: E402
from facechain_impl.identity.training.settings import Offload, Precision, TrainSettings  # noqa: E402
from facechain_impl.identity.training.state import unfinished  # noqa: E402

from .conftest import Scripted  # noqa: E402
from .test_likeness import looked  # noqa: E402
from .test_train import SMALL, apart, changed, order, same, stop_at, weights, whole_norm  # noqa: E402

MB = 2**20


def settings(**changes) -> TrainSettings:
    return presets.from_preset("FaceChain", 3, SMALL | changes)


class TestWays:
    def test_the_cheapest_in_time_come_first(self):
        without = [Way(6, False, False), Way(3, False, False), Way(2, False, False), Way(1, False, False), Way(1, True, False)]
        assert plan.ways(settings(batch_size=6), True) == [*without, *(replace(way, offload=True) for way in without)]

    @pytest.mark.parametrize(
        ("taken", "left"),
        [
            (Way(2, False, False), [(1, False, False), (1, True, False), (2, False, True), (1, False, True), (1, True, True)]),
            (Way(1, True, False), [(1, True, True)]),
            (Way(2, False, True), [(1, False, True), (1, True, True)]),
            (Way(1, True, True), []),
        ],
    )
    def test_where_memory_runs_out_only_what_takes_less_follows(self, home, sd15, taken, left):
        with opened(sd15) as (model, trainer), contextlib.ExitStack() as stack:
            planned = plan.Plan(trainer, model, stack)
            every = plan.ways(settings(batch_size=2), True)
            planned._take(every[every.index(taken) :])
            assert planned._ways == [taken, *(Way(*one) for one in left)]

    def test_what_was_asked_for_stays(self):
        asked = settings(batch_size=2, gradient_checkpointing=True, offload=Offload.ON)
        assert plan.ways(asked, True) == [Way(2, True, True), Way(1, True, True)]
        assert plan.ways(settings(offload=Offload.OFF), True) == [Way(1, False, False), Way(1, True, False)]

    def test_a_cpu_has_nowhere_to_offload_to_and_dropout_is_not_split(self):
        assert plan.ways(settings(batch_size=4, dropout=0.1, offload=Offload.ON), False) == [Way(4, False, False), Way(4, True, False)]


class Device:
    """Stands for a model and the GPU that it is loaded to, which has `free` bytes once other models have left it. fails: so often memory
    runs out over loading everything."""

    def __init__(self, monkeypatch, size: int, free: int, fails: int = 0):
        self.device, self.room, self.done = torch.device("cuda"), None, []
        self.size = lambda: size
        self._free, self._fails = free, fails
        monkeypatch.setattr(memory, "unload_models", lambda device: self.done.append("others left"))
        monkeypatch.setattr(memory, "free_bytes", lambda device: self._free if self.done == ["others left"] else 0)
        monkeypatch.setattr(memory, "release", lambda: self.done.append("released"))

    def load(self) -> None:
        self.done.append("loaded" if self.room is None else "loaded with room")
        if self.room is None and self._fails:
            raise torch.OutOfMemoryError("too large")

    def give_back(self) -> None:
        self.done.append("given back")


class TestFirstLoad:
    @pytest.mark.parametrize(
        ("free", "offload", "expected"),
        [(100, Offload.AUTO, "loaded"), (50, Offload.AUTO, "loaded with room"), (50, Offload.OFF, "loaded"),
         (100, Offload.ON, "loaded with room")],
    )  # fmt: skip
    def test_what_is_free_decides_once_other_models_have_left(self, monkeypatch, free, offload, expected):
        """Other programs use the GPU too, so that it may be large enough and yet have no room."""
        device = Device(monkeypatch, 60, free)
        plan.load_first(device, settings(offload=offload))
        assert device.done == ["others left", expected]

    def test_where_memory_runs_out_all_the_same_the_weights_stay_in_ram(self, monkeypatch):
        device = Device(monkeypatch, 60, 100, fails=1)
        plan.load_first(device, settings())
        assert device.done == ["others left", "loaded", "given back", "released", "loaded with room"]

    @pytest.mark.parametrize("changes", [{"offload": Offload.OFF}, {"dora": True}])
    def test_not_where_they_may_not(self, monkeypatch, changes):
        """A DoRA computes with the norms of weights on the device."""
        device = Device(monkeypatch, 60, 100, fails=1)
        with pytest.raises(torch.OutOfMemoryError):
            plan.load_first(device, settings(**changes))
        assert device.room is None


class Counted(torch.nn.Module):
    """Two blocks of known sizes: each keeps its input, a product of it and the result of an exponential."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(100, 100, bias=False) for _ in range(2)])
        self.trained = torch.nn.Parameter(torch.ones(100))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x * self.trained).exp()
        return x.mean()


@pytest.fixture
def ordinary():
    with torch.inference_mode(False), torch.enable_grad():
        yield


class TestMeasure:
    def test_what_autograd_would_keep_is_counted_once_and_kept_nowhere(self, ordinary):
        module, x = Counted(), torch.ones(10, 100)
        module.layers.requires_grad_(False)
        found = demand.measure(module, 7, [module.trained], lambda: module(x), torch.float32)
        size = 10 * 100 * 4
        assert found.kept == 3 * size, "the input, and the result of either exponential; weights are not counted here"
        assert (found.weights, found.adapters, found.passing) == (7, demand.CPU.copies * 400, demand.PASSING * size)
        assert found.seconds > 0

    def test_with_checkpointing_inputs_of_blocks_and_the_largest_block_remain(self, home, sd15):
        """What autograd really keeps then, and the same without."""
        with opened(sd15) as (model, trainer):
            found = demand.measure(model.module, 0, [], trainer.sample_loss, trainer.dtype)
            plain, recomputed = really_kept(model.module, trainer, False), really_kept(model.module, trainer, True)
        assert found.kept == pytest.approx(plain, rel=0.02)
        assert recomputed < found.recomputed < 0.7 * found.kept

    @pytest.mark.parametrize(("stored", "fetched"), [("float32", 0), ("float8_e4m3fn", 1)])
    def test_weights_that_are_made_for_each_pass_are_counted_in_the_format_of_the_pass(self, home, flux, stored, fetched):
        for layer in flux.model.model.diffusion_model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight = torch.nn.Parameter(layer.weight.to(getattr(torch, stored)), requires_grad=False)
                layer.comfy_cast_weights = stored != "float32"
        with opened(flux) as (model, trainer):
            found = demand.measure(model.module, 0, trainer.adapters[0].parameters(), trainer.sample_loss, trainer.dtype)
        width = 64
        assert found.largest == 4 * 6 * width * width, "modulation"
        assert found.fetched == fetched * found.largest
        plain = Way(1, False, False)
        assert found.beside_weights(Way(1, False, True)) - found.beside_weights(plain) == pytest.approx(
            (1 - fetched) * demand.CPU.overhead * demand.FETCHES * found.largest, abs=2
        )

    def test_measuring_changes_nothing(self, home, sd15, photos, monkeypatch):
        first = train.train_face_lora(order(sd15, photos, dropout=0.2))
        monkeypatch.setattr(plan, "measure", lambda *_: Demand(weights=0, adapters=0, kept=0, recomputed=0, passing=0, seconds=0.0))
        assert same(weights(first), weights(train.train_face_lora(order(sd15, photos, name="Bea", dropout=0.2))))


@contextlib.contextmanager
def opened(objects: SimpleNamespace, **changes):
    """The model with adapters and a trainer for it."""
    with models.training_model(objects.model, torch.float32) as model:
        latents = torch.randn(1, 1, model.patcher.model.latent_format.latent_channels, 16, 16)
        text = models.stored(model.conditions(models.encode_text(objects.clip, "a face"), latents[:, 0]))
        adapters = Adapters(model.module, target_modules(model.module, settings().targets), 4, 4.0, 0.0, 1)
        model.load()
        data = train.TrainingSet(latents, [text, text])
        yield model, train.Trainer(model, [adapters], data, settings(**changes), torch.float32)
        model.give_back()
        adapters.remove()


def really_kept(module, trainer, checkpointing: bool) -> int:
    """Bytes of all tensors, but parameters, that are there between the passes, by their memory."""
    known, kept = {value.untyped_storage().data_ptr() for value in module.parameters()}, {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with checkpointed(module, checkpointing), torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        noted = blocks(module) if checkpointing else []  # inputs of blocks, which checkpointing keeps beside autograd
        inputs = [block.register_forward_pre_hook(lambda _, given: (pack(given[0]), None)[1]) for block in noted]
        loss = trainer.sample_loss()
        for hook in inputs:
            hook.remove()
    del loss
    return sum(kept.values())


@pytest.mark.parametrize(
    ("free", "expected", "total"),
    [
        (1000, Way(4, False, False), 346),
        (300, Way(2, False, False), 203),
        (150, Way(1, False, False), 132),
        (80, Way(1, True, False), 99),
        (40, Way(1, True, False), 99),
    ],
)
def test_the_first_way_that_fits_is_chosen_and_told(home, sd15, photos, monkeypatch, free, expected, total):
    demanded = Demand(weights=50 * MB, adapters=10 * MB, kept=45 * MB, recomputed=20 * MB, passing=10 * MB, seconds=0.5)
    monkeypatch.setattr(plan, "measure", lambda *_: demanded)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free * MB)
    taken = []
    monkeypatch.setattr(train.Trainer, "step", recording(train.Trainer.step, taken))
    result = train.train_face_lora(order(sd15, photos, batch_size=4))
    assert {(batch, parts) for batch, parts, _ in taken} == {(expected.batch, 4 // expected.batch)}
    assert {checkpoints for *_, checkpoints in taken} == {expected.checkpointing}
    told = " ".join(result.report.notes)
    assert ("memory are free, too little for 4 pictures at a time" in told) == (free < 1000)
    assert ("Even that may be too much" in told) == (free == 40)
    assert f"Expected: about {total} MB of RAM, 50 MB of them weights" in told


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (600, Way(4, False, True)),
        (300, Way(2, False, True)),
        (170, Way(1, False, True)),
        (120, Way(1, True, True)),
        (1, Way(1, True, True)),
    ],
)
def test_the_first_way_that_fits_is_chosen_where_weights_stay_in_ram_from_the_start(home, sd15, monkeypatch, free, expected):
    """It was the last one, whatever was free beside the weights."""
    demanded = Demand(weights=900 * MB, adapters=10 * MB, kept=45 * MB, recomputed=20 * MB, passing=10 * MB, seconds=0.5, largest=20 * MB)
    monkeypatch.setattr(plan, "measure", lambda *_: demanded)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free * MB)
    monkeypatch.setattr(models.TrainingModel, "load", lambda self: None)
    with opened(sd15, batch_size=4) as (model, trainer), contextlib.ExitStack() as stack:
        model.device, model.room = torch.device("cuda"), 1e20
        planned = plan.Plan(trainer, model, stack)
        assert planned.way == expected and model.room == 1e20
        assert ("Even that may be too much. A lower resolution takes less memory." in planned.notes) == (free == 1)


def recording(step, taken: list):
    def recorded(self):
        block = blocks(self._model.module)[0]
        checkpoints = getattr(vars(block).get("forward"), "func", None) is checkpoint
        taken.append((self.settings.batch_size, self.settings.gradient_accumulation, checkpoints))
        return step(self)

    return recorded


def out_of_memory(monkeypatch, at: dict[int, int]) -> list[tuple[int, int]]:
    """Memory runs out in the backward pass of step N as often as `at[N]` says. Returns the attempts, as step and batch size."""
    real, attempts, left = train.Trainer._learn, [], dict(at)

    def learn(self, data, number, weight):
        attempts.append((self.steps_done, self.settings.batch_size))
        loss = real(self, data, number, weight)
        if left.get(self.steps_done):
            left[self.steps_done] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return loss

    monkeypatch.setattr(train.Trainer, "_learn", learn)
    return attempts


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_out_of_memory_before_the_update_is_as_harmless(home, sd15, photos, monkeypatch, precision):
    """Gradients were clipped by then, and unscaled where they are fp16's."""
    request = order(sd15, photos, batch_size=2, precision=precision, max_grad_norm=1e-3)
    plain = train.train_face_lora(request)
    real, asked = train.Trainer._reserve, []

    def reserve(self):
        asked.append(self.steps_done)
        if asked == [0, 1, 2]:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        real(self)

    monkeypatch.setattr(train.Trainer, "_reserve", reserve)
    again = train.train_face_lora(replace(request, policy=replace(request.policy, name="Bea")))
    assert asked == [0, 1, 2, 2, 3] and apart(whole_norm(plain), whole_norm(again)) < 1e-5
    assert "Memory ran out at step 3: from there on 1 picture at a time." in again.report.notes


def test_the_device_sets_aside_what_the_first_update_takes(home, monkeypatch):
    parameters = [torch.nn.Parameter(torch.zeros(size, device=device)) for size, device in [(3, "meta"), (5, "meta"), (7, "cpu")]]
    trainer = object.__new__(train.Trainer)
    trainer._parameters, trainer._optimiser = parameters, torch.optim.AdamW(parameters)
    made, real = [], torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda value: made.append(value.numel()) or real(value))
    trainer._reserve()
    assert sorted(made) == [3] * 3 + [5] * 3, "two moments, and what comes and goes"
    made.clear()
    trainer._optimiser.state[parameters[0]] = {"step": 1}
    trainer._reserve()
    assert made == [3, 5]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_out_of_memory_ends_with_the_weights_of_an_undisturbed_training(home, sd15, photos, monkeypatch, times):
    request = order(sd15, photos, batch_size=4, steps=4)
    plain = train.train_face_lora(request)
    attempts = out_of_memory(monkeypatch, {2: times})
    again = train.train_face_lora(replace(request, policy=replace(request.policy, name="Bea")))
    expected = whole_norm(plain)
    assert (whole_norm(again) - expected).norm() / expected.norm() < 1e-5
    assert again.losses == pytest.approx(plain.losses, rel=1e-5)
    batches = [batch for step, batch in attempts if step == 2]
    assert batches[:times] == [4, 2, 1][:times] and attempts[-1] == (3, batches[-1]), "it goes on where it was, and stays small"
    notes = [note for note in again.report.notes if "ran out" in note]
    assert len(notes) == times and notes[0] == "Memory ran out at step 3: from there on 2 pictures at a time."
    assert "gradient checkpointing" in notes[-1] if times == 3 else "gradient" not in notes[-1]


def test_where_nothing_takes_less_the_error_is_the_users(home, sd15, photos, monkeypatch):
    out_of_memory(monkeypatch, {1: 99})
    with pytest.raises(torch.OutOfMemoryError, match="injected"):
        train.train_face_lora(order(sd15, photos, batch_size=2))
    assert unfinished()[0].steps_done == 1, "the state was saved"


def test_out_of_memory_while_it_is_measured(home, sd15, photos, monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("over one sample")))
    taken = []
    monkeypatch.setattr(train.Trainer, "step", recording(train.Trainer.step, taken))
    result = train.train_face_lora(order(sd15, photos, batch_size=2))
    assert set(taken) == {(1, 2, True)}
    assert any("it goes on with 1 picture at a time, gradient checkpointing" in note for note in result.report.notes)


def runs_out(monkeypatch, owner: type, name: str, times: int, calls: int = 0) -> None:
    """Memory runs out in this method, after so many `calls`, so many times."""
    real, asked = getattr(owner, name), []

    def method(self, *given):
        asked.append(given)
        if calls < len(asked) <= calls + times:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return real(self, *given)

    monkeypatch.setattr(owner, name, method)


class TestDrawing:
    """Looks and previews leave the training as it is, so that they can be repeated and are not worth a training."""

    def seen(self, objects, photos, scripted, name: str, values=(0.2, 0.6, 0.3, 0.4)):
        scripted.values[:] = values
        return train.train_face_lora(looked(objects, photos, scripted, name=name, dropout=0.3))

    @pytest.mark.parametrize(
        ("owner", "name", "calls"),
        [(Sitting, "portraits", 1), (Sitting, "portraits", 3), (Scripted, "__call__", 2)],
        ids=["portraits", "portraits of the result", "scorer"],
    )
    def test_once_too_little_memory_for_a_look_is_no_matter(self, home, sd15, photos, scripted, monkeypatch, owner, name, calls):
        plain = self.seen(sd15, photos, scripted, "Ann")
        runs_out(monkeypatch, owner, name, 1, calls)
        self.compare(plain, self.seen(sd15, photos, scripted, "Bea"), scripted)

    def test_nor_in_the_middle_of_its_validation_while_dropout_is_off(self, home, sd15, photos, scripted, monkeypatch):
        plain = self.seen(sd15, photos, scripted, "Ann")
        validation, left = train.Trainer.validation_loss, [1]

        def validate(self):
            with monkeypatch.context() as patch:
                runs_out(patch, train.Trainer, "loss", left.pop() if left else 0, 3)
                return validation(self)

        monkeypatch.setattr(train.Trainer, "validation_loss", validate)
        self.compare(plain, self.seen(sd15, photos, scripted, "Bea", (0.2, 0.2, 0.6, 0.3, 0.4)), scripted)

    def compare(self, plain, again, scripted):
        assert same(weights(plain), weights(again)) and again.losses == plain.losses and not scripted.values
        assert (
            again.person.report["looks"] == plain.person.report["looks"]
            and again.person.report["likeness"] == plain.person.report["likeness"]
        )
        assert again.person.report["used_step"] == 6 and not any("ran out" in note for note in again.report.notes)

    def test_dropout_is_on_again_after_a_validation_that_was_cut_short(self, home, sd15, monkeypatch):
        with opened(sd15) as (_, trainer):
            runs_out(monkeypatch, train.Trainer, "loss", 1, 2)
            with pytest.raises(torch.OutOfMemoryError):
                trainer.validation_loss()
            assert all(layer.lora_dropout.training for layer in trainer.adapters[0]._layers.values())

    def test_a_look_whose_portraits_do_not_fit_goes_without(self, home, sd15, photos, scripted, monkeypatch):
        plain = train.train_face_lora(order(sd15, photos, name="Plain", steps=8, dropout=0.3))
        runs_out(monkeypatch, Sitting, "portraits", 2, 2)
        scripted.values[:] = [0.6, 0.3, 0.4]
        result = train.train_face_lora(looked(sd15, photos, scripted, dropout=0.3))
        assert [len(look["scores"]) for look in result.person.report["looks"]] == [4, 4, 0] and result.losses == plain.losses
        assert "Memory ran out over the look after step 8: it has no portraits and no likeness." in result.report.notes
        assert "The last step was used: there are no portraits of it to be compared with those of earlier steps." in result.report.notes
        assert same(weights(plain), weights(result))

    def test_portraits_of_the_result_that_do_not_fit(self, home, sd15, photos, scripted, monkeypatch):
        runs_out(monkeypatch, Sitting, "portraits", 2, 3)
        result = self.seen(sd15, photos, scripted, "Ann")
        assert result.person.report["likeness"] is None and result.person.report["used_step"] == 6
        assert "Memory ran out over the portraits of the result: its likeness is not known." in result.report.notes

    def test_previews_that_do_not_fit_are_left_out_and_said_once(self, home, sd15, photos, monkeypatch):
        plain = train.train_face_lora(order(sd15, photos))
        runs_out(monkeypatch, Preview, "portrait", 99)
        previewed = changed(order(sd15, photos, name="Bea"), preview=Preview(2, "a face", 1, 64))
        result = train.train_face_lora(previewed)
        assert same(weights(plain), weights(result))
        assert [note for note in result.report.notes if "ran out" in note] == [
            "Memory ran out over a preview: those that do not fit are left out."
        ]

    def test_offload_is_tried_where_it_is_allowed_and_nothing_else_changes(self, home, sd15):
        with opened(sd15) as (model, trainer), contextlib.ExitStack() as stack:
            planned = plan.Plan(trainer, model, stack)
            planned._ways = [Way(2, False, False), Way(1, False, False), Way(1, True, False), Way(1, True, True)]
            rooms = []

            def draw() -> str:
                rooms.append(model.room)
                if model.room is None:
                    raise torch.OutOfMemoryError("too much")
                return "portrait"

            assert planned.draw("a look", draw, lambda: "nothing", "a pity") == "portrait"
            assert rooms == [None, None, planned.demand.beside_weights(Way(2, False, True))]
            assert planned._ways == [Way(2, False, True), Way(1, False, True), Way(1, True, True)]
            assert planned.notes == ["Memory ran out over a look: from there on 2 pictures at a time, offload."]
            assert planned.draw("a look", lambda: (_ for _ in ()).throw(torch.OutOfMemoryError()), lambda: "nothing", "a pity") == "nothing"


def test_offload_on_a_cpu_says_that_it_does_nothing(home, sd15, photos):
    result = train.train_face_lora(order(sd15, photos, offload=Offload.ON))
    assert any("offload has no effect" in note for note in result.report.notes)


def test_how_the_work_is_done_is_no_part_of_what_a_training_is(home, sd15, photos, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(order(sd15, photos, offload=Offload.AUTO))
    result = train.train_face_lora(order(sd15, photos, offload=Offload.OFF))
    assert any("Resumed after step 2" in note for note in result.report.notes)
