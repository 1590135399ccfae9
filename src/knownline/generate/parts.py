"""Writes a file of rows in row groups of one size, and summarises each while it is in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from knownline.core.moments import Pivot, ScratchBuffer, chunk_moments, pivot_line
from knownline.core.parquet import Writer
from knownline.core.summary import stride
from knownline.generate.draw import CHUNK_ROWS

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Part:
    """A file that was written, and the summary of its rows.

    pivot: None if it has no rows. chunks: the moments of its row groups about `pivot`, (groups, 6).
    low, high: the ends of its x. sample: the number in the data set, x and y of some rows,
    (3, points): of all that are sampled, and of others.
    """

    path: Path
    sha256: str
    pivot: Pivot | None
    chunks: Array
    low: float
    high: float
    sample: Array

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.chunks[:, 0].sum())


class PartWriter:
    """Writes one file; without `close`, as after an error, nothing is left of it."""

    def __init__(self, path: Path, start: int, pivot: Pivot | None, *, sampled: bool) -> None:
        """start: the number of the first row. sampled: whether some of the rows are kept.

        pivot: None to choose it from the first row group.
        """
        self._path, self._row, self._pivot, self._sampled = path, start, pivot, sampled
        self._buffer: Array = np.empty((2, CHUNK_ROWS))
        self._buffered = 0
        self._scratch = ScratchBuffer()
        self._writer: Writer | None = None
        self._chunks: list[Array] = []
        self._samples: list[Array] = [np.empty((3, 0))]
        self._low, self._high = np.inf, -np.inf

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Remove what was not closed."""
        if self._writer:
            self._writer.discard()

    def append(self, x: Array, y: Array, chosen: Indices | None = None) -> None:
        """Add a copy of the rows x and y, (rows,) each, or of those at the indices `chosen`."""
        start, rows = 0, len(x) if chosen is None else len(chosen)
        if chosen is None and rows == CHUNK_ROWS and not self._buffered:
            self._write(x, y)
            return
        while start < rows:
            stop = min(start + CHUNK_ROWS - self._buffered, rows)
            targets = self._buffer[:, self._buffered : self._buffered + stop - start]
            for column, target in zip((x, y), targets, strict=True):
                if chosen is None:
                    target[:] = column[start:stop]
                else:  # any other mode makes numpy copy once more
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
            self._open().write(np.empty(0), np.empty(0))
        if self._writer is None:
            return None
        sha256, self._writer = self._writer.close(), None
        chunks = np.array(self._chunks).reshape(-1, 6)
        sample = np.concatenate(self._samples, axis=1)
        return Part(self._path, sha256, self._pivot, chunks, self._low, self._high, sample)

    def _flush(self) -> None:
        rows, self._buffered = self._buffered, 0
        self._write(*self._buffer[:, :rows])

    def _write(self, x: Array, y: Array) -> None:
        self._pivot = self._pivot or pivot_line(x, y)
        self._chunks.append(chunk_moments(x, y, self._pivot, self._scratch))
        self._low = min(self._low, float(x.min()))
        self._high = max(self._high, float(x.max()))
        if self._sampled:
            # The number of all rows may not be known yet; there are at least as many as so far.
            every = stride(self._row + len(x))
            first = -self._row % every
            numbers = np.arange(self._row + first, self._row + len(x), every)
            chosen = slice(first, None, every)
            self._samples.append(np.stack([numbers, x[chosen], y[chosen]]))
        self._row += len(x)
        (self._writer or self._open()).write(x, y)

    def _open(self) -> Writer:
        self._writer = Writer(self._path)
        return self._writer
