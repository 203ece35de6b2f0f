"""What a model of the host predicts, and at which noise levels it learns: epsilon, v or flow, by its own `model_sampling`."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_sampling as sampling
import torch

from ..errors import BadInput
from .protocols import ModelSampling

_MOST_SIGNAL = 1000.0


class Objective:
    """Noise levels, noisy latents and targets of one model. Latents and noise are [B, C, ...], sigmas [B]."""

    def __init__(self, model_sampling: ModelSampling):
        self._sampling = model_sampling
        self._discrete = isinstance(model_sampling, sampling.ModelSamplingDiscrete) and hasattr(model_sampling, "num_timesteps")
        if self._discrete and len(model_sampling.sigmas) != model_sampling.num_timesteps:
            raise BadInput(
                f"This MODEL was patched for sampling in a few steps: it has {len(model_sampling.sigmas)} of its "
                f"{model_sampling.num_timesteps} noise levels. Connect the model straight from its loader, without ModelSamplingDiscrete."
            )
        self.name = _kind(model_sampling)

    @property
    def num_timesteps(self) -> int | None:
        """Number of discrete timesteps, None where time is continuous."""
        return self._sampling.num_timesteps if self._discrete else None

    def sample_sigmas(
        self, count: int, generator: torch.Generator, times: Callable[[int, torch.Generator], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Noise levels to train at, on the CPU: uniform timesteps for discrete models, log-normal noise levels for EDM and Cosmos,
        logit-normal time for flow, uniform time elsewhere; or those of `times`, drawn between 0 (no noise) and 1 (pure noise).

        Raises BadInput for `times` of a model whose noise levels have no time."""
        if times is not None:
            return self._at(times(count, generator))
        if self._discrete:
            return self.sigmas(torch.randint(0, self._sampling.num_timesteps, (count,), generator=generator))
        if lognormal := _lognormal(self._sampling):
            mean, deviation = lognormal
            drawn = (torch.randn(count, generator=generator) * deviation + mean).exp()
            return drawn.clamp(float(self._sampling.sigma_min), float(self._sampling.sigma_max))
        drawn = (torch.randn if self.name == "flow" else torch.rand)(count, generator=generator)
        return self._at(drawn.sigmoid() if self.name == "flow" else drawn)

    def _at(self, times: torch.Tensor) -> torch.Tensor:
        """Noise levels at times [B], shifted as the model's are."""
        if self._discrete:
            last = self._sampling.num_timesteps - 1
            return self.sigmas((times * self._sampling.num_timesteps).long().clamp(max=last))
        if _lognormal(self._sampling):
            raise BadInput("The noise levels of this model are log-normal and have no timesteps to choose. Set timesteps to From model.")
        return torch.tensor([float(self._sampling.percent_to_sigma(1 - float(time))) for time in times])

    def sigmas(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Noise levels of discrete timesteps [B]."""
        return self._sampling.sigmas.detach().cpu()[timesteps].clone()

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        """The model's input at these noise levels. The host's method works in place on the noise."""
        return self._sampling.noise_scaling(sigmas, noise.clone(), latents)

    def target(self, latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        """What the network should output."""
        level = sigmas.view(-1, *[1] * (latents.ndim - 1))
        if self.name == "epsilon":
            return noise
        if self.name == "v":
            return (noise - level * latents) / (1 + level**2).sqrt()
        if self.name == "flow":
            return noise - latents
        return self._solved_target(latents, noise, sigmas)

    def _solved_target(self, latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        """The host's clean latent is linear in the output, whatever the parametrisation, so it can be solved for the output."""
        noisy = self.add_noise(latents, noise, sigmas)
        offset = self._sampling.calculate_denoised(sigmas, torch.zeros_like(noisy), noisy)
        slope = self._sampling.calculate_denoised(sigmas, torch.ones_like(noisy), noisy) - offset
        return (latents - offset) / slope

    def noise_to_signal(self, sigmas: torch.Tensor) -> torch.Tensor:
        """How much noise there is beside the clean latent [B]."""
        return sigmas / (1 - sigmas) if self.name == "flow" else sigmas

    def debiased_weights(self, sigmas: torch.Tensor) -> torch.Tensor:
        """Weights [B] of debiased estimation (Yu et al. 2023): 1 / sqrt(SNR) for epsilon, and what equals it in the clean latent for v.
        The ratio is cut at 1000 as in kohya's sd-scripts. Raises BadInput for models without a signal-to-noise schedule."""
        ratio = self._signal_to_noise(sigmas, "Debiased estimation", "Set weighting to Even.").clamp(max=_MOST_SIGNAL)
        return (ratio**-0.5 if self.name == "epsilon" else ratio.sqrt() / (ratio + 1)).to(sigmas.dtype)

    def min_snr_weights(self, sigmas: torch.Tensor, gamma: float) -> torch.Tensor:
        """Weights [B] of min-SNR-gamma (Hang et al. 2023). Raises BadInput for models without a signal-to-noise schedule."""
        ratio = self._signal_to_noise(sigmas, "min-SNR weighting", "Set min_snr_gamma to 0.")
        clipped = ratio.clamp(max=gamma)
        return (clipped / ratio if self.name == "epsilon" else clipped / (ratio + 1)).to(sigmas.dtype)

    def _signal_to_noise(self, sigmas: torch.Tensor, what: str, instead: str) -> torch.Tensor:
        if self.name not in ("epsilon", "v"):
            raise BadInput(f"{what} is defined for epsilon and v prediction; this model predicts {self.name}. {instead}")
        return sigmas.double() ** -2


def _lognormal(model_sampling: ModelSampling) -> tuple[float, float] | None:
    """Mean and deviation of the logarithm of the noise levels that EDM (Karras et al. 2022) and Cosmos (NVIDIA 2025) are trained at."""
    if isinstance(model_sampling, sampling.COSMOS_RFLOW):
        return 0.0, 1.0
    is_edm = isinstance(model_sampling, sampling.ModelSamplingContinuousEDM) and isinstance(model_sampling, sampling.EDM)
    return (-1.2, 1.2) if is_edm else None


def _kind(model_sampling: ModelSampling) -> str:
    exact = {sampling.EPS: "epsilon", sampling.V_PREDICTION: "v", sampling.CONST: "flow"}
    parametrisation = next((base for base in type(model_sampling).__mro__ if base in _PARAMETRISATIONS), None)
    kind = exact.get(parametrisation, "something else")
    data_scale = getattr(model_sampling, "sigma_data", 1.0)
    noise_scale = getattr(model_sampling, "noise_scale", 1.0)
    return kind if data_scale == 1.0 and noise_scale == 1.0 else "something else"


_PARAMETRISATIONS = {
    sampling.EPS, sampling.V_PREDICTION, sampling.V_PREDICTION_DDPM, sampling.EDM, sampling.CONST, sampling.X0,
    sampling.IMG_TO_IMG, sampling.IMG_TO_IMG_FLOW, sampling.COSMOS_RFLOW,
}  # fmt: skip
