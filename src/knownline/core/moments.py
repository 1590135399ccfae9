"""Compresses any number of rows to six moments, and to three points that have the same loss.

For a squared loss, the mean over n rows depends on the rows only through their mean and their
covariance. So three points with that mean and that covariance have the same loss and the same
gradient at every (w, b), and the article's loop can run on them unchanged.

Precision: y is replaced by r = (y - y0) - slope*(x - x0), its distance from a pivot line that is
chosen from the first chunk. Moments of r keep the digits of the noise, however far the data is from
zero and however small the noise is relative to y.

Order: numbers within a chunk are added in the order that `sums` describes, and chunks are merged by
halving, so the bits depend on the data alone. The arrays are numpy's, or those of a library `xp`
with the same functions: elementwise float64 is the same IEEE arithmetic on every device.
Knows nothing of files, of torch or of the truth.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line

Array = npt.NDArray[np.float64]

RADIX = 16
"""Rows that `sums` adds to one another in each step."""

SHORT = 128
"""Up to this many numbers are added by halving, where steps of RADIX rows would not be fewer."""


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
        """Whether no square overflowed or underflowed float64."""
        m = self.moments
        return m.uu > 0 and all(
            map(math.isfinite, (m.mean_u, m.mean_r, m.uu, m.ur, m.rr, self.var_y))
        )

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
    """Memory for the arithmetic on a few chunks, reused for the next ones; for one thread.

    Allocating it anew for every step costs more than the step: the system clears each page first.
    """

    def __init__(self, empty: Callable[[int], Any] = np.empty) -> None:
        """empty: allocates that many uninitialised float64, in the memory of a device."""
        self._empty = empty
        self._memory = empty(0)

    def take(self, columns: int, chunks: int, rows: int) -> Any:
        """Return an uninitialised array of shape (columns, chunks, rows)."""
        size = columns * chunks * rows
        if size > len(self._memory):
            self._memory = self._empty(size)
        return self._memory[:size].reshape(columns, chunks, rows)


def sums(values: Any, xp: Any = np) -> Any:
    """Return the sums over the last axis of `values`, (k, n): (k,).

    xp: the library of the arrays. The n numbers are laid out in RADIX rows, which are added one
    after the other, column by column. The column sums are added in the same way, until SHORT or
    fewer are left; these are added by halving. Every step is an elementwise addition, so the order
    does not depend on SIMD width, threads or device, unlike that of `numpy.sum`. The error grows
    with log(n), as in pairwise summation.
    """
    while (count := values.shape[1]) > SHORT:
        width = -(-count // RADIX)
        aligned = count - count % width
        totals = _add_rows(values[:, :aligned].reshape(len(values), -1, width), xp)
        if aligned < count:
            first = totals[:, : count - aligned]
            xp.add(first, values[:, aligned:], out=first)
        values = totals
    while (count := values.shape[1]) > 1:
        half = 1 << (count - 1).bit_length() - 1
        lower, upper = values[:, :half], values[:, half:]
        if count < 2 * half:
            first = xp.add(lower[:, : count - half], upper)
            values = xp.concatenate([first, lower[:, count - half :]], axis=1)
        else:
            values = xp.add(lower, upper)
    # Adding 0.0 turns -0.0 into 0.0, as a sum that begins with 0.0 would.
    return values[:, 0] + 0.0 if count else xp.full((len(values),), 0.0, dtype=values.dtype)


def _add_rows(rows: Any, xp: Any) -> Any:
    """Return the sums of (k, rows, columns) over rows, one after the other: (k, columns)."""
    if xp is np:  # one call that adds in the same order, as a test checks
        return np.add.reduce(rows, axis=1)
    total = rows[:, 0] + rows[:, 1]
    for row in range(2, rows.shape[1]):
        xp.add(total, rows[:, row], out=total)
    return total


def chunk_moments(
    x: Any, y: Any, pivot: Pivot, buffer: ScratchBuffer | None = None, xp: Any = np
) -> Any:
    """Return the moments of chunks about a pivot line, (chunks, 6), each chunk by itself.

    x, y: (chunks, rows), arrays of xp. buffer: memory to calculate in, of xp too.
    """
    chunks, rows = x.shape
    scratch = (buffer or ScratchBuffer()).take(5, chunks, rows)
    centred, products = scratch[:2], scratch[2:]
    (u, r), product = centred, products[0]
    xp.subtract(x, pivot.x0, out=u)
    xp.subtract(y, pivot.y0, out=r)
    xp.multiply(u, pivot.slope, out=product)
    xp.subtract(r, product, out=r)
    means = sums(centred.reshape(2 * chunks, rows), xp)
    # An array, since torch on a GPU multiplies by the reciprocal of a divisor that is a number.
    count = xp.full_like(means, float(rows))
    xp.divide(means, count, out=means)
    means = means.reshape(2, chunks)
    xp.subtract(centred, means[:, :, None], out=centred)
    xp.multiply(u, u, out=products[0])
    xp.multiply(u, r, out=products[1])
    xp.multiply(r, r, out=products[2])
    squares = sums(products.reshape(3 * chunks, rows), xp).reshape(3, chunks)
    return xp.stack([count[:chunks], *means, *squares], axis=1)


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


def pivot_line(x: Array, y: Array) -> Pivot:
    """Return a line near the points of the first chunk, through the first of them.

    Its slope is that of least squares if that explains most of y, else 0. If the x of the chunk
    hardly differ, that slope is noise divided by almost nothing, and moments about so steep a line
    would lose the digits of all other rows.
    """
    flat = Pivot(float(x[0]), float(y[0]), 0.0)
    moments = Moments.of(chunk_moments(x[None], y[None], flat)[0])
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
                parts.append(chunk_moments(x[None], y[None], pivot, scratch))
        if pivot is None:
            raise ValueError("there is no row to compress")
        return Compressed(pivot, merge(np.concatenate(parts)))


def ignoring_overflow() -> Any:
    """Silence numpy's warnings of overflow: `Compressed.finite` reports it once, at the end."""
    return np.errstate(over="ignore", invalid="ignore")
