"""Compresses any number of rows to six moments, and to three points that have the same loss.

For a squared loss, the mean over n rows depends on the rows only through their mean and their
covariance. So three points with that mean and that covariance have the same loss and the same
gradient at every (w, b), and the article's loop can run on them unchanged.

Precision: y is replaced by r = (y - y0) - slope*(x - x0), its distance from a pivot line that is
chosen from the first chunk. Moments of r keep the digits of the noise, however far the data is from
zero and however small the noise is relative to y.

Order: numbers within a chunk are added as core/sums.py says, and chunks are merged by halving. So
the bits depend on the data alone, not on SIMD width, nor on who summarised which chunk.
Knows nothing of files, of torch or of the truth.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line
from knownline.core.sums import sums

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Means of u = x - x0 and r over `rows` rows, and centred sums of squares and products."""

    rows: int
    mean_u: float
    mean_r: float
    uu: float
    ur: float
    rr: float

    @classmethod
    def of(cls, row: Array) -> "Moments":
        """Return the moments in a row of numbers, (6,), in the order of the fields."""
        rows, *moments = row.tolist()
        return cls(int(rows), *moments)


@dataclass(frozen=True, slots=True)
class Pivot:
    """The line that r is measured from: through (x0, y0), with a slope."""

    x0: float
    y0: float
    slope: float


@dataclass(frozen=True, slots=True)
class Compressed:
    """A set of rows, as far as a squared loss depends on it."""

    pivot: Pivot
    moments: Moments

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.moments.rows

    @property
    def mean_x(self) -> float:
        """The mean of x."""
        return self.pivot.x0 + self.moments.mean_u

    @property
    def mean_y(self) -> float:
        """The mean of y."""
        return self.pivot.y0 + (self.pivot.slope * self.moments.mean_u + self.moments.mean_r)

    @property
    def sd_x(self) -> float:
        """The standard deviation of x over the rows (divided by n, not n - 1)."""
        return math.sqrt(self.moments.uu / self.rows)

    @property
    def var_y(self) -> float:
        """The variance of y over the rows (divided by n)."""
        m, slope = self.moments, self.pivot.slope
        return max(m.rr + slope * (2 * m.ur + slope * m.uu), 0.0) / self.rows

    @property
    def finite(self) -> bool:
        """Whether no square overflowed float64."""
        m = self.moments
        return all(map(math.isfinite, (m.mean_u, m.mean_r, m.uu, m.ur, m.rr, self.var_y)))

    def least_squares(self) -> Line:
        """Return the line with the smallest squared loss, in closed form."""
        w = self.pivot.slope + self.moments.ur / self.moments.uu
        return Line(w, self.mean_y - w * self.mean_x)

    def mean_squared_error(self, line: Line) -> float:
        """Return the mean of (w*x + b - y)² over the rows."""
        m, dw = self.moments, line.w - self.pivot.slope
        bias = m.mean_r - (dw * m.mean_u + ((line.b + line.w * self.pivot.x0) - self.pivot.y0))
        return bias * bias + max(m.rr - dw * (2 * m.ur - dw * m.uu), 0.0) / self.rows

    def three_points(self, *, standardize: bool) -> tuple[Array, Array]:
        """Return x and y, (3,) each, whose mean and covariance are those of the rows.

        They are an equilateral triangle, stretched by the Cholesky factor of the covariance. With
        `standardize`, x is (x - mean_x) / sd_x.
        """
        m = self.moments
        long, short = math.sqrt(1.5), math.sqrt(0.5)
        first = np.array([0.0, -long, long])  # mean 0, mean square 1, uncorrelated with second
        second = np.array([math.sqrt(2.0), -short, -short])
        sd_u = self.sd_x
        along = (m.ur / self.rows) / sd_u
        across = math.sqrt(max(m.rr - m.ur * (m.ur / m.uu), 0.0) / self.rows)
        u = m.mean_u + sd_u * first
        r = m.mean_r + (along * first + across * second)
        y = self.pivot.y0 + (self.pivot.slope * u + r)
        return (first if standardize else self.pivot.x0 + u), y


class ScratchBuffer:
    """Memory for the arithmetic on one chunk, reused for the next; for one thread.

    Allocating it anew for every step costs more than the step: the system clears each page first.
    """

    def __init__(self) -> None:
        self._memory: Array = np.empty(0)

    def take(self, columns: int, rows: int) -> Array:
        """Return an uninitialised array of shape (columns, rows)."""
        size = columns * rows
        if size > len(self._memory):
            self._memory = np.empty(size)
        return self._memory[:size].reshape(columns, rows)


def chunk_moments(x: Array, y: Array, pivot: Pivot, buffer: ScratchBuffer | None = None) -> Array:
    """Return the moments of a chunk about a pivot line, (6,), in the order of `Moments`.

    x, y: (rows,). buffer: memory to calculate in.
    """
    scratch = (buffer or ScratchBuffer()).take(5, len(x))
    centred, products = scratch[:2], scratch[2:]
    (u, r), product = centred, products[0]
    np.subtract(x, pivot.x0, out=u)
    np.subtract(y, pivot.y0, out=r)
    np.multiply(u, pivot.slope, out=product)
    np.subtract(r, product, out=r)
    means = sums(centred) / len(x)
    np.subtract(centred, means[:, None], out=centred)
    np.multiply(u, u, out=products[0])
    np.multiply(u, r, out=products[1])
    np.multiply(r, r, out=products[2])
    return np.array([len(x), *means, *sums(products)])


def moved(chunks: Array, pivot: Pivot, to: Pivot) -> Array:
    """Return the moments of chunks about another pivot line: (chunks, 6), as they were.

    With r = (y - y0) - slope*u, another slope adds a multiple of u to r, and another point adds a
    constant to both.
    """
    rows, mean_u, mean_r, uu, ur, rr = chunks.T
    turn = pivot.slope - to.slope
    dx, dy = pivot.x0 - to.x0, pivot.y0 - to.y0
    return np.stack(
        [
            rows,
            mean_u + dx,
            mean_r + turn * mean_u + (dy - to.slope * dx),
            uu,
            ur + turn * uu,
            rr + turn * (2 * ur + turn * uu),
        ],
        axis=1,
    )


def merge(chunks: Array) -> Moments:
    """Return the moments of all rows, given those of each chunk in order: (chunks, 6).

    The upper half of the chunks is merged into the lower half, until one chunk is left.
    """
    table = np.array(chunks.T)
    count = table.shape[1]
    while count > 1:
        half = 1 << (count - 1).bit_length() - 1
        lower, upper = table[:, : count - half], table[:, half:count]
        table[:, : count - half] = np.array(_merge_pair(tuple(lower), tuple(upper)))
        count = half
    return Moments.of(table[:, 0])


def _merge_pair(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the moments of two sets of rows together; each moment is a number or an array.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances (1979), eq. 2.1, and its analogue for covariances.
    """
    rows = one[0] + other[0]
    share = other[0] / rows
    weight = one[0] * share
    du, dr = other[1] - one[1], other[2] - one[2]
    return (
        rows,
        one[1] + du * share,
        one[2] + dr * share,
        one[3] + other[3] + du * du * weight,
        one[4] + other[4] + du * dr * weight,
        one[5] + other[5] + dr * dr * weight,
    )


def join(parts: Iterable[tuple[Pivot, Array]]) -> Compressed:
    """Return the rows of all parts, compressed: the pivot line and chunks, (chunks, 6), of each.

    All are told about the first pivot line, so parts about that one keep their bits.

    Raises: ValueError if there is no part.
    """
    first, tables = None, []
    with ignoring_overflow():
        for pivot, chunks in parts:
            first = first or pivot
            tables.append(chunks if pivot == first else moved(chunks, pivot, first))
        if first is None:
            raise ValueError("there is no row to compress")
        return Compressed(first, merge(np.concatenate(tables)))


def pivot_line(x: Array, y: Array) -> Pivot:
    """Return a line near the points of the first chunk, through the first of them.

    Its slope is that of least squares if that explains most of y, else 0. If the x of the chunk
    hardly differ, that slope is noise divided by almost nothing, and moments about so steep a line
    would lose the digits of all other rows.
    """
    flat = Pivot(float(x[0]), float(y[0]), 0.0)
    moments = Moments.of(chunk_moments(x, y, flat))
    slope = moments.ur / moments.uu if moments.uu > 0 else 0.0
    explained = slope * moments.ur
    significant = math.isfinite(slope) and explained * len(x) > 100 * (moments.rr - explained)
    return Pivot(flat.x0, flat.y0, slope if significant else 0.0)


def compress(chunks: Iterable[tuple[Array, Array]]) -> Compressed:
    """Return the rows of all chunks, x and y of (rows,) each, compressed; each is read once.

    Raises: ValueError if there is no row.
    """
    pivot: Pivot | None = None
    scratch, parts = ScratchBuffer(), []
    with ignoring_overflow():
        for x, y in chunks:
            if len(x):
                pivot = pivot or pivot_line(x, y)
                parts.append(chunk_moments(x, y, pivot, scratch))
    return join([(pivot, np.array(parts))] if pivot else [])


def ignoring_overflow() -> Any:
    """Silence numpy's warnings of overflow: `Compressed.finite` reports it once, at the end."""
    return np.errstate(over="ignore", invalid="ignore")
