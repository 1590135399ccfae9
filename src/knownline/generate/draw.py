"""Draws points around a model with known parameters.

Every draw has a key: the seed, the draw's purpose and the index of its chunk. So each chunk can be
drawn alone, in any order and in any process, and has the same bytes. Knows nothing of files.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from knownline.core.kinds import Parameters, Parametric
from knownline.params.data import Generate, Noise, Spacing

Array = npt.NDArray[np.float64]

CHUNK_ROWS = 1 << 16
"""Rows drawn, written and compressed at a time. Another value gives other data."""

_ROW_NUMBERS = np.arange(CHUNK_ROWS, dtype=np.float64)


class Stream(IntEnum):
    """The purpose of a draw. Streams are independent: more noise does not change x or the holdout.

    INPUTS: for the second and later inputs; the input's number is added.
    """

    X = 1
    NOISE = 2
    HOLDOUT = 3
    INPUTS = 16


def generator(*, seed: int, stream: int, chunk: int) -> np.random.Generator:
    """Return the generator of one chunk of one stream.

    Philox encrypts a counter with a key, so distinct keys give independent streams. There is one
    generator per chunk, not per row: a normal draw (by the ziggurat method) consumes a varying
    number of random words, so a row's position in the stream cannot be computed.

    Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).
    """
    key = np.array([seed, (stream << 48) | chunk], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def grid(spacing: Spacing, rows: int, start: int, stop: int, *, out: Array | None = None) -> Array:
    """Return rows start..stop-1 of `rows` evenly spaced x, ends included: (stop-start,)."""
    step = (spacing.high - spacing.low) / (rows - 1)
    x = np.add(_ROW_NUMBERS[: stop - start], start, out=out)
    np.multiply(x, step, out=x)
    np.add(x, spacing.low, out=x)
    if stop == rows:
        x[-1] = spacing.high
    return x


def noise(kind: Noise, *, seed: int, chunk: int, rows: int, out: Array | None = None) -> Array:
    """Return the noise of the first `rows` rows of a chunk: (rows,), in the units of y."""
    values = np.empty(rows) if out is None else out
    if kind.kind == "normal":
        generator(seed=seed, stream=Stream.NOISE, chunk=chunk).standard_normal(out=values)
        return np.multiply(values, kind.scale, out=values)
    limit = int(kind.scale)
    if kind.kind == "integer":
        random = generator(seed=seed, stream=Stream.NOISE, chunk=chunk)
        values[:] = random.integers(-limit, limit, size=rows, endpoint=True)
    else:
        random = generator(seed=seed, stream=Stream.NOISE, chunk=0)
        values[:] = float(random.integers(-limit, limit, endpoint=True))
    return values


class Drawing:
    """Draws chunks of points, each into the same memory.

    Allocating memory for every chunk would take half as long as the drawing itself.
    """

    def __init__(self, settings: Generate, kind: Parametric, truth: Parameters) -> None:
        self._settings, self._kind, self._truth = settings, kind, truth
        self._columns: Array = np.empty((len(kind.inputs) + 1, CHUNK_ROWS))

    def draw(self, chunk: int) -> tuple[list[Array], Array]:
        """Return the inputs and y of a chunk, (rows,) each, valid until the next draw.

        y is the model's value for the inputs and the true parameters, plus noise.
        """
        settings = self._settings
        start = chunk * CHUNK_ROWS
        stop = min(start + CHUNK_ROWS, settings.rows)
        *inputs, y = self._columns[:, : stop - start]
        for number, (spacing, x) in enumerate(zip(settings.spacings, inputs, strict=True)):
            if spacing.spacing == "grid":
                grid(spacing, settings.rows, start, stop, out=x)
            else:
                stream = Stream.INPUTS + number if number else Stream.X
                generator(seed=settings.seed, stream=stream, chunk=chunk).random(out=x)
                np.multiply(x, spacing.high - spacing.low, out=x)
                np.add(x, spacing.low, out=x)
        noise(settings.noise, seed=settings.seed, chunk=chunk, rows=stop - start, out=y)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks y
            np.add(self._kind.at(self._truth, inputs), y, out=y)
        return inputs, y
