"""What the pack uses of the host's objects, as they arrive on a node's inputs.

The host declares few types, so these are declared here and a test holds them against its classes: when an update of the host drops
something that is used here, that test names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypedDict

import numpy as np
import torch

Conditioning = list[list[Any]]
"""CONDITIONING: pairs of an encoded text [1, tokens, width] and a dictionary of what else the model is told."""

Patches = dict[Any, Any]
"""Weight name, or (name, offset), -> what the host adds to that weight."""


class LatentFormat(Protocol):
    """How a model's latents are made: their channels, and pixels per latent along one side."""

    latent_channels: int
    spacial_downscale_ratio: int


class ModelConfig(Protocol):
    """What the host found out about a checkpoint. unet_config: constructor arguments of the UNet."""

    unet_config: dict[str, Any]


class BaseModel(torch.nn.Module):
    """The diffusion model in a MODEL, the host's `model_base.BaseModel`. Only its type is used; the host makes the objects."""

    diffusion_model: torch.nn.Module
    latent_format: LatentFormat
    model_config: ModelConfig
    model_sampling: ModelSampling
    concat_keys: Sequence[str]
    apply_model: Callable[..., torch.Tensor]
    extra_conds: Callable[..., dict[str, Any]]
    process_latent_in: Callable[[torch.Tensor], torch.Tensor]
    get_dtype_inference: Callable[[], torch.dtype]


class ModelSampling(Protocol):
    """The noise schedule and the parametrisation of a model. Latents are [B, C, ...], sigmas [B].

    sigmas: the noise levels of the discrete timesteps [T]; those of continuous time have no `num_timesteps`."""

    num_timesteps: int
    sigmas: torch.Tensor
    sigma_min: torch.Tensor
    sigma_max: torch.Tensor

    def percent_to_sigma(self, percent: float) -> float: ...

    def noise_scaling(self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor) -> torch.Tensor: ...

    def calculate_denoised(self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor) -> torch.Tensor: ...


class Patcher(Protocol):
    """A network under the host's memory manager, with patches on its weights that are applied where it runs.

    cached_patcher_init: (loader, its arguments, which of its results) where the host can read the file again, else None. backup,
    hook_backup: original weights by name, while patched ones stand in their place in `model`; shared by all clones."""

    model: torch.nn.Module
    model_options: dict[str, Any]
    load_device: torch.device
    patches: dict[str, list[tuple]]
    cached_patcher_init: tuple | None
    backup: dict[str, Any]
    hook_backup: dict[str, tuple]
    clone_base_uuid: object

    def is_dynamic(self) -> bool: ...

    def model_size(self) -> int: ...

    def clone(self, disable_dynamic: bool = False, *, force_deepcopy: bool = False) -> Any: ...

    def add_patches(self, patches: Patches, strength_patch: float = 1.0) -> Sequence[str]: ...

    def model_state_dict(self) -> dict[str, torch.Tensor]: ...


class Model(Patcher, Protocol):
    """MODEL: a diffusion model."""

    model: BaseModel

    def get_model_object(self, name: str) -> Any: ...

    def set_model_compute_dtype(self, dtype: torch.dtype) -> None: ...


class Clip(Protocol):
    """CLIP: the text encoders of a checkpoint with their tokenizer."""

    cond_stage_model: torch.nn.Module
    patcher: Patcher

    def tokenize(self, text: str, **options: Any) -> dict[str, Any]: ...

    def encode_from_tokens_scheduled(self, tokens: dict[str, Any], *, show_pbar: bool = True) -> Conditioning: ...

    def clone(self) -> Any: ...

    def add_patches(self, patches: Patches, strength_patch: float = 1.0) -> Sequence[str]: ...


class Vae(Protocol):
    """VAE: pictures [N, H, W, 3] in 0..1 <-> latents [N, C, h, w]."""

    patcher: Patcher

    def encode(self, pixel_samples: torch.Tensor) -> torch.Tensor: ...

    def decode(self, samples_in: torch.Tensor) -> torch.Tensor: ...

    def spacial_compression_encode(self) -> int:
        """Pixels per latent, along one side."""
        ...


class ControlNet(Protocol):
    """CONTROL_NET. Each method returns the object itself, so that calls can be chained."""

    def copy(self) -> ControlNet: ...

    def set_cond_hint(
        self, cond_hint: torch.Tensor, strength: float = 1.0, timestep_percent_range: tuple[float, float] = (0.0, 1.0), *, vae: Vae | None
    ) -> ControlNet:
        """cond_hint: control pictures [N, 3, H, W] in 0..1."""
        ...

    def set_previous_controlnet(self, controlnet: ControlNet | None) -> ControlNet: ...


class Condition(Protocol):
    """One of the host's COND objects: an input of the model besides the noisy latents, under one argument name."""

    cond: Any

    def _copy_with(self, cond: Any) -> Condition: ...

    def process_cond(self, batch_size: int, *, area: Any) -> Condition: ...

    def can_concat(self, other: Condition) -> bool: ...

    def concat(self, others: list[Condition]) -> Any: ...


class Architecture(Protocol):
    """What spandrel recognised: its short name, such as GFPGAN."""

    id: str


class UpscaleModelDescriptor(Protocol):
    """UPSCALE_MODEL: a network that spandrel recognised. scale: of the sides. purpose: "SR", "FaceSR" and others."""

    architecture: Architecture
    model: torch.nn.Module
    patcher: Patcher
    purpose: str
    scale: int

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in 0..1 -> [N, 3, H * scale, W * scale]."""
        ...


class MeshFace(TypedDict):
    """A face of the host's landmarker, in pixels: box float32 [4], points [478, 2], and a score in 0..1."""

    bbox_xyxy: np.ndarray
    landmarks_xy: np.ndarray
    score: float


class FaceLandmarks(TypedDict):
    """FACE_LANDMARKS: the faces of each picture of a batch, and the (height, width) of its pictures."""

    frames: list[list[MeshFace]]
    image_size: tuple[int, int]


class FaceDetectionModel(Protocol):
    """FACE_DETECTION_MODEL: the host's MediaPipe face landmarker."""

    def detect_batch(self, images: list[np.ndarray], num_faces: int, score_thresh: float, variant: str) -> list[list[MeshFace]]:
        """The faces of each picture uint8 [H, W, 3]; num_faces 0 is all of them, variant "short" or "full"."""
        ...


PosePerson = dict[str, Any]
"""One person of a pose: x, y and score of one joint after the other under `pose_keypoints_2d`, `hand_left_keypoints_2d` and
`hand_right_keypoints_2d`; absent or None where a part was not looked for."""


class PoseFrame(TypedDict):
    """One frame of POSE_KEYPOINT, in pixels of its canvas."""

    people: list[PosePerson]
    canvas_width: int
    canvas_height: int


class PoseDrawer(Protocol):
    """The host's drawing code of poses. colors: of the joints, RGB in 0..255."""

    colors: list[list[int]]

    def draw_wholebody_keypoints(self, canvas: np.ndarray, keypoints: np.ndarray, scores: np.ndarray | None = None, **what: bool) -> Any:
        """Draw on canvas uint8 [H, W, 3] from points [134, 2], or the first of them, with scores [134]."""
        ...


class Audio(TypedDict):
    """AUDIO: waveform float [1, channels, samples] in -1..1, and samples per second."""

    waveform: torch.Tensor
    sample_rate: int


class Video(Protocol):
    """VIDEO: a video that need not be in memory."""

    def get_stream_source(self) -> Any:
        """Its file, as a path or as an open stream."""
        ...
