"""A face detector that needs no download: cascades of OpenCV 4, which are part of this repository.

One cascade alone misses tilted faces and finds faces in neckties. So places are proposed freely, at three angles, and each is then
checked closely, at its best angle and four beside it, by three cascades: the share of the fifteen checks that agree is the score.
Pictures here are uint8 grey [H, W]; a turn is the angle in degrees, counter-clockwise, that makes a face upright.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..errors import WeightsError
from ..geometry.affine import invert, transform_points

CASCADES = Path(__file__).resolve().parents[2] / "assets" / "cascades"
FACES = ("frontalface_alt2", "frontalface_default", "frontalface_alt")
EYES = ("eye", "eye_tree_eyeglasses")
SEARCH_SIDE, DETAIL_SIDE = 640, 1600
SEARCH_TURNS = (0, -25, 25)
COARSE_STEP = 20
FINE_TURNS = (-20, -10, 0, 10, 20)
SEARCH_SCALE = 1.2
COARSE_FACE, FINE_FACE = 60, 100
EYE_PATCH, EYE_FACE = 300, 200
ACCEPT, UPSIDE_DOWN = 0.65, 0.15
# Centres of the eyes in the square that a cascade calls a face, in fractions of its side.
EYE_PLACES = np.array([[0.316, 0.39], [0.684, 0.39]])


@dataclass(frozen=True)
class Location:
    """A square face of side `side` around (x, y), upright after `turn`; `score` is the share of agreement."""

    x: float
    y: float
    side: float
    rotation: float = 0.0
    score: float = 0.0

    def overlaps(self, other: Location) -> bool:
        near = np.hypot(self.x - other.x, self.y - other.y) < 0.5 * max(self.side, other.side)
        return near and 0.5 < self.side / other.side < 2


@dataclass(frozen=True)
class Seen:
    """A face in the pixels of the picture: eyes float64 [2, 2], side of its square, score 0..1."""

    eyes: np.ndarray
    side: float
    score: float


class HaarFaces:
    """Finds faces and their eyes, one picture at a time."""

    def __init__(self) -> None:
        self._faces = [_cascade(name) for name in FACES]
        self._eyes = [_cascade(name) for name in EYES]

    def find(self, grey: np.ndarray) -> list[Seen]:
        """The faces in `grey`, best first. A picture without an upright face is searched again on its side and upside down."""
        detail, scale = _shrunk(grey, DETAIL_SIDE)
        detail = _lit(detail)
        for quarters in range(4):
            turned = np.ascontiguousarray(np.rot90(detail, quarters))
            faces = self.faces(turned)
            if faces:
                eyes = [_unturned(self.eyes(turned, face), quarters, detail.shape) for face in faces]
                return [Seen((pair + 0.5) / scale - 0.5, face.side / scale, face.score) for pair, face in zip(eyes, faces)]
        return []

    def faces(self, grey: np.ndarray) -> list[Location]:
        judged = [self.judge(grey, location) for location in self.propose(grey)]
        return _distinct(sorted((location for location in judged if location.score >= ACCEPT), key=lambda location: -location.score))

    def propose(self, grey: np.ndarray) -> list[Location]:
        """Every place where one of two cascades finds a face at one of the angles."""
        small, scale = _shrunk(grey, SEARCH_SIDE)
        locations = []
        for rotation in SEARCH_TURNS:
            turned, matrix = _turned(small, rotation)
            for cascade in self._faces[:2]:
                for x, y, side, _ in cascade.detectMultiScale(turned, SEARCH_SCALE, 2, minSize=(20, 20)):
                    centre_x, centre_y = _back(x + side / 2, y + side / 2, matrix) / scale
                    locations.append(Location(centre_x, centre_y, side / scale))
        return _distinct(locations)

    def judge(self, grey: np.ndarray, location: Location) -> Location:
        """`place` at its best angle, moved to where the cascades agree, with the share of them that do.

        Some faces also match upside down: of two equal scores the upright one counts."""
        found = [self._fine(grey, location, votes) for votes in self._coarse(grey, location)]
        return max(found, key=lambda one: one.score - UPSIDE_DOWN * (abs(one.rotation) > 90), default=location)

    def _coarse(self, grey: np.ndarray, location: Location) -> list[list[Location]]:
        """The votes of two cascades around each angle, all round the circle, at which they agree about as well as at the best."""
        votes = [self._votes(grey, location, rotation, self._faces[:2], COARSE_FACE) for rotation in range(0, 360, COARSE_STEP)]
        around = [(votes[i - 1], votes[i], votes[(i + 1) % len(votes)]) for i in range(len(votes))]
        weights = [len(before) + 2 * len(here) + len(after) for before, here, after in around]
        peaks = [i for i in range(len(votes)) if weights[i] and weights[i - 1] < weights[i] >= weights[(i + 1) % len(votes)]]
        return [[*around[i][0], *around[i][1], *around[i][2]] for i in peaks if weights[i] > 0.6 * max(weights)]

    def _fine(self, grey: np.ndarray, location: Location, coarse: list[Location]) -> Location:
        rotation = _mean_angle([vote.rotation for vote in coarse])
        location = _mean(location, coarse)
        fine = [vote for step in FINE_TURNS for vote in self._votes(grey, location, rotation + step, self._faces, FINE_FACE)]
        if not fine:
            return location
        score = len(fine) / (len(FINE_TURNS) * len(self._faces))
        return replace(_mean(location, fine), rotation=_mean_angle([vote.rotation for vote in fine]), score=score)

    def _votes(self, grey: np.ndarray, location: Location, rotation: float, cascades: list, face: int) -> list[Location]:
        """Where each cascade finds a face in the middle of the turned patch around `place`, at most one vote each.

        face: how many pixels wide the face of the patch is."""
        patch, matrix = _patch(grey, location, rotation, 2 * face, face)
        votes = []
        for cascade in cascades:
            squares = cascade.detectMultiScale(patch, 1.1, 2, minSize=(int(0.65 * face),) * 2, maxSize=(int(1.6 * face),) * 2)
            centred = [(np.hypot(x + side / 2 - face, y + side / 2 - face), x + side / 2, y + side / 2, side) for x, y, side, _ in squares]
            distance, x, y, side = min(centred, default=(face, 0, 0, 0))
            if distance < 0.3 * face:
                centre_x, centre_y = _back(x, y, matrix)
                votes.append(Location(centre_x, centre_y, side * location.side / face, rotation))
        return votes

    def eyes(self, grey: np.ndarray, face: Location) -> np.ndarray:
        """Both eyes [2, 2] of `face`; where no cascade finds one, its usual place."""
        patch, matrix = _patch(grey, face, face.rotation, EYE_PATCH, EYE_FACE)
        expected = (EYE_PLACES - 0.5) * EYE_FACE + EYE_PATCH / 2
        seen = [self._eye(patch, location) for location in expected]
        return transform_points(np.stack(seen), invert(matrix))

    def _eye(self, patch: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The median of the eyes that the cascades find close to `expected`."""
        reach = int(0.22 * EYE_FACE)
        left, top = (expected - reach).astype(int)
        window = np.ascontiguousarray(patch[top : top + 2 * reach, left : left + 2 * reach])
        centres = [
            (left + x + side / 2, top + y + side / 2)
            for cascade in self._eyes
            for x, y, side, _ in cascade.detectMultiScale(window, 1.05, 2, minSize=(30, 30), maxSize=(80, 80))
        ]
        return np.median(centres, axis=0) if centres else expected


def can_run() -> bool:
    """Whether this OpenCV runs cascades: 4 does, and the contrib builds of 5."""
    return hasattr(cv2, "CascadeClassifier")


def _cascade(name: str) -> cv2.CascadeClassifier:
    file = CASCADES / f"haarcascade_{name}.xml.gz"
    if not file.is_file():
        raise WeightsError(f"The built-in face detector needs {file}, which is missing. Install the pack again.")
    return cv2.CascadeClassifier(str(file))


def _shrunk(grey: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    scale = min(1.0, side / max(grey.shape))
    if scale == 1.0:
        return grey, scale
    height, width = (max(round(length * scale), 1) for length in grey.shape)
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), scale


def _lit(grey: np.ndarray) -> np.ndarray:
    """A dark picture stretched to an ordinary range; others unchanged."""
    low, high = np.percentile(grey, [1, 99])
    return cv2.convertScaleAbs(grey, alpha=255 / high) if low < 0.5 * high < 64 and high > 0 else grey


def _turned(grey: np.ndarray, rotation: float) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture turned on a larger grey canvas, and its matrix."""
    if not rotation:
        return grey, np.eye(2, 3)
    height, width = grey.shape
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), rotation, 1)
    matrix[:, 2] += np.array([(side - width) / 2, (side - height) / 2])
    return cv2.warpAffine(grey, matrix, (side, side), borderValue=128), matrix


def _back(x: float, y: float, matrix: np.ndarray) -> np.ndarray:
    """The point [2] of the picture that `matrix`, picture -> patch, brings to x, y."""
    return transform_points(np.array([[x, y]]), invert(matrix))[0]


def _patch(grey: np.ndarray, location: Location, rotation: float, size: int, face: int) -> tuple[np.ndarray, np.ndarray]:
    """[size, size] around `place`, turned, its face `face` pixels wide, and the matrix picture -> patch. Edges are repeated outwards."""
    matrix = cv2.getRotationMatrix2D((location.x, location.y), rotation, face / location.side)
    matrix[:, 2] += np.array([size / 2 - location.x, size / 2 - location.y])
    return cv2.warpAffine(grey, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), matrix


def _unturned(points: np.ndarray, quarters: int, shape: tuple[int, int]) -> np.ndarray:
    """`points` of np.rot90(picture, quarters) in the picture of `shape`."""
    height, width = shape if quarters % 2 == 0 else shape[::-1]
    for _ in range(quarters):
        points = np.stack([height - 1 - points[:, 1], points[:, 0]], 1)
        height, width = width, height
    return points


def _mean(location: Location, votes: list[Location]) -> Location:
    x, y, side = np.median([(vote.x, vote.y, vote.side) for vote in votes], axis=0)
    return replace(location, x=float(x), y=float(y), side=float(side))


def _mean_angle(degrees: list[float]) -> float:
    """The mean direction of angles."""
    radians = np.radians(degrees)
    return float(np.degrees(np.arctan2(np.sin(radians).sum(), np.cos(radians).sum())))


def _distinct(locations: list[Location]) -> list[Location]:
    """`places` without those that overlap an earlier one."""
    kept: list[Location] = []
    for location in locations:
        if not any(location.overlaps(other) for other in kept):
            kept.append(location)
    return kept
