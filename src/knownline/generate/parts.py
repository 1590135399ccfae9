"""Writes a file of rows in row groups of one size, and summarises each while it is in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from knownline.core.kinds import Linear
from knownline.core.moments import Pivot, Summation
from knownline.core.parquet import Writer
from knownline.core.summary import stride
from knownline.generate.draw import CHUNK_ROWS

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Part:
    """A file that was written, and the summary of its rows.

    moments: of its row groups, (groups, moments), about each pivot, in order. pivot: a good one of
    them, or None. low, high: the smallest and largest value of each input. sample: the number in
    the data set and the columns of some rows, (1 + columns, points); at least the sampled rows.
    """

    path: Path
    sha256: str
    rows: int
    moments: list[tuple[Pivot, Array]]
    pivot: Pivot | None
    low: Array
    high: Array
    sample: Array


class PartWriter:
    """Writes one file; without `close`, for example after an error, the file is removed."""

    def __init__(
        self, path: Path, kind: Linear, start: int, pivot: Pivot | None, *, sampled: bool
    ) -> None:
        """start: the number of the first row. sampled: whether some of the rows are kept.

        pivot: a good one, or None to choose it from the row groups.
        """
        self._path, self._kind, self._row = path, kind, start
        self._start, self._sampled = start, sampled
        self._moments = Summation(pivot)
        count = len(kind.inputs)
        self._buffer: Array = np.empty((count + 1, CHUNK_ROWS))
        self._buffered = 0
        self._writer: Writer | None = None
        self._samples: list[Array] = [np.empty((2 + count, 0))]
        self._low, self._high = np.full(count, np.inf), np.full(count, -np.inf)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the file if it was not closed."""
        if self._writer:
            self._writer.discard()

    def append(self, columns: Sequence[Array], chosen: Indices | None = None) -> None:
        """Add a copy of rows, a column of (rows,) each, or of those at the indices `chosen`."""
        start, rows = 0, len(columns[0]) if chosen is None else len(chosen)
        if chosen is None and rows == CHUNK_ROWS and not self._buffered:
            self._write(columns)
            return
        while start < rows:
            stop = min(start + CHUNK_ROWS - self._buffered, rows)
            targets = self._buffer[:, self._buffered : self._buffered + stop - start]
            for column, target in zip(columns, targets, strict=True):
                if chosen is None:
                    target[:] = column[start:stop]
                else:  # with another mode numpy makes one more copy
                    column.take(chosen[start:stop], out=target, mode="clip")
            self._buffered += stop - start
            start = stop
            if self._buffered == CHUNK_ROWS:
                self._flush()

    def close(self, *, always: bool) -> Part | None:
        """Complete the file and return it; None if there are no rows, unless `always`."""
        if self._buffered:
            self._flush()
        if self._writer is None and always:
            self._open().write([np.empty(0)] * len(self._buffer))
        if self._writer is None:
            return None
        sha256, self._writer = self._writer.close(), None
        sample = np.concatenate(self._samples, axis=1)
        rows, moments = self._row - self._start, self._moments
        return Part(
            self._path,
            sha256,
            rows,
            moments.parts(),
            moments.good_pivot,
            self._low,
            self._high,
            sample,
        )

    def _flush(self) -> None:
        rows, self._buffered = self._buffered, 0
        self._write(list(self._buffer[:, :rows]))

    def _write(self, columns: Sequence[Array]) -> None:
        *inputs, y = columns
        terms = self._kind.columns(inputs)
        self._moments.add(terms, y)
        self._low = np.minimum(self._low, [x.min() for x in inputs])
        self._high = np.maximum(self._high, [x.max() for x in inputs])
        if self._sampled:
            # The total number of rows may be unknown yet. It is at least the number so far.
            every = stride(self._row + len(y))
            first = -self._row % every
            numbers = np.arange(self._row + first, self._row + len(y), every)
            chosen = slice(first, None, every)
            self._samples.append(np.stack([numbers, *(column[chosen] for column in columns)]))
        self._row += len(y)
        (self._writer or self._open()).write(columns)

    def _open(self) -> Writer:
        self._writer = Writer(self._path, self._kind.inputs)
        return self._writer
