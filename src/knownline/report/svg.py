"""Small charts as SVG text, to stand in a page: scales, ticks, lines, dots.

Colours are not here: every mark has a class, and the page's style sheet says how it looks, in light
and in dark. Coordinates have one decimal, so the same numbers give the same bytes. Knows nothing of
what is charted.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import minus, to_step

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 480.0, 316.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 32.0, 50.0
"""Room around the plot, wide enough for the larger letters of a narrow screen."""

LETTER = 11.0
"""The width of such a letter."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""Controls, those of direction among them, which would change what stands beside them."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of numbers laid over a length; with `log`, by their logarithm.

    whole: whether only whole numbers mean anything. shift: what is added before the logarithm is
    taken, so that a scale can begin with 0.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    shift: float = 0.0

    @classmethod
    def over(cls, *values: Any, log: bool = False) -> "Scale":
        """Return a scale with room for all finite values, and some air; a log scale in decades."""
        flat = np.concatenate([np.ravel(np.asarray(v, dtype=np.float64)) for v in values])
        flat = flat[np.isfinite(flat) & (flat > 0)] if log else flat[np.isfinite(flat)]
        if len(flat) == 0:
            return cls(0.1, 1.0, True) if log else cls(-1.0, 1.0)
        low, high = float(flat.min()), float(flat.max())
        if log:
            down, up = math.floor(math.log10(low)), math.ceil(math.log10(high))
            return cls(_power(down), _power(max(up, down + 1)), True)
        air = 0.05 * (high / 2 - low / 2) * 2 or 0.5 * max(abs(low), 1.0)
        return cls(max(low - air, -1e308), min(high + air, 1e308))

    def at(self, values: Any) -> Array:
        """Return where values lie, 0 at `low`, 1 at `high`; halved on the way, so none overflows.

        What a log scale cannot show, zero, lies below its low end.
        """
        value = np.asarray(values, dtype=np.float64)
        if self.log:
            low, high = (math.log10(end + self.shift) for end in (self.low, self.high))
            tiny = (self.low + self.shift) * 1e-3
            return (np.log10(np.maximum(value + self.shift, tiny)) - low) / (high - low)
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Return at most `most` round numbers within, and how they are written."""
        if self.log:
            low = 0 if self.shift else math.ceil(math.log10(self.low) - 1e-9)
            high = math.floor(math.log10(self.high) + 1e-9)
            every = max(1, -(-(high - low) // max(most - 1, 1)))
            decades = [(_power(n), _ten_to(n)) for n in range(low, high + 1, every)]
            return [(0.0, "0"), *decades[1:]] if self.shift else decades
        rough = (self.high / 2 - self.low / 2) * 2 / most
        power = 10.0 ** math.floor(math.log10(rough)) if rough > 1e-300 else 1e-300
        step = next((k * power for k in (1, 2, 5, 10) if k * power >= rough), 10 * power)
        step = max(step, 1.0) if self.whole else step
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        places = range(first, min(last, first + 9) + 1)
        return [(n * step, minus(to_step(n * step, step))) for n in places]


@dataclass(slots=True)
class Panel:
    """One chart. `says` tells in words what it shows, for those who do not see it."""

    says: str
    x: Scale
    y: Scale
    x_name: str = ""
    y_name: str = ""
    marks: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """The room for the numbers beside the plot: more where they are long."""
        return max(LEFT, 12 + LETTER * max((len(text) for _, text in self.y.ticks()), default=0))

    def line(self, x: Any, y: Any, kind: str) -> None:
        """Draw a line through points, x and y of (points,) each."""
        points = " ".join(f"{a},{b}" for a, b in zip(*self._placed(x, y), strict=True))
        self.marks.append(f'<polyline class="{kind}" points="{points}"/>')

    def dots(self, x: Any, y: Any, kind: str) -> None:
        """Draw a dot at every point: strokes of no length with round ends, the shortest form."""
        strokes = "".join(f"M{a} {b}h0" for a, b in zip(*self._placed(x, y), strict=True))
        self.marks.append(f'<path class="{kind}" d="{strokes}"/>')

    def level(self, y: float, kind: str) -> None:
        """Draw a horizontal line across."""
        self.line([self.x.low, self.x.high], [y, y], kind)

    def ellipse(self, centre: tuple[float, float], axes: Iterable[float], kind: str) -> None:
        """Draw the image of the unit circle under centre + [[a, c], [b, d]], axes = a, b, c, d."""
        x, y = self._placed([centre[0]], [centre[1]])
        wide = (WIDTH - self.left - RIGHT) / (self.x.high - self.x.low)
        high = -(HEIGHT - TOP - BOTTOM) / (self.y.high - self.y.low)
        a, b, c, d = axes
        matrix = " ".join(f"{v:.4g}" for v in (a * wide, b * high, c * wide, d * high))
        self.marks.append(
            f'<circle class="{kind}" r="1" transform="matrix({matrix} {x[0]} {y[0]})"/>'
        )

    def __str__(self) -> str:
        """Return the chart as an <svg> element."""
        width, height = WIDTH - self.left - RIGHT, HEIGHT - TOP - BOTTOM
        parts = [
            f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{safe(self.says)}">'
        ]
        for at, words, text in self._below(width):
            parts.append(f'<path class="grid" d="M{_number(at)} {TOP:g}v{height:g}"/>')
            parts.append(
                f'<text class="under" x="{_number(words)}" y="{HEIGHT - 36:g}">{text}</text>'
            )
        for value, text in self.y.ticks():
            down = _number(TOP + height * (1 - float(self.y.at(value))))
            parts.append(f'<path class="grid" d="M{self.left:g} {down}h{width:g}"/>')
            parts.append(f'<text class="beside" x="{self.left - 6:g}" y="{down}">{text}</text>')
        # An inner svg: what leaves the plot is cut off, without an id that could clash.
        parts.append(f'<svg x="{self.left:g}" y="{TOP:g}" width="{width:g}" height="{height:g}">')
        parts += [*self.marks, "</svg>"]
        for name, place in (
            (self.x_name, f'class="name" x="{self.left + width / 2:g}" y="{HEIGHT - 12:g}"'),
            (self.y_name, 'class="name first" x="0" y="14"'),
        ):
            parts.append(f"<text {place}>{safe(name)}</text>")
        return "\n".join([*parts, "</svg>"])

    def _below(self, width: float) -> list[tuple[float, float, str]]:
        """Return where the ticks of x are, where the middle of their words, and the words.

        As many as have room beside each other; words at an end are moved in, not cut off.
        """
        found: list[tuple[float, float, str]] = []
        for most in (5, 4, 3, 2):
            found = []
            for value, text in self.x.ticks(most):
                at = self.left + width * float(self.x.at(value))
                half = LETTER * len(text) / 2
                found.append((at, min(max(at, half), WIDTH - half), text))
            rooms = [
                after[1] - before[1] - LETTER * (len(after[2]) + len(before[2])) / 2
                for before, after in pairwise(found)
            ]
            if all(room >= LETTER for room in rooms):
                break
        return found

    def _placed(self, x: Any, y: Any) -> tuple[list[str], list[str]]:
        """Return coordinates in the plot; what lies very far outside is moved nearer."""
        across = np.clip(self.x.at(x), -9, 10) * (WIDTH - self.left - RIGHT)
        down = (1 - np.clip(self.y.at(y), -9, 10)) * (HEIGHT - TOP - BOTTOM)
        return [_number(v) for v in across], [_number(v) for v in down]


def bars(says: str, rows: list[tuple[str, float, str]], limit: tuple[float, str]) -> str:
    """Return bars on one logarithmic scale, each under its own words, and a limit across them.

    rows: what a bar is, its size, its kind; a bar of size 0 is none. limit: where, and its words.
    """
    # A decade to either side of the limit at least, where all bars are none; and a bar that is one
    # begins before its end, though that be a power of ten.
    sizes = np.array([size for _, size, _ in rows])
    scale = Scale.over(sizes, sizes / 2, limit[0], limit[0] / 10, log=True)
    width, each, head, foot = WIDTH - 20, 44.0, 26.0, 34.0
    height = head + each * len(rows) + foot
    parts = [f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{safe(says)}">']
    ticks = scale.ticks()
    for value, text in ticks:
        at = 10 + width * float(scale.at(value))
        anchor = ' style="text-anchor:start"' if at < 20 else ""
        anchor = ' style="text-anchor:end"' if at > WIDTH - 20 else anchor
        parts.append(
            f'<path class="grid" d="M{_number(at)} {head:g}v{height - head - foot + 6:g}"/>'
        )
        parts.append(
            f'<text class="under" x="{_number(at)}" y="{height - 14:g}"{anchor}>{text}</text>'
        )
    share = float(scale.at(limit[0]))
    at = 10 + width * share
    side = "end" if share > 0.6 else "start"
    words_and_limit = [f'<path class="limit" d="M{_number(at)} 0v{height - foot + 6:g}"/>']
    for place, (words, size, kind) in enumerate(rows):
        top = head + each * place
        long = _number(width * float(np.clip(scale.at(size), 0, 1)))
        parts.append(f'<rect class="{kind}" x="10" y="{top + 22:g}" width="{long}" height="14"/>')
        words_and_limit.append(f'<text class="above" x="12" y="{top + 11:g}">{safe(words)}</text>')
    parts += words_and_limit  # over the bars; the words have a halo
    parts.append(
        f'<text class="above" x="{_number(at + (-8 if side == "end" else 8))}" y="12"'
        f' style="text-anchor:{side}">{safe(limit[1])}</text>'
    )
    return "\n".join([*parts, "</svg>"])


def safe(text: str) -> str:
    """Return text as a page may hold it: a table's or a column's name can be anything."""
    return escape(_UNSEEN.sub("\ufffd", text))


def _power(exponent: int) -> float:
    """Return 10^exponent within the normal numbers."""
    return float(f"1e{min(max(exponent, -307), 308)}")


def _ten_to(exponent: int) -> str:
    if -2 <= exponent <= 3:
        return f"{_power(exponent):g}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def _number(value: float) -> str:
    return f"{round(float(value), 1) + 0.0:.1f}".removesuffix(".0")
