"""From sound to coefficients: expression (ExpNet) and head pose (PoseVAE) of SadTalker.

Sound arrives as windows of 16 mel columns, [N, 1, 80, 16], one per video frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ..base import Network, Tensors
from ..probes import spectrograms
from ..published import Part

if TYPE_CHECKING:
    from typing_extensions import Self

AUDIO_WIDTHS = (32, 64, 128, 256, 512)
POSE_WIDTHS = (32, 64, 128, 256)
EXPRESSION, POSE = 64, 6
SEQUENCE = 32  # frames of head motion decoded at a time
LATENT = 64
DISCRIMINATOR_WIDTHS = (256, 512, 1024)


class _ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int], padding: int, residual: bool = False):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


def audio_encoder(widths: tuple[int, ...]) -> nn.Sequential:
    """[N, 1, 80, 16] -> [N, widths[-1], 1, 1], the encoder of Wav2Lip."""
    a, b, c, d, e = widths
    return nn.Sequential(
        _ConvBlock(1, a, 3, 1, 1),
        _ConvBlock(a, a, 3, 1, 1, residual=True),
        _ConvBlock(a, a, 3, 1, 1, residual=True),
        _ConvBlock(a, b, 3, (3, 1), 1),
        _ConvBlock(b, b, 3, 1, 1, residual=True),
        _ConvBlock(b, b, 3, 1, 1, residual=True),
        _ConvBlock(b, c, 3, 3, 1),
        _ConvBlock(c, c, 3, 1, 1, residual=True),
        _ConvBlock(c, c, 3, 1, 1, residual=True),
        _ConvBlock(c, d, 3, (3, 2), 1),
        _ConvBlock(d, d, 3, 1, 1, residual=True),
        _ConvBlock(d, e, 3, 1, 0),
        _ConvBlock(e, e, 1, 1, 0),
    )


def _audio_widths(tensors: Tensors, prefix: str) -> tuple[int, ...]:
    return tuple(tensors[f"{prefix}{block}.conv_block.0.weight"].shape[0] for block in (0, 3, 6, 9, 11))


class ExpNet(Network):
    """forward(windows [N, 1, 80, 16], reference [N, 64], blink [N, 1]) -> expression coefficients [N, 64]."""

    def __init__(self, audio_widths: tuple[int, ...] = AUDIO_WIDTHS):
        super().__init__()
        self.audio_encoder = audio_encoder(audio_widths)
        self.mapping1 = nn.Linear(audio_widths[-1] + EXPRESSION + 1, EXPRESSION)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {"audio_widths": _audio_widths(tensors, "audio_encoder.")}

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        return self.audio_encoder(windows).flatten(1)

    def forward(self, windows: torch.Tensor, reference: torch.Tensor, blink: torch.Tensor) -> torch.Tensor:
        return self.mapping1(torch.cat([self.embed(windows), reference, blink], 1))


class PoseVAE(Network):
    """Head motion for a pose style. The encoder and the discriminator of its training are in the published file and are not run.

    forward(sound [N, 32, 512], pose [N, 6], latent [N, 64], style [N] int) -> change of pose [N, 32, 6] against `pose`.
    """

    def __init__(
        self,
        audio_widths: tuple[int, ...] = AUDIO_WIDTHS,
        widths: tuple[int, ...] = POSE_WIDTHS,
        discriminator: tuple[int, ...] = DISCRIMINATOR_WIDTHS,
        styles: int = 46,
    ):
        super().__init__()
        self.audio_encoder = nn.ModuleDict({"audio_encoder": audio_encoder(audio_widths)})
        self.netG = _Generator(_PoseEncoder(audio_widths[-1], widths, styles), _PoseDecoder(audio_widths[-1], widths, styles))
        self.netD_motion = _discriminator(discriminator)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        unet = "netG.decoder.resunet."
        convs = ("input_layer.0", "residual_conv_1.conv_block.2", "residual_conv_2.conv_block.2", "bridge.conv_block.2")
        return {
            "audio_widths": _audio_widths(tensors, "audio_encoder.audio_encoder."),
            "widths": tuple(tensors[f"{unet}{conv}.weight"].shape[0] for conv in convs),
            "discriminator": tuple(tensors[f"netD_motion.seq.{i}.conv.weight"].shape[0] for i in range(3)),
            "styles": tensors["netG.decoder.classbias"].shape[0],
        }

    @classmethod
    def from_state_dict(cls, tensors: Tensors) -> Self:
        """See Network. What only training needs must be present and is then dropped."""
        network = super().from_state_dict(tensors)
        del network.netD_motion, network.netG.encoder
        return network

    @property
    def styles(self) -> int:
        return self.netG.decoder.classbias.shape[0]

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """[N, 1, 80, 16] -> [N, 512]."""
        return self.audio_encoder["audio_encoder"](windows).flatten(1)

    def forward(self, sound: torch.Tensor, pose: torch.Tensor, latent: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return self.netG.decoder(sound, pose, latent, style)


def _expression(network: ExpNet, picture: torch.Tensor) -> object:
    return network(spectrograms(picture, 2), torch.zeros(2, 64), torch.zeros(2, 1))


def _pose(network: PoseVAE, picture: torch.Tensor) -> object:
    sound = network.embed(spectrograms(picture, 32))[None]
    return network(sound, torch.zeros(1, 6), torch.zeros(1, 64), torch.zeros(1, dtype=torch.long))


_NARROW_AUDIO = (8, 16, 32, 64, 128)
PARTS = (
    Part("expression", "audio2exp.", ExpNet, _expression, narrow={"audio_widths": _NARROW_AUDIO}),
    Part(
        "pose",
        "audio2pose.",
        PoseVAE,
        _pose,
        narrow={"audio_widths": _NARROW_AUDIO, "widths": (8, 16, 32, 64), "discriminator": (16, 32, 64)},
    ),
)


class _Generator(nn.Module):
    def __init__(self, encoder: _PoseEncoder, decoder: _PoseDecoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder


class _PoseDecoder(nn.Module):
    def __init__(self, audio_width: int, widths: tuple[int, ...], styles: int):
        super().__init__()
        self.linear_audio = nn.Linear(audio_width, POSE)
        self.classbias = nn.Parameter(torch.empty(styles, LATENT))
        self.MLP = nn.ModuleDict({"L0": nn.Linear(POSE + LATENT + SEQUENCE * POSE, 128), "L1": nn.Linear(128, SEQUENCE * POSE)})
        self.resunet = _ResUnet(widths)
        self.pose_linear = nn.Linear(POSE, POSE)

    def forward(self, sound: torch.Tensor, pose: torch.Tensor, latent: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        heard = self.linear_audio(sound).flatten(1)  # [N, 32*6]
        x = torch.cat([pose, latent + self.classbias[style], heard], 1)
        x = torch.sigmoid(self.MLP["L1"](F.relu(self.MLP["L0"](x))))
        return self.pose_linear(self.resunet(x.unflatten(1, (1, SEQUENCE, POSE)))[:, 0])


class _PoseEncoder(nn.Module):
    """Holds the tensors of the training-time encoder."""

    def __init__(self, audio_width: int, widths: tuple[int, ...], styles: int):
        super().__init__()
        self.linear_audio = nn.Linear(audio_width, POSE)
        self.classbias = nn.Parameter(torch.empty(styles, LATENT))
        self.MLP = nn.ModuleDict({"L0": nn.Linear(POSE + LATENT + 2 * SEQUENCE * POSE, 128)})
        self.linear_means = nn.Linear(128, LATENT)
        self.linear_logvar = nn.Linear(128, LATENT)
        self.resunet = _ResUnet(widths)


def _discriminator(widths: tuple[int, ...]) -> nn.Module:
    """Holds the tensors of the training-time discriminator."""
    blocks = []
    for inputs, outputs, kernel in zip((POSE, *widths), widths, (4, 4, 3)):
        blocks.append(nn.ModuleDict({"conv": nn.Conv1d(inputs, outputs, kernel, bias=False), "norm": nn.BatchNorm1d(outputs)}))
    return nn.ModuleDict({"seq": nn.ModuleList([*blocks, nn.Conv1d(widths[-1], 1, 3)])})


class _ResUnet(nn.Module):
    """[N, 1, 32, 6] -> the same, 0..1; halves and doubles the frames only."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        a, b, c, d = widths
        self.input_layer = nn.Sequential(nn.Conv2d(1, a, 3, padding=1), nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, a, 3, padding=1))
        self.input_skip = nn.Sequential(nn.Conv2d(1, a, 3, padding=1))
        self.residual_conv_1 = _ResidualConv(a, b, (2, 1))
        self.residual_conv_2 = _ResidualConv(b, c, (2, 1))
        self.bridge = _ResidualConv(c, d, (2, 1))
        self.upsample_1 = _Upsample(d)
        self.up_residual_conv1 = _ResidualConv(d + c, c, 1)
        self.upsample_2 = _Upsample(c)
        self.up_residual_conv2 = _ResidualConv(c + b, b, 1)
        self.upsample_3 = _Upsample(b)
        self.up_residual_conv3 = _ResidualConv(b + a, a, 1)
        self.output_layer = nn.Sequential(nn.Conv2d(a, 1, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        full = self.input_layer(x) + self.input_skip(x)
        half = self.residual_conv_1(full)
        quarter = self.residual_conv_2(half)
        x = self.upsample_1(self.bridge(quarter))
        x = self.upsample_2(self.up_residual_conv1(torch.cat([x, quarter], 1)))
        x = self.upsample_3(self.up_residual_conv2(torch.cat([x, half], 1)))
        return self.output_layer(self.up_residual_conv3(torch.cat([x, full], 1)))


class _Upsample(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(width, width, (2, 1), (2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.upsample(x)


class _ResidualConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int | tuple[int, int]):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, stride, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.conv_skip = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_block(x) + self.conv_skip(x)
