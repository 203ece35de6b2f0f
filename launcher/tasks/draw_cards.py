"""The pictures of the README and of the template cards, from a finished demo: draw_cards.py RESULTS, for `run.py build pictures`.

They show painters' sitters and drawn people only, and say that the pocket model made them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from launcher import places

LABEL = "pocket model: a toy for demonstrations"
PAPER, INK, FAINT = "#f6f4f0", "#22201d", "#77726b"
CARD, MARGIN, GAP, CAPTION = (1200, 675), 40, 24, 34
QUALITY = 88
README_PICTURE, TRAIN, PORTRAIT, PAINT = (
    "assets/pocket-model.jpg", "workflows/Train My Portrait.jpg", "workflows/Portrait In A Style.jpg", "workflows/Face Into A Picture.jpg",
)  # fmt: skip
CARDS = (README_PICTURE, TRAIN, PORTRAIT, PAINT)
GIRL, DRAWN = "girl_with_a_pearl_earring", "drawn_person"


@dataclass(frozen=True)
class Shown:
    """A picture and the words below it."""

    path: Path
    caption: str


def cards(results: Path) -> dict[str, list[Shown]]:
    """What each card shows, by the file it becomes, from the root of the repository."""
    people = results / "people"

    def portraits(person: str, *numbers: int) -> list[Shown]:
        return [Shown(people / person / "portraits" / f"noise_{number}.png", f"with the LoRA, noise {number}") for number in numbers]

    def photo(person: str) -> Shown:
        return Shown(next((people / person / "crops").glob("*.png")), "a photo, as trained")

    base = Shown(results / "base" / "noise_1.png", "without the LoRA, noise 1")
    painted = results / "painted"
    return {
        README_PICTURE: [photo(GIRL), base, *portraits(GIRL, 1, 3)],
        TRAIN: [photo(DRAWN), base, *portraits(DRAWN, 1, 3)],
        PORTRAIT: portraits(GIRL, 1, 2, 3, 4),
        PAINT: [Shown(painted / "before.jpg", "before"), Shown(painted / "after.png", "after")],
    }


def drawn(title: str, shown: Sequence[Shown]) -> Image.Image:
    """A card: pictures side by side, each with its caption, the title above and the label below."""
    card = Image.new("RGB", CARD, PAPER)
    pen = ImageDraw.Draw(card)
    pen.text((MARGIN, MARGIN - 4), title, INK, ImageFont.load_default(38))
    pen.text((MARGIN, CARD[1] - MARGIN - 18), LABEL, FAINT, ImageFont.load_default(24))
    top, room = MARGIN + 64, CARD[1] - 2 * MARGIN - 64 - 40 - CAPTION
    width = min((CARD[0] - 2 * MARGIN - GAP * (len(shown) - 1)) // len(shown), room)
    left = (CARD[0] - width * len(shown) - GAP * (len(shown) - 1)) // 2
    for place, one in enumerate(shown):
        picture = _square(Image.open(one.path).convert("RGB"), width)
        at = (left + place * (width + GAP), top + (room - width) // 2)
        card.paste(picture, at)
        pen.text((at[0] + width // 2, at[1] + width + 8), one.caption, FAINT, ImageFont.load_default(22), anchor="ma")
    return card


def _square(picture: Image.Image, side: int) -> Image.Image:
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, 0
    return picture.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.LANCZOS)


def main(results: Path) -> None:
    for name, shown in cards(results).items():
        target = places.ROOT / name
        title = "A LoRA of one picture" if name.startswith("assets/") else target.stem
        drawn(title, shown).save(target, quality=QUALITY)
        sys.stdout.write(f"{name}: written\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
