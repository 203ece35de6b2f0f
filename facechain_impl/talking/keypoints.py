"""From coefficients to the renderer's key points: 45 numbers per frame."""

from __future__ import annotations

import torch

from ..errors import BadInput
from ..host.memory import ManagedModel
from ..host.progress import check_interrupt
from ..networks.sadtalker.mapping import BINS, HeadMotion, MappingNet
from .motion import AXES, SPACE, MotionPlan

RADIUS = 13  # frames before and after that a frame's motion depends on
BATCH = 64
HALF_TURN = 3.14  # as the networks were trained


def windows(coefficients: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """The input of frames start..stop: [T, C] -> [stop - start, C, 27], the first and last rows repeated outside the clip."""
    rows = torch.arange(start, stop)[:, None] + torch.arange(-RADIUS, RADIUS + 1)
    return coefficients[rows.clamp(0, len(coefficients) - 1)].movedim(1, 2)


def degrees(logits: torch.Tensor) -> torch.Tensor:
    """The expected angle of [N, 66] bins, [N]."""
    return torch.softmax(logits, 1) @ torch.arange(BINS, dtype=logits.dtype, device=logits.device) * 3 - 99


def rotation(yaw: torch.Tensor, pitch: torch.Tensor, roll: torch.Tensor) -> torch.Tensor:
    """Degrees [N] each -> [N, 3, 3]."""
    angles = torch.stack([yaw, pitch, roll]) / 180 * HALF_TURN
    (sy, sp, sr), (cy, cp, cr) = angles.sin(), angles.cos()
    zero, one = torch.zeros_like(sy), torch.ones_like(sy)
    pitched = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], 1)
    yawed = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1)
    rolled = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], 1)
    return pitched.view(-1, 3, 3) @ yawed.view(-1, 3, 3) @ rolled.view(-1, 3, 3)


def moved(canonical: torch.Tensor, motion: HeadMotion, angles: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """Key points [N, 15, 3] of `motion` from canonical ones [1 or N, 15, 3]. angles: axis -> degrees [N] that replace the network's.

    Only the vertical part of the shift is kept, as the renderer was trained."""
    found = {axis: degrees(getattr(motion, axis)) for axis in AXES} | (angles or {})
    turned = canonical @ rotation(**found).mT
    shift = motion.shift * torch.tensor([0.0, 1.0, 0.0], device=motion.shift.device)
    return turned + shift[:, None] + motion.expression.unflatten(1, (-1, 3))


class PointPlanner:
    """Key points of a plan, by the mapping network in the ManagedModel `mapping`."""

    def __init__(self, mapping: ManagedModel[MappingNet]):
        self.mapping = mapping

    def source(self, coefficients: torch.Tensor, canonical: torch.Tensor) -> torch.Tensor:
        """Key points [1, 15, 3] of the picture itself, from its coefficients [73]."""
        network = self.mapping.load()
        rows = coefficients[None, : network.coefficients]
        return moved(canonical, network(windows(rows, 0, 1).to(self.mapping.device)))

    def driving(self, plan: MotionPlan, coefficients: torch.Tensor, canonical: torch.Tensor) -> torch.Tensor:
        """Key points [T, 15, 3] on the CPU. coefficients: [73] of the picture. Raises BadInput for a plan of another renderer."""
        if plan.space != SPACE:
            raise BadInput(f"This motion plan is for {plan.space}; this renderer needs {SPACE}. Make the plan with the same driver.")
        network, device = self.mapping.load(), self.mapping.device
        rows = plan.coefficients
        if network.coefficients > rows.shape[1]:
            rows = torch.cat([rows, coefficients[rows.shape[1] :].expand(len(rows), -1)], 1)
        parts = []
        for start in range(0, len(plan), BATCH):
            check_interrupt()
            stop = min(start + BATCH, len(plan))
            angles = {axis: curve[start:stop].to(device) for axis, curve in plan.angles.items()}
            parts.append(moved(canonical, network(windows(rows, start, stop).to(device)), angles).cpu())
        return torch.cat(parts)
