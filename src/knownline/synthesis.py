"""Points drawn around a true line, and the choice of the rows that are held out.

Every draw is keyed by the seed, what it is for, and the index of its chunk, so that any chunk can
be drawn alone, in any order and by anyone, and gives the same bytes. Knows nothing of files.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from knownline.line import Line
from knownline.params import Generate, Noise, Spacing, holdout_rows

Array = npt.NDArray[np.float64]

CHUNK_ROWS = 1 << 16
"""Rows drawn, written and compressed at a time. Part of what the data is: it keys the draws."""


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


def grid(spacing: Spacing, rows: int, start: int, stop: int) -> Array:
    """Return rows start..stop-1 of `rows` evenly spaced x, both ends included: (stop-start,)."""
    step = (spacing.high - spacing.low) / (rows - 1)
    x = spacing.low + np.arange(start, stop, dtype=np.float64) * step
    if stop == rows:
        x[-1] = spacing.high
    return x


def noise(kind: Noise, *, seed: int, chunk: int, rows: int) -> Array:
    """Return what is added to `rows` rows of a chunk: (rows,), in the units of y."""
    if kind.kind == "normal":
        draws = generator(seed=seed, stream=Stream.NOISE, chunk=chunk)
        return kind.scale * draws.standard_normal(rows)
    whole = int(kind.scale)
    if kind.kind == "integer":
        draws = generator(seed=seed, stream=Stream.NOISE, chunk=chunk)
        return draws.integers(-whole, whole, size=rows, endpoint=True).astype(np.float64)
    draws = generator(seed=seed, stream=Stream.NOISE, chunk=0)
    return np.full(rows, float(draws.integers(-whole, whole, endpoint=True)))


def points(wanted: Generate, truth: Line) -> Iterator[tuple[Array, Array]]:
    """Yield the chunks of x and y = truth.w * x + truth.b + noise, `CHUNK_ROWS` rows at a time."""
    for chunk, start in enumerate(range(0, wanted.rows, CHUNK_ROWS)):
        stop = min(start + CHUNK_ROWS, wanted.rows)
        if wanted.x.spacing == "grid":
            x = grid(wanted.x, wanted.rows, start, stop)
        else:
            draws = generator(seed=wanted.seed, stream=Stream.X, chunk=chunk)
            x = draws.uniform(wanted.x.low, wanted.x.high, stop - start)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever writes them checks them
            y = truth.at(x) + noise(wanted.noise, seed=wanted.seed, chunk=chunk, rows=stop - start)
        yield x, y


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
