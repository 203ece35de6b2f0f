"""Widgets of Train Face LoRA for experts, which came after the others: saved workflows know widgets by their place."""

from __future__ import annotations

from enum import Enum

from ..facechain_impl.identity.training.settings import Average, Loss, Timesteps, TrainSettings, Weighting
from ._api import io

CHOICES: dict[str, type[Enum]] = {"loss": Loss, "weighting": Weighting, "timesteps": Timesteps, "average": Average}
PRESET = "From preset"
NUMBERS = ("huber_c", "noise_offset", "text_encoder_learning_rate", "ema_decay")
SWITCHES = ("dora",)


def changes(values: dict) -> dict:
    """The settings that these widgets name; older workflows have no value for them."""
    chosen = {key: kind(values[key]) for key, kind in CHOICES.items() if values.get(key, PRESET) != PRESET}
    plain = {key: values[key] for key in (*NUMBERS, *SWITCHES) if key in values}
    return chosen | plain | {"guidance": values.get("guidance") or None}


def widgets() -> list[io.Input]:
    return [
        _choice("loss", "How far a prediction is from its target. Huber lets outliers, such as a hand before the face, count less."),
        _number("huber_c", 1.0, 0.01, "From which error on Huber stops squaring. By noise level: the value in pure noise.", least=0.001),
        _choice("weighting", "How much each noise level counts. Debiased estimation is for epsilon and v models, without min_snr_gamma."),
        _number("noise_offset", 1.0, 0.01, "Shifts the noise of whole channels, for very dark or bright pictures; 0.05 is usual. 0: off."),
        _choice("timesteps", "Which noise levels are trained most. High noise forms the whole picture, low noise its details."),
        _number("text_encoder_learning_rate", 1.0, 1e-6, "Of the text encoder, where it is trained. 0: the same as the model's."),
        _choice("average", "Which weights are the result: of the last step, or a mean over several, which is steadier.", PRESET),
        _number("ema_decay", 0.9999, 0.001, "Of the moving average: 0.99 is roughly the last 100 steps, 0.999 the last 1000."),
        io.Boolean.Input(
            "dora",
            default=TrainSettings.dora,
            optional=True,
            advanced=True,
            tooltip="Train a DoRA: also how strong each row of a weight is. Slower, and it cannot be saved merged with other LoRAs.",
        ),
        io.Float.Input(
            "guidance",
            default=0.0,
            min=0.0,
            max=20.0,
            step=0.1,
            optional=True,
            advanced=True,
            tooltip="Guidance value given to the model during training (Flux.1 dev, Flux.2). 0: the family's, 1.",
        ),
    ]


def _choice(name: str, tooltip: str, *first: str) -> io.Input:
    return io.Combo.Input(name, options=[*first, *(one.value for one in CHOICES[name])], optional=True, advanced=True, tooltip=tooltip)


def _number(name: str, most: float, step: float, tooltip: str, least: float = 0.0) -> io.Input:
    default = getattr(TrainSettings, name)
    return io.Float.Input(name, default=default, min=least, max=most, step=step, optional=True, advanced=True, tooltip=tooltip)
