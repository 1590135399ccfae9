"""Points drawn around a true line, and the choice of the rows that are held out.

Every draw is keyed by the seed, what it is for, and the index of its chunk, so that any chunk can
be drawn alone, in any order and by anyone, and gives the same bytes. Knows nothing of files.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line
from knownline.params import Generate, Noise, Spacing, holdout_rows

Array = npt.NDArray[np.float64]

CHUNK_ROWS = 1 << 16
"""Rows drawn, written and compressed at a time. Part of what the data is: it keys the draws."""


_COUNT = np.arange(CHUNK_ROWS, dtype=np.float64)


class Stream(IntEnum):
    """What a draw is for. Streams are independent: more noise does not move x or the holdout."""

    X = 1
    NOISE = 2
    HOLDOUT = 3


def generator(*, seed: int, stream: Stream, chunk: int) -> np.random.Generator:
    """Return the generator of one chunk of one stream.

    Philox is a keyed cipher of a counter: distinct keys give independent streams without a jump.
    The ziggurat takes a varying number of words per normal draw, so a key per row would not do.

    Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).
    """
    key = np.array([seed, (int(stream) << 48) | chunk], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def grid(spacing: Spacing, rows: int, start: int, stop: int, *, out: Array | None = None) -> Array:
    """Return rows start..stop-1 of `rows` evenly spaced x, both ends included: (stop-start,)."""
    step = (spacing.high - spacing.low) / (rows - 1)
    x = np.add(_COUNT[: stop - start], start, out=out)
    np.multiply(x, step, out=x)
    np.add(x, spacing.low, out=x)
    if stop == rows:
        x[-1] = spacing.high
    return x


def noise(kind: Noise, *, seed: int, chunk: int, rows: int, out: Array | None = None) -> Array:
    """Return what is added to `rows` rows of a chunk: (rows,), in the units of y."""
    drawn = np.empty(rows) if out is None else out
    if kind.kind == "normal":
        generator(seed=seed, stream=Stream.NOISE, chunk=chunk).standard_normal(out=drawn)
        return np.multiply(drawn, kind.scale, out=drawn)
    whole = int(kind.scale)
    if kind.kind == "integer":
        draws = generator(seed=seed, stream=Stream.NOISE, chunk=chunk)
        drawn[:] = draws.integers(-whole, whole, size=rows, endpoint=True)
    else:
        draws = generator(seed=seed, stream=Stream.NOISE, chunk=0)
        drawn[:] = float(draws.integers(-whole, whole, endpoint=True))
    return drawn


class Block:
    """One chunk of points, drawn into memory that the next one uses again.

    Fresh memory for every chunk costs half as much again as drawing it.
    """

    def __init__(self) -> None:
        self._columns: Array = np.empty((3, CHUNK_ROWS))

    def draw(self, wanted: Generate, truth: Line, chunk: int) -> tuple[Array, Array]:
        """Return x and y = truth.w * x + truth.b + noise of a chunk, valid until the next draw."""
        start = chunk * CHUNK_ROWS
        stop = min(start + CHUNK_ROWS, wanted.rows)
        x, y, off = self._columns[:, : stop - start]
        if wanted.x.spacing == "grid":
            grid(wanted.x, wanted.rows, start, stop, out=x)
        else:
            generator(seed=wanted.seed, stream=Stream.X, chunk=chunk).random(out=x)
            np.multiply(x, wanted.x.high - wanted.x.low, out=x)
            np.add(x, wanted.x.low, out=x)
        noise(wanted.noise, seed=wanted.seed, chunk=chunk, rows=stop - start, out=off)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever writes them checks them
            np.multiply(x, truth.w, out=y)
            np.add(y, truth.b, out=y)
            np.add(y, off, out=y)
        return x, y


def chunks(wanted: Generate) -> range:
    """Return the numbers of the chunks that `wanted.rows` rows are drawn in."""
    return range(-(-wanted.rows // CHUNK_ROWS))


def points(wanted: Generate, truth: Line) -> Iterator[tuple[Array, Array]]:
    """Yield the chunks of x and y = truth.w * x + truth.b + noise, `CHUNK_ROWS` rows at a time."""
    for chunk in chunks(wanted):
        yield Block().draw(wanted, truth, chunk)


def held_out(
    start: int, stop: int, *, rows: int, fraction: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which of rows start..stop-1 of `rows` are held out: (stop-start,) bool.

    In each block of `CHUNK_ROWS` rows of the whole table a simple random sample is held out, of
    the size that makes the count of all blocks so far exact. It depends on the row's place in the
    whole, not on how the whole is cut for reading; up to one block it is a simple random sample.
    """
    mask = np.zeros(stop - start, dtype=bool)
    if fraction == 0:
        return mask
    for block in range(start // CHUNK_ROWS, -(-stop // CHUNK_ROWS)):
        first, last = block * CHUNK_ROWS, min((block + 1) * CHUNK_ROWS, rows)
        count = holdout_rows(last, fraction) - holdout_rows(first, fraction)
        draws = generator(seed=seed, stream=Stream.HOLDOUT, chunk=block)
        chosen = first + draws.choice(last - first, size=count, replace=False, shuffle=False)
        mask[chosen[(chosen >= start) & (chosen < stop)] - start] = True
    return mask
