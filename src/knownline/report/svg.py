"""Small charts as SVG text, to embed in a page: scales, ticks, lines, dots.

Every mark has a class instead of a colour; the style sheet of the page sets its look, in light and
dark mode. Coordinates have one decimal, so the same numbers give the same bytes. Knows nothing of
what is charted.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import minus, to_step

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 400.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 12.0, 30.0, 46.0
"""Margins around the plot, wide enough for the larger letters on a narrow screen."""

LETTER = 9.6
"""The width of one of those letters."""

ROW_NAME = 13
"""The most letters of the name of a row."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""Control characters, including those of text direction, which would affect the text around."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of numbers, mapped to 0..1; with `log`, by their logarithm.

    whole: ticks at whole numbers only. shift: added to a number before its logarithm is taken, so
    that a scale can begin with 0.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    shift: float = 0.0

    @classmethod
    def over(cls, *values: Any, log: bool = False) -> "Scale":
        """Return a scale over all finite values, with a margin; a log scale has whole decades."""
        numbers = np.concatenate(
            [np.ravel(np.asarray(value, dtype=np.float64)) for value in values]
        )
        numbers = (
            numbers[np.isfinite(numbers) & (numbers > 0)] if log else numbers[np.isfinite(numbers)]
        )
        if len(numbers) == 0:
            return cls(0.1, 1.0, True) if log else cls(-1.0, 1.0)
        low, high = float(numbers.min()), float(numbers.max())
        if log:
            low_decade, high_decade = math.floor(math.log10(low)), math.ceil(math.log10(high))
            return cls(_power(low_decade), _power(max(high_decade, low_decade + 1)), True)
        margin = 0.05 * (high / 2 - low / 2) * 2 or 0.5 * max(abs(low), 1.0)
        return cls(max(low - margin, -1e308), min(high + margin, 1e308))

    def at(self, values: Any) -> Array:
        """Return the positions of values: 0 at `low`, 1 at `high`; halved first against overflow.

        Zero, which has no logarithm, is placed below the low end of a log scale.
        """
        numbers = np.asarray(values, dtype=np.float64)
        if self.log:
            low, high = (math.log10(end + self.shift) for end in (self.low, self.high))
            smallest = (self.low + self.shift) * 1e-3
            return (np.log10(np.maximum(numbers + self.shift, smallest)) - low) / (high - low)
        return (numbers / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Return at most `most` round numbers within the range, each with its text."""
        if self.log:
            low = 0 if self.shift else math.ceil(math.log10(self.low) - 1e-9)
            high = math.floor(math.log10(self.high) + 1e-9)
            every = max(1, -(-(high - low) // max(most - 1, 1)))
            decades = [(_power(n), _decade_label(n)) for n in range(low, high + 1, every)]
            return [(0.0, "0"), *decades[1:]] if self.shift else decades
        smallest_step = (self.high / 2 - self.low / 2) * 2 / most
        power = 10.0 ** math.floor(math.log10(smallest_step)) if smallest_step > 1e-300 else 1e-300
        step = next((k * power for k in (1, 2, 5, 10) if k * power >= smallest_step), 10 * power)
        step = max(step, 1.0) if self.whole else step
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        # In a range of a few units in the last place, several may round to the same number.
        multiples = [n * step for n in range(first, min(last, first + 9) + 1)]
        written = {minus(to_step(x, step)): x for x in multiples if self.low <= x <= self.high}
        return [(value, text) for text, value in written.items()]


@dataclass(slots=True)
class Panel:
    """The inside of one chart. rows: the names of y = 0, 1, ..., which replace the numbers."""

    x: Scale
    y: Scale
    x_name: str = ""
    y_name: str = ""
    rows: Sequence[str] = ()
    marks: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """The left margin, wider if the texts in it are long."""
        return max(LEFT, 10 + LETTER * max((len(text) for _, text in self._y_ticks()), default=0))

    def line(self, x: Any, y: Any, kind: str) -> None:
        """Draw a line through points, x and y of (points,) each."""
        points = " ".join(f"{a},{b}" for a, b in zip(*self._coordinates(x, y), strict=True))
        self.marks.append(f'<polyline class="{kind}" points="{points}"/>')

    def dots(self, x: Any, y: Any, kind: str) -> None:
        """Draw a dot at every point: a stroke of length 0 with round ends, for brevity."""
        strokes = "".join(f"M{a} {b}h0" for a, b in zip(*self._coordinates(x, y), strict=True))
        self.marks.append(f'<path class="{kind}" d="{strokes}"/>')

    def level(self, y: float, kind: str) -> None:
        """Draw a horizontal line across the plot."""
        self.line([self.x.low, self.x.high], [y, y], kind)

    def upright(self, x: float, kind: str) -> None:
        """Draw a vertical line from the bottom of the plot to its top."""
        self.line([x, x], [self.y.low, self.y.high], kind)

    def arrow(self, y: float, kind: str, *, right: bool) -> None:
        """Draw an arrowhead at one end of the plot, for a value that lies beyond it."""
        (x,), (down,) = self._coordinates([self.x.high if right else self.x.low], [y])
        back = "-9 -6v12" if right else "9 -6v12"
        self.marks.append(f'<path class="{kind}" d="M{x} {down}l{back}z"/>')

    def ellipse(self, centre: tuple[float, float], axes: Iterable[float], kind: str) -> None:
        """Draw the image of the unit circle under centre + [[a, c], [b, d]], axes = a, b, c, d."""
        x, y = self._coordinates([centre[0]], [centre[1]])
        x_unit = (WIDTH - self.left - RIGHT) / (self.x.high - self.x.low)
        y_unit = -(HEIGHT - TOP - BOTTOM) / (self.y.high - self.y.low)
        a, b, c, d = axes
        matrix = " ".join(
            f"{value:.4g}" for value in (a * x_unit, b * y_unit, c * x_unit, d * y_unit)
        )
        self.marks.append(
            f'<circle class="{kind}" r="1" transform="matrix({matrix} {x[0]} {y[0]})"/>'
        )

    def __str__(self) -> str:
        """Return what is inside the <svg> element, whose viewBox is 0 0 WIDTH HEIGHT."""
        width, height = WIDTH - self.left - RIGHT, HEIGHT - TOP - BOTTOM
        parts = []
        for tick_x, text_x, text in self._x_ticks(width):
            parts.append(f'<path class="grid" d="M{_number(tick_x)} {TOP:g}v{height:g}"/>')
            parts.append(
                f'<text class="under" x="{_number(text_x)}" y="{HEIGHT - 34:g}">{text}</text>'
            )
        for value, text in self._y_ticks():
            y = _number(TOP + height * (1 - float(self.y.at(value))))
            parts.append(f'<path class="grid" d="M{_number(self.left)} {y}h{_number(width)}"/>')
            parts.append(
                f'<text class="beside" x="{_number(self.left - 6)}" y="{y}">{safe(text)}</text>'
            )
        # An inner svg clips the marks to the plot, without an id that could clash with another.
        place = f'x="{_number(self.left)}" y="{TOP:g}" width="{_number(width)}" height="{height:g}"'
        parts += [f"<svg {place}>", *self.marks, "</svg>"]
        for name, place in (
            (self.x_name, f'class="name" x="{_number(self.left + width / 2)}" y="{HEIGHT - 10:g}"'),
            (self.y_name, 'class="name first" x="0" y="12"'),
        ):
            parts.append(f"<text {place}>{safe(shortened(name, int(WIDTH / LETTER)))}</text>")
        return "\n".join(parts)

    def _y_ticks(self) -> list[tuple[float, str]]:
        if not self.rows:
            return self.y.ticks()
        return [(float(y), shortened(name, ROW_NAME)) for y, name in enumerate(self.rows)]

    def _x_ticks(self, width: float) -> list[tuple[float, float, str]]:
        """Return the ticks of x: the position of each, the middle of its text, and the text.

        As many as fit side by side; a text at an end is moved inwards instead of cut off.
        """
        ticks: list[tuple[float, float, str]] = []
        for most in (5, 4, 3, 2):
            ticks = []
            for value, text in self.x.ticks(most):
                position = self.left + width * float(self.x.at(value))
                half_width = LETTER * len(text) / 2
                ticks.append((position, min(max(position, half_width), WIDTH - half_width), text))
            gaps = [
                after[1] - before[1] - LETTER * (len(after[2]) + len(before[2])) / 2
                for before, after in pairwise(ticks)
            ]
            if all(gap >= LETTER for gap in gaps):
                break
        return ticks

    def _coordinates(self, x: Any, y: Any) -> tuple[list[str], list[str]]:
        """Return coordinates in the plot; points very far outside are moved nearer."""
        across = np.clip(self.x.at(x), -9, 10) * (WIDTH - self.left - RIGHT)
        down = (1 - np.clip(self.y.at(y), -9, 10)) * (HEIGHT - TOP - BOTTOM)
        return [_number(value) for value in across], [_number(value) for value in down]


@dataclass(frozen=True, slots=True)
class Chart:
    """A panel with its words. name: its id on the page. description: what it shows, in sentences.

    key: (kind, words) for each mark. caption: what follows from it.
    """

    name: str
    title: str
    description: str
    panel: Panel
    key: list[tuple[str, str]]
    caption: str = ""


def without_controls(text: str) -> str:
    """Return text whose control characters are replaced by a visible one."""
    return _CONTROLS.sub("\ufffd", text)


def safe(text: str) -> str:
    """Return text escaped for a page, since the name of a table or column can be anything."""
    return escape(without_controls(text))


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, cut off at its end if it has more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _power(exponent: int) -> float:
    """Return 10^exponent, limited to the normal float64 numbers."""
    return float(f"1e{min(max(exponent, -307), 308)}")


def _decade_label(exponent: int) -> str:
    if -2 <= exponent <= 3:
        return f"{_power(exponent):g}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def _number(value: float) -> str:
    return f"{round(float(value), 1) + 0.0:.1f}".removesuffix(".0")
