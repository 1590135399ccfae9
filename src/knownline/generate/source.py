"""Where the rows come from: drawn around the truth, or read from a table, block by block."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from knownline.core.errors import ParamsError, TableError
from knownline.core.line import Line
from knownline.generate.draw import CHUNK_ROWS, Drawing
from knownline.generate.tables import Table
from knownline.params import Generate, Params

Array = npt.NDArray[np.float64]

EVERY_BLOCK = range(1 << 48)
"""The numbers of more blocks than any data has."""


class Block(NamedTuple):
    """CHUNK_ROWS consecutive rows, fewer in the last block; valid until the next one is read.

    number: counted from 0. x, y: (rows,).
    """

    number: int
    x: Array
    y: Array


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a data set.

    rows: how many, None if that is not known before they are read. group_ends: of a Parquet file,
    the row that each row group ends before. stamp: of the table, from before anything was read.
    """

    settings: Generate
    truth: Line | None
    table: Table | None
    rows: int | None
    group_ends: tuple[int, ...] = ()
    stamp: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, params: Params) -> "Source":
        """Return the source that params.yaml names.

        Raises: TableError if there is no such table, or it cannot be read as one.
        """
        settings, truth = params.generate, params.truth
        line = Line(truth.w, truth.b) if truth else None
        if settings.table is None:
            return cls(settings, line, None, settings.rows)
        columns = settings.columns
        table = Table(Path(settings.table), columns.x, columns.y, Path.cwd())
        stamp = table.stamp()
        ends = tuple(table.group_ends())
        rows = (ends[-1] if ends else 0) if table.is_parquet else None
        return cls(settings, line, table, rows, ends, stamp)

    def cost(self, start: int) -> int:
        """Return how many rows before `start` must be read to read from there."""
        group = bisect_right(self.group_ends, start)
        return start - self.group_ends[group - 1] if group else start if self.table else 0

    def check_unchanged(self) -> None:
        """Raise a TableError if the table has changed since anything was read of it."""
        if self.table and self.table.stamp() != self.stamp:
            raise TableError(
                f"{self.table.path} must not change while it is read (got another file)"
            )

    def blocks(self, numbers: range = EVERY_BLOCK) -> Iterator[Block]:
        """Yield blocks in order, as far as there are rows.

        Raises: ParamsError if a drawn y is not finite; TableError at the first value of a table
        that is no finite number, or if rows are missing.
        """
        if self.table:
            return self._read(self.table, numbers)
        return self._draw(numbers)

    def _draw(self, numbers: range) -> Iterator[Block]:
        assert self.truth is not None  # a rule of Params
        drawing = Drawing(self.settings, self.truth)
        for number in numbers:
            if number * CHUNK_ROWS >= self.settings.rows:
                return
            x, y = drawing.draw(number)
            if not np.isfinite(y).all():
                raise ParamsError(
                    "truth must give a finite y for every x of generate.x (got one past float64)"
                )
            yield Block(number, x, y)

    def _read(self, table: Table, numbers: range) -> Iterator[Block]:
        # A worker may see another file, as behind a link. Its inode may differ where it is a copy.
        if self.stamp and table.stamp()[1:] != self.stamp[1:]:
            raise TableError(
                f"{table.path} must be the same file for every worker and not change while it is"
                " read (got one of another size or time)"
            )
        start, stop = numbers.start * CHUNK_ROWS, numbers.stop * CHUNK_ROWS
        if self.rows is not None:
            stop = min(stop, self.rows)
        row = start
        for number, (x, y) in enumerate(_in_blocks(table.chunks(start, stop)), numbers.start):
            row += len(x)
            yield Block(number, x, y)
        if self.rows is not None and row != max(start, stop):
            raise TableError(
                f"{table.path} must have the {self.rows} rows that its footer counts (got {row})"
            )


def _in_blocks(pieces: Iterable[tuple[Array, Array]]) -> Iterator[tuple[Array, Array]]:
    """Yield the rows of pieces again, CHUNK_ROWS at a time; the last time what is left."""
    waiting: list[tuple[Array, Array]] = []
    rows = 0
    for x, y in pieces:
        start = 0
        while rows + len(x) - start >= CHUNK_ROWS:
            stop = start + CHUNK_ROWS - rows
            yield _joined([*waiting, (x[start:stop], y[start:stop])])
            waiting, rows, start = [], 0, stop
        if start < len(x):
            waiting.append((x[start:], y[start:]))
            rows += len(x) - start
    if rows:
        yield _joined(waiting)


def _joined(pieces: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    if len(pieces) == 1:
        return pieces[0]
    xs, ys = zip(*pieces, strict=True)
    return np.concatenate(xs), np.concatenate(ys)
