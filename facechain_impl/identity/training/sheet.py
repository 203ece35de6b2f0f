"""The contact sheet of a training: the sample portraits of every look, with step and scores, and both curves."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from ...geometry.pixels import to_bytes
from .judge import Look, noise

SIDE, TEXT, GAP = 128, 14, 6
LABEL_WIDTH, PLOT_HEIGHT = 150, 150
GROUND, INK, MARK, QUIET = (24, 24, 27), (228, 228, 231), (180, 83, 9), (113, 113, 122)


def thumbnails(pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pictures [H, W, 3] in 0..1 as uint8 [N, SIDE, SIDE, 3]."""
    small = [F.interpolate(one.movedim(-1, 0)[None].float(), (SIDE, SIDE), mode="bilinear", antialias=True)[0] for one in pictures]
    return torch.from_numpy(np.stack([to_bytes(one.movedim(0, -1).clamp(0, 1)) for one in small]))


def joined(portraits: Mapping[int, torch.Tensor]) -> torch.Tensor | None:
    """`thumbnails` by step as one picture [H, W, 3] in 0..1, to keep: a row for each step. None where there are none."""
    rows = [torch.cat(list(portraits[step]), 1) for step in sorted(portraits)]
    return torch.cat(rows).float() / 255 if rows else None


def apart(picture: torch.Tensor | None, looks: Sequence[Look]) -> dict[int, torch.Tensor]:
    """The reverse of `joined`; empty where the picture is not of these looks."""
    steps = [look.step for look in looks if look.scores]
    if picture is None or picture.shape[0] != len(steps) * SIDE:
        return {}
    tiles = torch.from_numpy(to_bytes(picture)).unflatten(0, (len(steps), SIDE)).unflatten(2, (-1, SIDE))
    return dict(zip(steps, tiles.transpose(1, 2)))


def drawn(
    looks: Sequence[Look], portraits: Mapping[int, torch.Tensor], used: Look | None, averaged: Collection[int] = ()
) -> torch.Tensor | None:
    """The sheet [H, W, 3] in 0..1, or None where there is nothing to show. portraits: `thumbnails` by step. used: is marked, and so are
    the steps of which the weights are the mean, `averaged`."""
    if not looks:
        return None
    columns = max((len(portraits[step]) for step in portraits), default=2)
    rows = SIDE + GAP if portraits else 3 * TEXT + GAP
    sheet = Image.new("RGB", (LABEL_WIDTH + columns * (SIDE + GAP) + GAP, len(looks) * rows + PLOT_HEIGHT + 2 * GAP), GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for row, look in enumerate(looks):
        top = GAP + row * rows
        is_used = look is used or look.step in averaged
        if is_used:
            pen.rectangle((0, top - GAP // 2, sheet.width - 1, top + rows - GAP // 2), outline=MARK, width=3)
        pen.multiline_text((2 * GAP, top + GAP), _label(look, is_used), INK, font, spacing=4)
        for column, picture in enumerate(portraits.get(look.step, ())):
            sheet.paste(Image.fromarray(picture.numpy()), (LABEL_WIDTH + column * (SIDE + GAP), top))
    box = (LABEL_WIDTH // 4, len(looks) * rows + 4 * GAP, sheet.width - LABEL_WIDTH // 4, sheet.height - 2 * TEXT)
    _draw_curves(_Plot(pen, font, box, looks[-1].step, used.step if used else 0), looks)
    return torch.from_numpy(np.asarray(sheet, np.float32) / 255)


def _label(look: Look, used: bool) -> str:
    lines = [f"step {look.step}" + (" (used)" if used else "")]
    lines += [] if look.score is None else [f"likeness {look.score:.3f}"]
    return "\n".join([*lines, f"loss {look.loss:.4f}"])


@dataclass(frozen=True)
class _Plot:
    """Where a curve goes. box: left, top, right, bottom. last: the step at its right end. marked: the step with a mark, or 0."""

    pen: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    box: tuple[int, int, int, int]
    last: int
    marked: int

    def curve(self, name: str, points: Sequence[tuple[int, float]], colour: tuple[int, int, int], error: float, shift: int) -> None:
        """One curve over the whole height, with its name and range below, `shift` from the left. error: of each point, up and down."""
        left, top, right, bottom = self.box
        values = [value for _, value in points]
        low, span = min(values) - error, max(max(values) - min(values) + 2 * error, 1e-6)
        places = [(left + (right - left) * step / self.last, bottom - (bottom - top) * (value - low) / span) for step, value in points]
        if len(places) > 1:
            self.pen.line(places, colour, 2)
        reach = (bottom - top) * error / span
        for (x, y), (step, _) in zip(places, points):
            self.pen.line((x, y - reach, x, y + reach), colour)
            self.pen.ellipse((x - 3, y - 3, x + 3, y + 3), MARK if step == self.marked else colour)
        self.pen.text((left + shift, bottom + 4), f"{name} {min(values):.3f} to {max(values):.3f}", colour, self.font)


def _draw_curves(plot: _Plot, looks: Sequence[Look]) -> None:
    """Likeness with its standard error, and the validation loss, over the steps."""
    left, _, right, bottom = plot.box
    plot.pen.line((left, bottom, right, bottom), QUIET)
    plot.curve("loss", [(look.step, look.loss) for look in looks], QUIET, 0.0, 240)
    if scored := [(look.step, look.score) for look in looks if look.score is not None]:
        spread = noise([look for look in looks if look.scores])
        plot.curve("likeness", scored, INK, spread if math.isfinite(spread) else 0.0, 0)
    plot.pen.text((right - 60, bottom + 4), f"step {plot.last}", QUIET, plot.font)
