"""The overlay drawn into pictures: a panel in a corner, in the colours of the page.

Letters are set by Pillow, once per change; each picture then costs one blending of the panel's area.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dashboard.shown import Point, Shown

NEGATIVE: Final = (255, 160, 84)
NEUTRAL: Final = (160, 166, 176)
POSITIVE: Final = (108, 180, 255)
TEXT: Final = (244, 246, 248)
PANEL: Final = (12, 14, 18, 170)
BAND: Final = (84, 92, 106, 200)
LINE: Final = (96, 100, 108, 190)
FULL_AT: Final = 1.8  # the score at which a colour is at its strongest
CHANGE_LEAST: Final = 0.25
CHANGE_FULL: Final = 1.5  # a change at which the arrow points straight up or down
HEIGHT: Final = 480  # the picture's height for which the sizes below are meant
WIDTH: Final = 250
FONTS: Final = ("DejaVuSans-Bold.ttf", "arialbd.ttf", "Arial Bold.ttf", "Helvetica.ttc")
CORNERS: Final = ("bottom-left", "bottom-right", "top-left", "top-right")
PARTS: Final = ("score", "curve", "words")

Colour = tuple[int, int, int]


def colour(score: float | None) -> Colour:
    """Orange for negative over grey to blue for positive, as on the page."""
    if score is None:
        return NEUTRAL
    strength = min(1.0, abs(score) / FULL_AT)
    end = NEGATIVE if score < 0 else POSITIVE
    red, green, blue = (round(a + (b - a) * strength) for a, b in zip(NEUTRAL, end, strict=True))
    return red, green, blue


def signed(score: float | None) -> str:
    """A score with its sign, as people read it."""
    if score is None:
        return "-"
    text = f"{abs(score):.1f}"
    return text if float(text) == 0 else f"{'-' if score < 0 else '+'}{text}"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


class Burner:
    """Draws what belongs to a picture into it; remembers the last panel until something changes.

    ``parts`` are those of ``PARTS`` that are shown, ``span_s`` how much the curve holds; ``scale`` makes
    it larger or smaller, beyond that it goes with the picture's height.
    """

    def __init__(
        self,
        parts: tuple[str, ...] = PARTS,
        corner: str = CORNERS[0],
        scale: float = 1.0,
        span_s: float = 30.0,
    ) -> None:
        self.drawn = 0  # panels set anew
        self._parts = parts
        self._corner = corner
        self._scale = scale
        self._span_s = span_s
        self._key: tuple[Shown, int] | None = None
        self._panel = np.zeros((0, 0, 4), np.uint16)
        self._strength = -1
        self._through = np.zeros((0, 0, 3), np.uint16)  # how much of the picture is left, of 255
        self._over = np.zeros((0, 0, 3), np.uint16)  # what is laid over it, times its weight

    def burn(self, image: np.ndarray, shown: Shown, strength: float = 1.0) -> None:
        """Draw ``shown`` into ``image (height, width, 3) uint8`` RGB; ``strength`` 0..1 lets it fade."""
        if not self._parts or strength <= 0:
            return
        key = (shown, image.shape[0])
        if key != self._key:
            self._key = key
            self._set(shown, image.shape[0] / HEIGHT * self._scale)
        level = round(255 * min(1.0, strength))
        if level != self._strength:
            self._weigh(level)
        area = self._area(image)
        cut = np.s_[: area.shape[0], : area.shape[1]]
        mixed = area * self._through[cut]
        mixed += self._over[cut]
        mixed //= 255
        area[:] = mixed

    def _weigh(self, level: int) -> None:
        self._strength = level
        weight = np.repeat(self._panel[..., 3:] * level // 255, 3, axis=2)
        self._through = 255 - weight
        self._over = (
            self._panel[..., :3] * weight
        )  # at most 255 * 255, together with the picture too

    def _area(self, image: np.ndarray) -> np.ndarray:
        """The part of the picture under the panel; a panel larger than the picture is cut."""
        margin = round(16 * image.shape[0] / HEIGHT)
        height = min(self._panel.shape[0], image.shape[0])
        width = min(self._panel.shape[1], image.shape[1])
        top = min(margin, image.shape[0] - height)
        left = min(margin, image.shape[1] - width)
        if self._corner.startswith("bottom"):
            top = image.shape[0] - height - top
        if self._corner.endswith("right"):
            left = image.shape[1] - width - left
        return image[top : top + height, left : left + width]

    def _set(self, shown: Shown, unit: float) -> None:
        self.drawn += 1
        rows = {"score": 44, "curve": 54, "words": 42}
        height = 16 + sum(rows[part] for part in PARTS if part in self._parts)
        panel = Image.new("RGBA", (max(8, round(WIDTH * unit)), max(8, round(height * unit))))
        draw = ImageDraw.Draw(panel)
        draw.rounded_rectangle(
            (0, 0, panel.width - 1, panel.height - 1), radius=round(11 * unit), fill=PANEL
        )
        top = 8.0
        for part in PARTS:
            if part in self._parts:
                paint = {"score": self._score, "curve": self._curve, "words": self._words}[part]
                paint(draw, shown, top, unit)
                top += rows[part]
        self._panel = np.asarray(panel).astype(np.uint16)
        self._strength = -1

    def _score(self, draw: ImageDraw.ImageDraw, shown: Shown, top: float, unit: float) -> None:
        tint = colour(shown.score)
        font = _font(max(6, round(34 * unit)))
        text, middle = signed(shown.score), (top + 22) * unit
        draw.text((12 * unit, middle), text, font=font, fill=tint, anchor="lm")
        if shown.change is not None:
            centre = 12 * unit + draw.textlength(text, font=font) + 26 * unit
            _arrow(draw, (centre, middle), shown.change, unit, tint)

    def _curve(self, draw: ImageDraw.ImageDraw, shown: Shown, top: float, unit: float) -> None:
        def at(point: Point, score: float) -> tuple[float, float]:
            left = (shown.end_s - point.end_s) / self._span_s
            return (WIDTH - 16 - left * (WIDTH - 28)) * unit, (
                top + 3 + (3 - score) / 6 * 46
            ) * unit

        middle = (top + 26) * unit
        draw.line((12 * unit, middle, (WIDTH - 12) * unit, middle), fill=LINE)
        for run in _runs(shown.points):
            band = [at(p, p.high) for p in run] + [at(p, p.low) for p in reversed(run)]
            if len(run) > 1:
                draw.polygon(band, fill=BAND)
            for before, point in pairwise(run):
                ends = (*at(before, before.score), *at(point, point.score))
                draw.line(ends, fill=colour(point.score), width=max(1, round(2.4 * unit)))
        if shown.points and shown.score is not None:
            x, y = at(shown.points[-1], shown.points[-1].score)
            radius = 3.6 * unit
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(shown.score))

    def _words(self, draw: ImageDraw.ImageDraw, shown: Shown, top: float, unit: float) -> None:
        font = _font(max(6, round(14 * unit)))
        space, room = draw.textlength(" ", font=font), (WIDTH - 24) * unit
        lines: list[list[tuple[str, float | None, bool]]] = [[]]
        used = 0.0
        for word in shown.words:
            width = draw.textlength(word[0], font=font)
            if used and used + width > room:
                lines.append([])
                used = 0.0
            lines[-1].append(word)
            used += width + space
        for row, line in enumerate(lines[-2:]):
            x = 12 * unit
            for text, score, tentative in line:
                fill = (*colour(score), 150 if tentative else 255)
                draw.text((x, (top + 4 + 19 * row) * unit), text, font=font, fill=fill)
                x += draw.textlength(text, font=font) + space


def _arrow(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], change: float, unit: float, tint: Colour
) -> None:
    steady = abs(change) < CHANGE_LEAST
    angle = 0.0 if steady else np.pi / 2 * max(-1.0, min(1.0, change / CHANGE_FULL))
    along = np.array([np.cos(angle), -np.sin(angle)]) * 11 * unit
    across = np.array([along[1], -along[0]])
    tip = np.array(centre) + along
    width = max(1, round(3 * unit))
    draw.line((*(np.array(centre) - along), *tip), fill=tint, width=width)
    for side in (across, -across):
        draw.line((*tip, *(tip - 0.75 * along + 0.6 * side)), fill=tint, width=width)


def _runs(points: tuple[Point, ...]) -> list[list[Point]]:
    """Stretches of neighbouring windows; windows come every half second."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.end_s - runs[-1][-1].end_s < 0.75:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs
