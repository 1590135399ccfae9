"""Rows for the tests of the moments, and what follows from rows without any rounding."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

from knownline.core.moments import Compressed, compress

Array = npt.NDArray[np.float64]
Points = list[tuple[float, float]]

EPS = 2.0**-52
FEW = 16
"""Roundings that may add up in one number: log2(rows) additions and a handful of operations."""

TRUTH = {"w": 20.0, "b": 5.0}

numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
some_points = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40)
cuts = st.lists(st.integers(1, 39), max_size=4)
seeds = st.integers(0, 2**32)
few_examples = settings(deadline=None, max_examples=40)


@dataclass(frozen=True)
class Exact:
    """Means and centred sums of squares of float64 rows, without any rounding."""

    rows: int
    mean_x: Fraction
    mean_y: Fraction
    xx: Fraction
    xy: Fraction
    yy: Fraction

    @classmethod
    def of(cls, x: Sequence[Fraction], y: Sequence[Fraction]) -> "Exact":
        rows = len(x)
        mean_x, mean_y = sum(x, Fraction(0)) / rows, sum(y, Fraction(0)) / rows
        pairs = [(p - mean_x, q - mean_y) for p, q in zip(x, y, strict=True)]
        xx, xy, yy = (
            sum(products, Fraction(0))
            for products in zip(*[(p * p, p * q, q * q) for p, q in pairs], strict=True)
        )
        return cls(rows, mean_x, mean_y, xx, xy, yy)

    @classmethod
    def of_floats(cls, x: Array, y: Array) -> "Exact":
        return cls.of([Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()])

    @property
    def w(self) -> Fraction:
        return self.xy / self.xx

    @property
    def b(self) -> Fraction:
        return self.mean_y - self.w * self.mean_x

    @property
    def residual_variance(self) -> Fraction:
        """Return the least mean squared error that any line has."""
        return (self.yy - self.xy * self.xy / self.xx) / self.rows


def solved(columns: Sequence[Array], y: Array) -> tuple[list[Fraction], Fraction, list[Fraction]]:
    """Return the exact least squares of float64 rows with these columns, (rows,) each.

    Returns: the coefficients; the least mean squared error; the diagonal of the inverse of the
    matrix of products.
    """
    rows = [[Fraction(v) for v in row] for row in zip(*(c.tolist() for c in columns), strict=True)]
    targets, count = [Fraction(v) for v in y.tolist()], len(columns)
    table = [
        [
            *(sum((row[i] * row[j] for row in rows), Fraction(0)) for j in range(count)),
            *(Fraction(int(i == j)) for j in range(count)),
            sum((row[i] * v for row, v in zip(rows, targets, strict=True)), Fraction(0)),
        ]
        for i in range(count)
    ]
    for place in range(count):
        table[place] = [value / table[place][place] for value in table[place]]
        for other in set(range(count)) - {place}:
            pairs = zip(table[other], table[place], strict=True)
            factor = table[other][place]
            table[other] = [a - factor * b for a, b in pairs]
    found = [row[-1] for row in table]
    errors = [
        v - sum((c * t for c, t in zip(found, row, strict=True)), Fraction(0))
        for row, v in zip(rows, targets, strict=True)
    ]
    least = sum((error * error for error in errors), Fraction(0)) / len(rows)
    return found, least, [table[i][count + i] for i in range(count)]


def error_of(value: float, true: Fraction) -> float:
    return float(abs(Fraction(value) - true))


def relative_error(value: float, true: Fraction) -> float:
    return float(abs(Fraction(value) / true - 1))


def columns(points: Points) -> tuple[Array, Array]:
    x, y = zip(*points, strict=True)
    return np.array(x), np.array(y)


def cut(x: Array, y: Array, at: Sequence[int]) -> list[tuple[Array, Array]]:
    places = sorted({place for place in at if 0 < place < len(x)})
    return list(zip(np.split(x, places), np.split(y, places), strict=True))


def of_line(chunks: Sequence[tuple[Array, Array]]) -> Compressed:
    """Return chunks of x and y, compressed for a line."""
    return compress(([x], y) for x, y in chunks)


def drawn(
    seed: int,
    *,
    rows: int = 200,
    offset: float = 0.0,
    w: float = TRUTH["w"],
    b: float = TRUTH["b"],
    noise: float = 1.5,
) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return x, x * w + b + noise * draws.standard_normal(rows)


def sizes(x: Array, y: Array, point: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the largest |u|, operand of r = (y - y0) - slope * u, and |r|.

    point: x0, y0 and slope.
    """
    x0, y0, slope = point
    u = np.abs(x - x0)
    operands = np.abs(y - y0) + abs(slope) * u
    r = (y - y0) - slope * (x - x0)
    return float(u.max()), float(operands.max()), float(np.abs(r).max())
