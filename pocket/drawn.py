"""People who do not exist, drawn by a program: heads of displaced ellipsoids with painted features, in any view and light.

They teach the pocket model faces without anybody's face, and one of them is a sample person of the demo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .captions import Words

SIDE = 128
POINTS = 220
"""Of a surface in each direction."""
FINE = 2
"""Pixels are drawn this many times finer in each direction, then averaged."""
SKINS = np.array([[244, 214, 190], [230, 188, 156], [206, 158, 122], [172, 122, 88], [124, 84, 60], [92, 60, 44]]) / 255
HAIRS = {
    "black": (28, 24, 24), "brown": (82, 54, 36), "red": (140, 66, 32), "blond": (206, 170, 104), "grey": (160, 158, 156),
    "white": (228, 226, 222),
}  # fmt: skip
CLOTHES = {
    "dark": (44, 42, 48), "red": (148, 40, 38), "blue": (50, 72, 128), "green": (56, 96, 62), "yellow": (206, 166, 64),
    "white": (226, 222, 212),
}  # fmt: skip
BACKGROUNDS = {"dark": (40, 36, 34), "grey": (128, 126, 124), "blue": (104, 128, 158), "green": (86, 104, 80), "light": (214, 208, 196)}
IRISES = np.array([[70, 44, 28], [96, 70, 40], [76, 100, 82], [84, 116, 150], [60, 66, 72]]) / 255
LIPS = np.array([176, 84, 82]) / 255
WHITE_OF_EYE = np.array([0.93, 0.91, 0.88])


@dataclass(frozen=True, kw_only=True)
class DrawnPerson:
    """What stays the same in every picture of a person. Lengths are shares of the head's half height."""

    sex: str
    hair: str
    clothes: str
    skin: np.ndarray
    iris: np.ndarray
    width: float
    jaw: float
    eye_distance: float
    eye_height: float
    eye_size: float
    brow: float
    brow_height: float
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float
    lips: float
    cheeks: float
    age: float
    hairline: float
    hair_length: float
    hair_volume: float
    parting: float
    beard: float
    hat: bool

    @property
    def words(self) -> Words:
        extras = [f"{self.hair} hair"] if self.hair_volume else ["bald"]
        extras += ["beard"] * (self.beard > 0) + ["hat"] * self.hat + [f"{self.clothes} clothes"]
        return Words("drawing", self.sex, tuple(extras))


@dataclass(frozen=True, kw_only=True)
class View:
    """What differs between pictures. Angles in degrees; light: where it comes from; shift and scale of the head in the picture."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    light: tuple[float, float, float] = (0.4, 0.5, 0.8)
    ambient: float = 0.45
    scale: float = 0.8
    shift: tuple[float, float] = (0.0, -0.02)
    smile: float = 0.0
    background: str = "grey"
    grain: float = 0.01


def person(rng: np.random.Generator) -> DrawnPerson:
    """A person drawn at random."""
    sex = str(rng.choice(["man", "woman"]))
    man, u = sex == "man", rng.uniform
    place = rng.uniform(0, len(SKINS) - 1)
    skin = SKINS[int(place)] + (SKINS[int(place) + 1] - SKINS[int(place)]) * (place % 1)
    return DrawnPerson(
        sex=sex, hair=str(rng.choice(list(HAIRS))), clothes=str(rng.choice(list(CLOTHES))), skin=skin,
        iris=IRISES[rng.integers(len(IRISES))], width=u(0.66, 0.84), jaw=u(0.1, 0.3) - 0.08 * man,
        eye_distance=u(0.26, 0.36), eye_height=u(0.06, 0.16), eye_size=u(0.095, 0.135),
        brow=u(0.025, 0.05) + 0.015 * man, brow_height=u(0.13, 0.19), nose_length=u(0.32, 0.46), nose_width=u(0.09, 0.15) + 0.02 * man,
        mouth_width=u(0.2, 0.32), mouth_height=u(-0.56, -0.46), lips=u(0.05, 0.08) + 0.025 * (not man), cheeks=u(0, 0.5), age=u(0, 1) ** 2,
        hairline=u(0.42, 0.62), hair_length=u(-1.3, -0.5) if not man or u() < 0.25 else u(0.0, 0.3),
        hair_volume=0.0 if man and u() < 0.15 else u(0.06, 0.2), parting=u(-0.25, 0.25), beard=u(0.4, 1) if man and u() < 0.4 else 0.0,
        hat=u() < 0.12,
    )  # fmt: skip


def view(rng: np.random.Generator) -> View:
    """A view drawn at random: mostly near the front."""
    u = rng.uniform
    return View(
        yaw=float(np.clip(rng.normal(0, 16), -40, 40)), pitch=float(np.clip(rng.normal(0, 6), -15, 15)), roll=float(rng.normal(0, 4)),
        light=(u(-0.9, 0.9), u(-0.1, 0.9), u(0.5, 1.0)), ambient=u(0.3, 0.6), scale=u(0.66, 1.0), shift=(u(-0.12, 0.12), u(-0.1, 0.1)),
        smile=u(-0.3, 1.0), background=str(rng.choice(list(BACKGROUNDS))), grain=u(0.0, 0.015),
    )  # fmt: skip


def draw(who: DrawnPerson, seen: View, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """`who` as (side, side, 3) uint8 RGB. The same arguments give the same picture."""
    rng = np.random.default_rng(seed)
    size = side * FINE
    picture = _background(seen, size)
    depth = np.full(size * size, -np.inf)
    flat = picture.reshape(-1, 3)
    head = _rotation(seen.yaw, seen.pitch, seen.roll)
    body = _rotation(seen.yaw * 0.4, 0, 0)
    points = max(POINTS, POINTS * side // SIDE)
    for surface in (_shoulders(who, points), _neck(who, points)):
        _splat(flat, depth, size, surface, body, seen)
    for surface in (_face(who, seen, points), _ears(who, points), *_hair(who, points), *_hat(who, points)):
        _splat(flat, depth, size, surface, head, seen)
    small = picture.reshape(side, FINE, side, FINE, 3).mean((1, 3))
    small += rng.normal(0, 1, (side, side, 1)) * seen.grain
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class _Surface:
    """points, colours (rows, columns, 3): a grid of points around the head's middle. shiny: its gloss. open: its inside is seen as well."""

    points: np.ndarray
    colours: np.ndarray
    shown: np.ndarray | None = None
    shiny: float = 0.0
    open: bool = False


def _sphere(points: int) -> np.ndarray:
    """Directions (rows, columns, 3)."""
    across, up = np.meshgrid(np.linspace(-np.pi, np.pi, points * 2), np.linspace(-np.pi / 2, np.pi / 2, points))
    return np.stack([np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up)], axis=-1).astype(np.float32)


def _bump(x: np.ndarray, y: np.ndarray, at: tuple[float, float], spread: tuple[float, float]) -> np.ndarray:
    return np.exp(-(((x - at[0]) / spread[0]) ** 2) - ((y - at[1]) / spread[1]) ** 2)


def _step(value: np.ndarray, softness: float) -> np.ndarray:
    """0 below zero, 1 above it."""
    return 1 / (1 + np.exp(-np.clip(value / softness, -30, 30)))


def _face(who: DrawnPerson, seen: View, points: int) -> _Surface:
    d = _sphere(points)
    x, y = _face_outline(who, d)
    z = d[..., 2] * 0.85
    front = _step(d[..., 2] - 0.2, 0.08)
    e, h, tip = who.eye_distance, who.eye_height, who.eye_height - who.nose_length
    sides = (-1, 1)
    z = z + front * (
        -0.08 * sum(_bump(x, y, (s * e, h), (0.15, 0.1)) for s in sides)
        + 0.05 * sum(_bump(x, y, (s * e, h + who.brow_height), (0.2, 0.06)) for s in sides)
        + 0.04 * sum(_bump(x, y, (s * e * 1.25, -0.2), (0.18, 0.2)) for s in sides)
        + _nose(who, x, y)
        + 0.05 * _bump(x, y, (0, who.mouth_height), (who.mouth_width, 0.1))
        + 0.07 * _bump(x, y, (0, -0.85), (0.2, 0.13))
    )
    colours = np.broadcast_to(who.skin, (*x.shape, 3)).copy()
    red = who.skin * [1.08, 0.82, 0.8]
    _paint(colours, red, 0.6 * who.cheeks * sum(_bump(x, y, (s * e * 1.3, -0.2), (0.17, 0.15)) for s in sides) * front)
    _paint(colours, red, 0.35 * _bump(x, y, (0, tip), (who.nose_width, 0.1)) * front)
    _paint(colours, who.skin * 0.3, 0.8 * sum(_bump(x, y, (s * who.nose_width * 0.55, tip - 0.05), (0.03, 0.02)) for s in sides) * front)
    _paint_age(colours, who, x, y, front)
    _paint_beard(colours, who, x, y, front)
    _paint_mouth(colours, who, seen, x, y, front)
    for side in sides:
        _paint_eye(colours, who, x - side * e, y - h, side, front)
    return _Surface(np.stack([x, y, z], -1), colours, shiny=0.12)


def _face_outline(who: DrawnPerson, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = d[..., 1]
    narrower = 1 - who.jaw * _step(-y - 0.35, 0.16) - 0.06 * _step(y - 0.5, 0.2)
    return d[..., 0] * who.width * narrower, y


def _nose(who: DrawnPerson, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height above the face."""
    top, tip = who.eye_height + 0.05, who.eye_height - who.nose_length
    along = np.clip((top - y) / (top - tip), 0, 1.3)
    profile = np.where(along <= 1, along**1.2, np.clip(1 - (along - 1) * 6, 0, 1))
    width = who.nose_width * (0.45 + 0.55 * np.clip(along, 0, 1))
    wings = 0.06 * sum(_bump(x, y, (s * who.nose_width * 0.8, tip), (0.06, 0.06)) for s in (-1, 1))
    return 0.24 * profile * np.exp(-((x / width) ** 2)) + wings


def _paint(colours: np.ndarray, colour: np.ndarray, amount: np.ndarray) -> None:
    colours += (np.asarray(colour) - colours) * np.clip(amount, 0, 1)[..., None]


def _paint_eye(colours: np.ndarray, who: DrawnPerson, x: np.ndarray, y: np.ndarray, side: int, front: np.ndarray) -> None:
    size = who.eye_size
    lid = size * 0.55 * (1 - np.clip(np.abs(x) / size, 0, 1) ** 2)
    inside = _step(lid - np.abs(y), 0.008) * _step(size - np.abs(x), 0.008) * front
    far = np.hypot(x, y)
    _paint(colours, who.skin * 0.72, 0.6 * _bump(x, y, (0, 0.03), (size * 1.2, size * 0.8)) * front)
    _paint(colours, WHITE_OF_EYE, inside)
    _paint(colours, who.iris, inside * _step(size * 0.48 - far, 0.008))
    _paint(colours, np.full(3, 0.04), inside * _step(size * 0.22 - far, 0.006))
    _paint(colours, np.ones(3), 0.9 * inside * _step(size * 0.11 - np.hypot(x - 0.02, y - 0.025), 0.005))
    _paint(colours, np.full(3, 0.08), 0.9 * np.exp(-(((y - lid) / 0.018) ** 2)) * _step(size * 1.05 - np.abs(x), 0.01) * front)
    _paint(colours, who.skin * 0.5, 0.5 * np.exp(-(((y + lid) / 0.012) ** 2)) * _step(size - np.abs(x), 0.01) * front)
    arch = who.brow_height + 0.03 - 0.1 * (x * side / size / 2 - 0.15) ** 2
    brow = np.exp(-(((y - arch) / who.brow) ** 4)) * _step(size * 1.35 - np.abs(x), 0.02) * front
    _paint(colours, np.array(HAIRS[who.hair]) / 255 * 0.7, 0.85 * brow)


def _paint_mouth(colours: np.ndarray, who: DrawnPerson, seen: View, x: np.ndarray, y: np.ndarray, front: np.ndarray) -> None:
    middle = who.mouth_height + 0.09 * seen.smile * (x / who.mouth_width) ** 2
    share = np.clip(np.abs(x) / who.mouth_width, 0, 1)
    upper, lower = who.lips * (1 - share**2) * (1 - 0.25 * np.exp(-((x / 0.04) ** 2))), who.lips * 1.25 * (1 - share**2)
    inside = _step(who.mouth_width - np.abs(x), 0.01) * front
    lips = inside * _step(middle + upper - y, 0.008) * _step(y - middle + lower, 0.008)
    colour = who.skin * 0.35 + LIPS * 0.65
    _paint(colours, colour, lips * 0.9)
    _paint(colours, colour * 0.3, inside * np.exp(-(((y - middle) / 0.014) ** 2)))
    _paint(colours, who.skin * 0.7, 0.5 * _bump(x, y, (0, who.mouth_height - 0.16), (0.14, 0.03)) * front)


def _paint_age(colours: np.ndarray, who: DrawnPerson, x: np.ndarray, y: np.ndarray, front: np.ndarray) -> None:
    for side in (-1, 1):
        line = who.mouth_width * 0.95 - 0.25 * (y + 0.45)
        fold = np.exp(-(((side * x - line) / 0.02) ** 2)) * _step(y - who.mouth_height, 0.05) * _step(-0.18 - y, 0.04)
        bag = np.exp(-(((y - who.eye_height + 0.11 - 0.5 * (x - side * who.eye_distance) ** 2) / 0.015) ** 2))
        bag = bag * _step(0.12 - np.abs(x - side * who.eye_distance), 0.02)
        _paint(colours, who.skin * 0.6, who.age * 0.6 * (fold + bag) * front)
    for height in (0.42, 0.5):
        crease = np.exp(-(((y - height - 0.04 * np.cos(6 * x)) / 0.012) ** 2)) * _step(0.35 - np.abs(x), 0.05)
        _paint(colours, who.skin * 0.65, who.age * 0.5 * crease * front)


def _paint_beard(colours: np.ndarray, who: DrawnPerson, x: np.ndarray, y: np.ndarray, front: np.ndarray) -> None:
    if not who.beard:
        return
    tip = who.eye_height - who.nose_length
    below = _step(tip - 0.06 - 0.5 * (np.abs(x) < 0.12) * 0.05 + 0.9 * np.maximum(np.abs(x) - 0.3, 0) - y, 0.03)
    colour = np.array(HAIRS[who.hair]) / 255
    strands = 0.85 + 0.3 * np.sin(90 * x + 7 * np.sin(30 * y))
    _paint(colours, colour, who.beard * 0.95 * below * np.clip(strands, 0, 1) * _step(front - 0.05, 0.1))


def _ears(who: DrawnPerson, points: int) -> _Surface:
    d = _sphere(points // 2)
    both = [np.stack([s * who.width * 0.97 + d[..., 0] * 0.07, d[..., 1] * 0.19 - 0.02, d[..., 2] * 0.12 - 0.05], -1) for s in (-1, 1)]
    stacked = np.concatenate(both, axis=1)
    return _Surface(stacked, np.broadcast_to(who.skin * [1.0, 0.9, 0.88], stacked.shape))


def _neck(who: DrawnPerson, points: int) -> _Surface:
    angle, up = np.meshgrid(np.linspace(-np.pi, np.pi, points * 2), np.linspace(-1.9, -0.5, points))
    radius = 0.42 if who.sex == "man" else 0.34
    xyz = np.stack([radius * np.sin(angle) * (1 + 0.3 * np.maximum(-1.3 - up, 0)), up, radius * np.cos(angle) - 0.2], -1)
    return _Surface(xyz, np.broadcast_to(who.skin * 0.9, xyz.shape))


def _shoulders(who: DrawnPerson, points: int) -> _Surface:
    d = _sphere(points)
    xyz = np.stack([d[..., 0] * (1.65 if who.sex == "man" else 1.4), d[..., 1] * 0.75 - 2.05, d[..., 2] * 0.7 - 0.2], -1)
    cloth = np.array(CLOTHES[who.clothes]) / 255
    colours = np.broadcast_to(cloth, xyz.shape).copy()
    collar = np.abs(xyz[..., 0]) < 0.22 + 0.5 * np.maximum(xyz[..., 1] + 1.75, 0)
    _paint(colours, who.skin * 0.9, (collar & (xyz[..., 1] > -1.75 + 0.9 * np.abs(xyz[..., 0]) - 0.1)))
    return _Surface(xyz, colours)


def _hair(who: DrawnPerson, points: int) -> list[_Surface]:
    if not who.hair_volume:
        return []
    d = _sphere(points + points // 2)
    volume = 1 + who.hair_volume
    long = _step(-d[..., 1], 0.2) * max(0.0, -who.hair_length)
    xyz = np.stack([d[..., 0] * (who.width * volume + 0.05), d[..., 1] * volume - long * 0.5 + 0.03, d[..., 2] * 0.85 * volume - 0.08], -1)
    x, y, z = np.moveaxis(xyz, -1, 0)
    edge = who.hairline + who.parting * x - 0.35 * (np.abs(x) / who.width) ** 2
    shown = (y > who.hair_length) & ~((z > 0.05 + 0.12 * np.maximum(-y, 0)) & (y < edge))
    strands = 0.92 + 0.08 * np.sin(37 * np.arctan2(x, z + 0.4) + 5 * y) + 0.06 * np.sin(13 * x + 9 * y)
    return [_Surface(xyz, np.array(HAIRS[who.hair]) / 255 * strands[..., None], shown, shiny=0.15, open=True)]


def _hat(who: DrawnPerson, points: int) -> list[_Surface]:
    if not who.hat:
        return []
    d = _sphere(points)
    volume = 1.1 + who.hair_volume
    crown = np.stack([d[..., 0] * who.width * volume, 0.55 + np.maximum(d[..., 1], 0) * 0.75, d[..., 2] * 0.9 * volume - 0.05], -1)
    angle, radius = np.meshgrid(np.linspace(-np.pi, np.pi, points * 2), np.linspace(0.6, 1.35, points))
    brim = np.stack([radius * np.sin(angle) * volume * 0.95, 0.56 + 0.05 * (radius - 0.6), radius * np.cos(angle) * volume * 0.8], -1)
    colour = np.array(CLOTHES[who.clothes]) / 255 * 0.75
    return [_Surface(part, np.broadcast_to(colour, part.shape)) for part in (crown, brim)]


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    a, b, c = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return tilt @ nod @ turn


def _splat(picture: np.ndarray, depth: np.ndarray, size: int, surface: _Surface, rotation: np.ndarray, seen: View) -> None:
    """Draw the points of a surface that are nearer than what is there."""
    xyz = surface.points.astype(np.float32) @ rotation.T.astype(np.float32)
    light, keep = _lit(xyz, surface, seen)
    if surface.shown is not None:
        keep = (keep | surface.open) & surface.shown
    x = (seen.shift[0] + xyz[..., 0] * seen.scale + 1) * size / 2
    y = (1 - seen.shift[1] - xyz[..., 1] * seen.scale) * size / 2
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    keep = keep & (column >= 0) & (column < size) & (row >= 0) & (row < size)
    place, near, colour = (row * size + column)[keep], xyz[..., 2][keep], light[keep]
    order = np.argsort(near, kind="stable")
    place, near, colour = place[order], near[order], colour[order]
    for offset in (0, 1, size, size + 1):
        at = np.minimum(place + offset, size * size - 1)
        visible = near > depth[at]
        picture[at[visible]] = colour[visible]
        depth[at[visible]] = near[visible]


def _lit(xyz: np.ndarray, surface: _Surface, seen: View) -> tuple[np.ndarray, np.ndarray]:
    """Colours under the light, diffuse with a little gloss, and which points face the viewer."""
    down, across = np.gradient(xyz, axis=0), np.gradient(xyz, axis=1)
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    light = (np.array(seen.light) / np.linalg.norm(seen.light)).astype(np.float32)
    diffuse = np.clip(normal @ light, 0, 1)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    gloss = surface.shiny * np.clip(normal @ half, 0, 1) ** 24
    colours = surface.colours * (seen.ambient + (1.05 - seen.ambient) * diffuse)[..., None] + gloss[..., None]
    return np.clip(colours, 0, 1).astype(np.float32), normal[..., 2] > -0.1


def _background(seen: View, size: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(1, -1, size))
    glow = 1 + 0.25 * (x * seen.light[0] + y * seen.light[1]) - 0.1 * (x**2 + y**2)
    return np.clip(np.array(BACKGROUNDS[seen.background]) / 255 * glow[..., None], 0, 1)


SAMPLE_SEED, SAMPLE_SIDE, SAMPLE_SCALE = 3, 320, 0.5
SAMPLE_VIEWS = (
    View(light=(0.4, 0.5, 0.9), background="grey"),
    View(yaw=-14, light=(-0.5, 0.4, 0.8), background="blue", smile=0.4),
    View(yaw=13, pitch=4, light=(0.6, 0.3, 0.8), background="green"),
    View(yaw=-5, pitch=-5, roll=4, light=(0.1, 0.7, 0.8), background="light", smile=0.8),
    View(yaw=7, roll=-4, light=(-0.3, 0.6, 0.8), background="dark", smile=0.2),
    View(yaw=-9, pitch=3, light=(0.5, 0.2, 0.9), background="grey", smile=0.6),
)
HELD_OUT_VIEW = View(yaw=3, pitch=1, light=(0.2, 0.5, 0.9), background="light", smile=0.3)


def sample_person() -> DrawnPerson:
    """The drawn person of the demo, whom the pocket model never sees."""
    return replace(person(np.random.default_rng(SAMPLE_SEED)), hair="brown", hat=False)


def sample_pictures(side: int = SAMPLE_SIDE) -> tuple[list[np.ndarray], np.ndarray]:
    """The sample person's pictures to train on, and the one that is held out."""
    seen = [replace(one, scale=SAMPLE_SCALE) for one in (*SAMPLE_VIEWS, HELD_OUT_VIEW)]
    *views, held_out = (draw(sample_person(), one, side, seed) for seed, one in enumerate(seen))
    return views, held_out
