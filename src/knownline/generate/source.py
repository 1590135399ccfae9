"""Where the rows come from: drawn around the truth, or read from a table, block by block."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from knownline.core.errors import ParamsError, TableError
from knownline.core.kinds import Model, Network, Parameters
from knownline.generate.draw import CHUNK_ROWS, Drawing
from knownline.generate.tables import Table
from knownline.params import Params, models
from knownline.params.data import Generate

Array = npt.NDArray[np.float64]

EVERY_BLOCK = range(1 << 48)
"""More block numbers than any data has."""


class Block(NamedTuple):
    """CHUNK_ROWS consecutive rows, fewer in the last block; valid until the next one is read.

    number: counted from 0. columns: the inputs and y, (rows,) each.
    """

    number: int
    columns: list[Array]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.columns[0])


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a data set.

    rows: their number, None if it is unknown before they are read. group_ends: for a Parquet file,
    the row before which each row group ends. stamp: of the table, before anything was read.
    """

    model: str
    settings: Generate
    truth: Parameters | None
    table: Table | None
    rows: int | None
    group_ends: tuple[int, ...] = ()
    stamp: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, params: Params) -> "Source":
        """Return the source that params.yaml names.

        Raises: TableError if there is no such table, or it cannot be read as one.
        """
        settings, truth = params.generate, params.true_parameters
        if settings.table is None:
            return cls(params.model, settings, truth, None, settings.rows)
        columns = settings.columns
        table = Table(
            Path(settings.table),
            tuple(columns.x),
            columns.y,
            Path.cwd(),
            settings.csv.separator,
            settings.csv.decimal,
        )
        stamp = table.stamp()
        ends = tuple(table.group_ends())
        rows = (ends[-1] if ends else 0) if table.is_parquet else None
        return cls(params.model, settings, truth, table, rows, ends, stamp)

    @property
    def kind(self) -> Model:
        """The model; not a field, because its terms cannot be sent to another process."""
        return models.named(self.model, tuple(self.settings.columns.x))

    def cost(self, start: int) -> int:
        """Return how many rows before `start` must be read to read from there."""
        group = bisect_right(self.group_ends, start)
        return start - self.group_ends[group - 1] if group else start if self.table else 0

    def check_unchanged(self) -> None:
        """Raise a TableError if the table has changed since the first read."""
        if self.table and self.table.stamp() != self.stamp:
            raise TableError(
                f"{self.table.path} must not change while it is read (got another file)"
            )

    def blocks(self, numbers: range = EVERY_BLOCK) -> Iterator[Block]:
        """Yield the blocks of these numbers that exist, in order.

        Raises: ParamsError if a drawn y is not finite; TableError at the first value of a table
        that is no finite number, or if rows are missing.
        """
        if self.table:
            return self._read(self.table, numbers)
        return self._draw(numbers)

    def _draw(self, numbers: range) -> Iterator[Block]:
        assert self.truth is not None  # a rule of Params
        kind = self.kind
        assert not isinstance(kind, Network)  # another rule of Params
        drawing = Drawing(self.settings, kind, self.truth)
        for number in numbers:
            if number * CHUNK_ROWS >= self.settings.rows:
                return
            inputs, y = drawing.draw(number)
            if not np.isfinite(y).all():
                raise ParamsError(
                    "truth must give a finite y for every x of generate.x (got one beyond float64)"
                )
            yield Block(number, [*inputs, y])

    def _read(self, table: Table, numbers: range) -> Iterator[Block]:
        # A worker may see another file, for example behind a link. In a copy the inode may differ.
        if self.stamp and table.stamp()[1:] != self.stamp[1:]:
            raise TableError(
                f"{table.path} must be the same file for every worker and not change while it is"
                " read (got one of another size or time)"
            )
        start, stop = numbers.start * CHUNK_ROWS, numbers.stop * CHUNK_ROWS
        if self.rows is not None:
            stop = min(stop, self.rows)
        row = start
        for number, columns in enumerate(_in_blocks(table.chunks(start, stop)), numbers.start):
            row += len(columns[0])
            yield Block(number, columns)
        if self.rows is not None and row != max(start, stop):
            raise TableError(
                f"{table.path} must have the {self.rows} rows that its footer counts (got {row})"
            )


def _in_blocks(pieces: Iterable[list[Array]]) -> Iterator[list[Array]]:
    """Yield the rows of pieces in blocks of CHUNK_ROWS; the last one may be shorter."""
    waiting: list[list[Array]] = []
    rows = 0
    for columns in pieces:
        start, count = 0, len(columns[0])
        while rows + count - start >= CHUNK_ROWS:
            stop = start + CHUNK_ROWS - rows
            yield _joined([*waiting, [column[start:stop] for column in columns]])
            waiting, rows, start = [], 0, stop
        if start < count:
            waiting.append([column[start:] for column in columns])
            rows += count - start
    if rows:
        yield _joined(waiting)


def _joined(pieces: list[list[Array]]) -> list[Array]:
    if len(pieces) == 1:
        return pieces[0]
    return [np.concatenate(columns) for columns in zip(*pieces, strict=True)]
