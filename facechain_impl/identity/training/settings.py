"""Settings of a training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import Enum


class Augmentation(str, Enum):
    """How a training picture is made from a photo. All are square but those of aspect buckets, which are as broad as their photo."""

    FACE_CROP = "Face crop"
    CENTRE = "Centre crop"
    RANDOM = "Random crop"
    BUCKETS = "Aspect buckets"


class Precision(str, Enum):
    """Number format of forward and backward pass; adapters and optimiser are always float32."""

    AUTO = "Auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Optimiser(str, Enum):
    ADAMW = "AdamW"
    ADAMW_8BIT = "AdamW 8-bit"
    ADAFACTOR = "Adafactor"
    PRODIGY = "Prodigy"


class Offload(str, Enum):
    """Whether weights that are not needed at the moment stay in RAM. Auto: where the training does not fit otherwise."""

    AUTO = "Auto"
    OFF = "Off"
    ON = "On"


class Targets(str, Enum):
    """Which layers get an adapter. With convolutions it is known as LoCon, for UNets."""

    ATTENTION = "Attention"
    ATTENTION_AND_MLP = "Attention and feed-forward"
    CONVOLUTIONS = "Attention, feed-forward and convolutions"


class Loss(str, Enum):
    """How far a prediction is from its target. Huber: beyond `huber_c` the distance counts once and no longer squared."""

    MSE = "Mean squared error"
    HUBER = "Huber"
    HUBER_BY_LEVEL = "Huber by noise level"


class Weighting(str, Enum):
    """How much each noise level counts."""

    EVEN = "Even"
    DEBIASED = "Debiased estimation"


class Timesteps(str, Enum):
    """Which noise levels are trained how often. From model: as the model itself was trained."""

    MODEL = "From model"
    UNIFORM = "Uniform"
    LOGIT_NORMAL = "Logit-normal"
    HIGH = "High noise"
    LOW = "Low noise"


class Average(str, Enum):
    """Which weights are the result: those of one step, or a mean over several. The moving average is also what is shown meanwhile."""

    LAST = "Last step"
    MEAN = "Mean of the last three looks"
    EMA = "Moving average (EMA)"


class Start(str, Enum):
    """The adapters' weights before the first step. Of the preset: the common face, where its file is here and fits."""

    PRESET = "From preset"
    RANDOM = "Random"
    FACE_COMMON = "face_frombase_c4"


class IfState(str, Enum):
    """What to do with the unfinished state of the same training."""

    RESUME = "Resume"
    START_OVER = "Start over"


ADDED = (
    "loss", "huber_c", "weighting", "noise_offset", "timesteps", "text_encoder_learning_rate", "average", "ema_decay", "dora", "guidance",
)  # fmt: skip
"""Settings that came after states were stored: at their defaults a training is the one that it was without them."""
COMMON_RANK = 4
"""Of face_frombase_c4."""
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that determines the trained weights. `mirror`: every other variant of a photo is mirrored.

    steps: optimiser steps. resolution: side of the square training pictures in pixels. variants: pictures made from each photo
    by `augmentation`, prepared once. alpha: the update is alpha / rank times up @ down. min_snr_gamma 0: all noise levels count
    the same. caption_dropout: share of samples trained with an empty caption. masked_loss: how much less what is outside the
    head counts, 1 for not at all. prior_weight: of the loss on class pictures. gradient_checkpointing: always, instead of where the
    training does not fit otherwise. state_every: steps between saved states. max_grad_norm 0: no clipping. noise_offset: deviation of
    what is added to the noise of a whole channel. text_encoder_learning_rate 0: the same. guidance: that models with such an input are
    told, None for the others."""

    steps: int
    learning_rate: float
    rank: int
    alpha: float
    schedule: str
    optimiser: Optimiser
    augmentation: Augmentation
    cycles: int = 1
    warmup_steps: int = 0
    resolution: int = 512
    variants: int = 16
    mirror: bool = True
    batch_size: int = 1
    gradient_accumulation: int = 1
    dropout: float = 0.0
    targets: Targets = Targets.ATTENTION
    train_text_encoder: bool = False
    start: Start = Start.RANDOM
    precision: Precision = Precision.AUTO
    gradient_checkpointing: bool = False
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    caption_dropout: float = 0.0
    min_snr_gamma: float = 0.0
    masked_loss: float = 0.0
    prior_weight: float = 1.0
    seed: int = 42
    state_every: int = 100
    offload: Offload = Offload.AUTO
    loss: Loss = Loss.MSE
    huber_c: float = 0.1
    weighting: Weighting = Weighting.EVEN
    noise_offset: float = 0.0
    timesteps: Timesteps = Timesteps.MODEL
    text_encoder_learning_rate: float = 0.0
    average: Average = Average.LAST
    ema_decay: float = 0.99
    dora: bool = False
    guidance: float | None = None

    def of_class_photos(self) -> TrainSettings:
        """How class pictures are prepared: each once, and without a face that would have to be at its place."""
        buckets = self.augmentation is Augmentation.BUCKETS
        return replace(self, augmentation=Augmentation.BUCKETS if buckets else Augmentation.RANDOM, variants=1)

    def without_effect(self) -> list[str]:
        """Settings that are set but have no effect, as sentences for the user."""
        said = []
        if self.text_encoder_learning_rate and not self.train_text_encoder:
            said.append("text_encoder_learning_rate has no effect: train_text_encoder is off.")
        if self.loss is Loss.MSE and self.huber_c != TrainSettings.huber_c:
            said.append("huber_c has no effect: the loss is Mean squared error.")
        if self.average is not Average.EMA and self.ema_decay != TrainSettings.ema_decay:
            said.append(f"ema_decay has no effect: average is {self.average.value}.")
        return said

    def described(self) -> dict:
        """All settings as plain values."""
        return {key: value.value if isinstance(value, Enum) else value for key, value in asdict(self).items()}
