"""Any number of rows as six moments, and three points that have the same loss.

For a squared loss, the mean over n rows depends on the rows only through their mean and their
covariance. So three points with that mean and that covariance have the same loss and the same
gradient at every (w, b), and the article's loop can run on them unchanged.

Precision: y is replaced by r = (y - y0) - slope*(x - x0), its distance from a pivot line that the
first chunk decides. Moments of r keep the noise's own digits, however far the data lies from zero
and however small the noise is beside y.

Order: within a chunk numbers are added as `sums` says, and chunks are merged by halving; the bits
depend on the data alone. The arrays of a chunk are numpy's, or those of a library that has the same
names for the same elementwise steps (`xp`): float64 is the same IEEE arithmetic on every device.
Knows nothing of files, of torch or of the truth.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line

Array = npt.NDArray[np.float64]

RADIX = 16
"""Rows that are added to one another at a time in a sum."""

SHORT = 128
"""Numbers that are added by halving: in so few steps that RADIX rows would save none."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of u = x - x0 and r over `rows` rows, the second ones centred: 48 bytes a chunk."""

    rows: int
    mean_u: float
    mean_r: float
    uu: float
    ur: float
    rr: float

    @classmethod
    def of(cls, row: Array) -> "Moments":
        """Return the moments that a row of numbers, (6,), holds."""
        rows, *rest = row.tolist()
        return cls(int(rows), *rest)

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows together."""
        return Moments(*_combined(astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Pivot:
    """The line that moments are taken from: through (x0, y0), with a slope."""

    x0: float
    y0: float
    slope: float


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a squared loss can know of a set of rows."""

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
        """Whether no square left the float64 range on the way, above or below."""
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
    """Memory for the arithmetic on a few chunks, used again for the next ones.

    Fresh memory for every step costs more than the steps: the system clears each page first. One
    thread, one room.
    """

    def __init__(self, empty: Callable[[int], Any] = np.empty) -> None:
        """empty: returns so many float64 of no particular content, wherever they are to lie."""
        self._empty = empty
        self._memory = empty(0)

    def take(self, columns: int, chunks: int, rows: int) -> Any:
        """Return columns of some chunks, (columns, chunks, rows), of no particular content."""
        wanted = columns * chunks * rows
        if wanted > len(self._memory):
            self._memory = self._empty(wanted)
        return self._memory[:wanted].reshape(columns, chunks, rows)


def sums(values: Any, xp: Any = np) -> Any:
    """Return the sums over the last axis of `values`, (k, n): (k,).

    xp: the library whose arrays these are. The n numbers are laid out in RADIX rows, and rows are
    added one after the other, column by column; and so are the columns' sums, until SHORT of them
    or fewer are left, which are added by halving. Every step is an elementwise addition, so the
    order does not depend on SIMD width, threads or device, as that of `numpy.sum` over a line of
    numbers may. The error grows with log(n), as in pairwise summation.
    """
    while (count := values.shape[1]) > SHORT:
        width = -(-count // RADIX)
        whole = count - count % width
        totals = _added(values[:, :whole].reshape(len(values), -1, width), xp)
        if whole < count:
            first = totals[:, : count - whole]
            xp.add(first, values[:, whole:], out=first)
        values = totals
    while (count := values.shape[1]) > 1:
        half = 1 << (count - 1).bit_length() - 1
        lower, upper = values[:, :half], values[:, half:]
        if count < 2 * half:
            first = xp.add(lower[:, : count - half], upper)
            values = xp.concatenate([first, lower[:, count - half :]], axis=1)
        else:
            values = xp.add(lower, upper)
    # Adding 0.0 makes -0.0 the 0.0 of a sum.
    return values[:, 0] + 0.0 if count else xp.full((len(values),), 0.0, dtype=values.dtype)


def _added(rows: Any, xp: Any) -> Any:
    """Return the sums of (k, rows, columns) over rows, one after the other: (k, columns)."""
    if xp is np:  # by one call, in the same order: a test holds it to that
        return np.add.reduce(rows, axis=1)
    total = rows[:, 0] + rows[:, 1]
    for row in range(2, rows.shape[1]):
        xp.add(total, rows[:, row], out=total)
    return total


def chunk_moments(
    x: Any, y: Any, pivot: Pivot, room: ScratchBuffer | None = None, xp: Any = np
) -> Any:
    """Return the moments of chunks about a pivot line, (chunks, 6), each what it is by itself.

    x, y: (chunks, rows), arrays of xp as the room's.
    """
    many, rows = x.shape
    space = (room or ScratchBuffer()).take(5, many, rows)
    centred, products = space[:2], space[2:]
    (u, r), product = centred, products[0]
    xp.subtract(x, pivot.x0, out=u)
    xp.subtract(y, pivot.y0, out=r)
    xp.multiply(u, pivot.slope, out=product)
    xp.subtract(r, product, out=r)
    means = sums(centred.reshape(2 * many, rows), xp)
    # An array, since torch on a GPU multiplies by the reciprocal of a divisor that is a number.
    count = xp.full_like(means, float(rows))
    xp.divide(means, count, out=means)
    means = means.reshape(2, many)
    xp.subtract(centred, means[:, :, None], out=centred)
    xp.multiply(u, u, out=products[0])
    xp.multiply(u, r, out=products[1])
    xp.multiply(r, r, out=products[2])
    squares = sums(products.reshape(3 * many, rows), xp).reshape(3, many)
    return xp.stack([count[:many], *means, *squares], axis=1)


def merge(chunks: Array) -> Moments:
    """Return the moments of all rows, given those of each chunk in order: (chunks, 6).

    The upper half is merged into the lower until one is left, all chunks of a half at once.
    """
    table = np.array(chunks.T)
    count = table.shape[1]
    while count > 1:
        half = 1 << (count - 1).bit_length() - 1
        lower, upper = table[:, : count - half], table[:, half:count]
        table[:, : count - half] = np.array(_combined(tuple(lower), tuple(upper)))
        count = half
    return Moments.of(table[:, 0])


def _combined(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the moments of both sets of rows together: numbers, or columns of them.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances (1979), eq. 2.1, and its analogue for covariances.
    """
    rows = one[0] + other[0]
    share = other[0] / rows
    both = one[0] * share
    du, dr = other[1] - one[1], other[2] - one[2]
    return (
        rows,
        one[1] + du * share,
        one[2] + dr * share,
        one[3] + other[3] + du * du * both,
        one[4] + other[4] + du * dr * both,
        one[5] + other[5] + dr * dr * both,
    )


def pivot_line(x: Array, y: Array) -> Pivot:
    """Return a line close to the points of the first chunk: its first point, its own slope.

    The slope is taken only where it explains most of y there. Of a chunk whose x hardly differ it
    would be noise over next to nothing, and moments about so steep a line would lose the rest.
    """
    flat = Pivot(float(x[0]), float(y[0]), 0.0)
    about = Moments.of(chunk_moments(x[None], y[None], flat)[0])
    slope = about.ur / about.uu if about.uu > 0 else 0.0
    explained = slope * about.ur
    clear = math.isfinite(slope) and explained * len(x) > 100 * (about.rr - explained)
    return Pivot(flat.x0, flat.y0, slope if clear else 0.0)


def compress(chunks: Iterable[tuple[Array, Array]]) -> Compressed:
    """Read chunks of x and y, (rows,) each, once and return all a squared loss needs of them.

    Raises: ValueError where there is no row.
    """
    pivot: Pivot | None = None
    room, found = ScratchBuffer(), []
    with ignoring_overflow():
        for x, y in chunks:
            if len(x):
                pivot = pivot or pivot_line(x, y)
                found.append(chunk_moments(x[None], y[None], pivot, room))
        if pivot is None:
            raise ValueError("there is no row to compress")
        return Compressed(pivot, merge(np.concatenate(found)))


def ignoring_overflow() -> Any:
    """Keep numpy from warning of squares past float64: `finite` says so, once, at the end."""
    return np.errstate(over="ignore", invalid="ignore")
