"""Points on disk: Parquet files with the columns x and y, in row groups of one chunk each.

The bytes depend on the points alone: plain encoding, no statistics, no time stamp.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samerun.core import files
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

SCHEMA = pa.schema([pa.field("x", pa.float64(), False), pa.field("y", pa.float64(), False)])

_NAMES = "[!.]*.parquet"
"""Not what a file manager or a crash leaves beside them under a name with a point."""

SHARD_CHUNKS = 64
"""Chunks in a file: 4,194,304 rows, 64 MiB. Several files hash on several cores."""


class ShardWriter:
    """Writes chunks of any length as row groups of exactly `chunk_rows` rows, the last one less."""

    def __init__(
        self, folder: Path, chunk_rows: int, written: Callable[[Path], object] = files.sync
    ) -> None:
        """written: called with each file once it is whole; whoever gives one sees to its sync."""
        self._folder = folder
        self._written = written
        self._chunk_rows = chunk_rows
        self._waiting: Array = np.empty((2, chunk_rows))
        self._waiting_rows = 0
        self._groups = 0
        self._stream: Any = None
        self._writer: Any = None
        self.files: list[Path] = []
        self.rows = 0

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what waits, unless the block failed, and close."""
        if kind is None:
            if self._waiting_rows or not self.files:
                self._write_waiting()
            self._close()
        elif self._writer is not None:
            with suppress(Exception):  # the block's own error is the one to be seen
                self._writer.close()
            with suppress(Exception):
                self._stream.close()

    def append(self, x: Array, y: Array, chosen: Indices | None = None) -> None:
        """Add rows: x and y of (rows,) each, which are copied; or of them those chosen."""
        start, rows = 0, len(x) if chosen is None else len(chosen)
        if chosen is None and rows == self._chunk_rows and not self._waiting_rows:
            self._write_group(x, y)
            return
        while start < rows:
            free = self._chunk_rows - self._waiting_rows
            stop = min(start + free, rows)
            room = self._waiting[:, self._waiting_rows : self._waiting_rows + stop - start]
            for column, place in zip((x, y), room, strict=True):
                if chosen is None:
                    place[:] = column[start:stop]
                else:  # clip: with no mode it would copy once more
                    column.take(chosen[start:stop], out=place, mode="clip")
            self._waiting_rows += stop - start
            start = stop
            if self._waiting_rows == self._chunk_rows:
                self._write_waiting()

    def _write_waiting(self) -> None:
        rows, self._waiting_rows = self._waiting_rows, 0
        self._write_group(*self._waiting[:, :rows])

    def _write_group(self, x: Array, y: Array) -> None:
        if self._groups % SHARD_CHUNKS == 0:
            self._close()
            self._open()
        table = pa.table([_column(x), _column(y)], schema=SCHEMA)
        self._writer.write_table(table, row_group_size=self._chunk_rows)
        self.rows += len(x)
        self._groups += 1

    def _open(self) -> None:
        path = self._folder / f"part-{len(self.files):05d}.parquet"
        self.files.append(path)
        # Arrow's own file: a Python one is written with the interpreter's lock held.
        self._stream = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(
            self._stream,
            SCHEMA,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            store_schema=False,
        )

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._stream.close()
            self._writer = self._stream = None
            self._written(self.files[-1])


def _column(values: Array) -> Any:
    """Return values as Arrow, copying nothing; `pa.array` would import pandas, half a second."""
    buffer = pa.py_buffer(np.ascontiguousarray(values, dtype=np.float64))
    return pa.Array.from_buffers(pa.float64(), len(values), [None, buffer])


def _numbers(column: Any) -> Array:
    """Return an Arrow array as numpy, for the same reason not by `to_numpy`."""
    if column.type != pa.float64() or column.null_count:
        what = f"{column.type} with {column.null_count} gaps"
        raise pa.ArrowInvalid(f"its columns must be float64 without gaps, not {what}")
    return np.frombuffer(column.buffers()[1], np.float64, len(column), column.offset * 8)


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring row groups of a file that hold rows: what is read at a time.

    groups: their numbers in the file. rows: how many each has: one number, but the last may have
    less.
    """

    path: Path
    groups: tuple[int, ...]
    rows: tuple[int, ...]

    def read(self) -> Iterator[tuple[Array, Array]]:
        """Yield the groups in order: x and y of (rows,) each.

        Raises: DamagedError with the file's name where it is not such Parquet.
        """
        _check_is_file(self.path)
        with _told(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            # By batches: to take a table's columns as one array each would copy them. Threads of
            # Arrow's own would read two columns; ours each read other groups.
            batches = file.iter_batches(self.rows[0], self.groups, ["x", "y"], use_threads=False)
            for rows in self.rows:
                batch: Any = next(batches, ())
                if len(batch) != rows:
                    raise pa.ArrowInvalid(f"a row group must have {rows} rows, not {len(batch)}")
                yield _numbers(batch["x"]), _numbers(batch["y"])


def paths(folder: Path) -> list[Path]:
    """Return the files of a folder in order."""
    return sorted(folder.glob(_NAMES))


def spans(path: Path, groups: int) -> list[Span]:
    """Return a file cut into spans of at most `groups` row groups, those without rows left out.

    Raises: DamagedError with the file's name where it is not Parquet.
    """
    _check_is_file(path)
    with _told(path):
        whole = pq.read_metadata(path)
        counts = [whole.row_group(i).num_rows for i in range(whole.num_row_groups)]
        if counts and min(counts) < 0:
            raise pa.ArrowInvalid(f"a row group must have rows, not {min(counts)}")
    found: list[Span] = []
    for group, rows in enumerate(counts):
        last = found[-1] if found else None
        if last and len(last.groups) < groups and last.rows[0] == last.rows[-1] >= rows > 0:
            found[-1] = Span(path, (*last.groups, group), (*last.rows, rows))
        elif rows:
            found.append(Span(path, (group,), (rows,)))
    return found


def rows(folder: Path) -> int:
    """Return the number of rows in a folder, as its files' footers say."""
    return sum(pq.read_metadata(path).num_rows for path in paths(folder))


def read(folder: Path) -> Iterator[tuple[Array, Array]]:
    """Yield the row groups of a folder's files in order: x and y of (rows,) each.

    Raises: DamagedError with the file's name where a file is not such Parquet.
    """
    for path in paths(folder):
        for span in spans(path, SHARD_CHUNKS):
            yield from span.read()


def _check_is_file(path: Path) -> None:
    """Refuse what is no file: to open a pipe would wait for who writes to it."""
    if not path.is_file():
        found = "something else" if path.exists() else "nothing"
        raise DamagedError(f"{path} must be a file (got {found})")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file in what Arrow says of it."""
    try:
        yield
    except MemoryError:  # Arrow's own is an ArrowException too, and no file's fault
        raise
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path} must be Parquet with columns x and y ({error})") from error
