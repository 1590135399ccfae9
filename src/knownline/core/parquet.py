"""Writes and reads points: Parquet files with the columns x and y, one chunk per row group.

The bytes depend on the points alone: plain encoding, no statistics, no time stamp. Knows nothing of
what the points mean.
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

_PATTERN = "[!.]*.parquet"
"""Without hidden files, which a file manager or a crash may leave in the folder."""

SHARD_CHUNKS = 64
"""Chunks in a file: 4,194,304 rows, 64 MiB. Separate files can be hashed on several cores."""


class ShardWriter:
    """Writes points in row groups of `chunk_rows` rows each; the last group may have fewer."""

    def __init__(
        self, folder: Path, chunk_rows: int, written: Callable[[Path], object] = files.sync
    ) -> None:
        """written: called with each file once it is complete, to sync it to the disk."""
        self._folder = folder
        self._on_written = written
        self._chunk_rows = chunk_rows
        self._buffer: Array = np.empty((2, chunk_rows))
        self._buffered_rows = 0
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
        """Write the buffered rows, unless the block failed, and close."""
        if kind is None:
            if self._buffered_rows or not self.files:
                self._flush()
            self._close()
        elif self._writer is not None:
            with suppress(Exception):  # report the block's own error
                self._writer.close()
            with suppress(Exception):
                self._stream.close()

    def append(self, x: Array, y: Array, chosen: Indices | None = None) -> None:
        """Add a copy of the rows x and y, (rows,) each, or of those at the indices `chosen`."""
        start, rows = 0, len(x) if chosen is None else len(chosen)
        if chosen is None and rows == self._chunk_rows and not self._buffered_rows:
            self._write_group(x, y)
            return
        while start < rows:
            space = self._chunk_rows - self._buffered_rows
            stop = min(start + space, rows)
            targets = self._buffer[:, self._buffered_rows : self._buffered_rows + stop - start]
            for column, target in zip((x, y), targets, strict=True):
                if chosen is None:
                    target[:] = column[start:stop]
                else:  # any other mode makes numpy copy once more
                    column.take(chosen[start:stop], out=target, mode="clip")
            self._buffered_rows += stop - start
            start = stop
            if self._buffered_rows == self._chunk_rows:
                self._flush()

    def _flush(self) -> None:
        rows, self._buffered_rows = self._buffered_rows, 0
        self._write_group(*self._buffer[:, :rows])

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
        # Arrow's own file: writing to a Python file would hold the interpreter's lock.
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
            self._on_written(self.files[-1])


def _column(values: Array) -> Any:
    """Return values as an Arrow array without a copy; `pa.array` would import pandas for 0.5 s."""
    buffer = pa.py_buffer(np.ascontiguousarray(values, dtype=np.float64))
    return pa.Array.from_buffers(pa.float64(), len(values), [None, buffer])


def _numbers(column: Any) -> Array:
    """Return an Arrow array as numpy; `to_numpy` would import pandas too."""
    if column.type != pa.float64() or column.null_count:
        actual = f"{column.type} with {column.null_count} gaps"
        raise pa.ArrowInvalid(f"its columns must be float64 without gaps, not {actual}")
    return np.frombuffer(column.buffers()[1], np.float64, len(column), column.offset * 8)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive row groups of a file, none of them empty, that are read together.

    groups: their indices in the file. rows: the rows of each; equal, but the last may have fewer.
    """

    path: Path
    groups: tuple[int, ...]
    rows: tuple[int, ...]

    def read(self) -> Iterator[tuple[Array, Array]]:
        """Yield the groups in order: x and y of (rows,) each.

        Raises: DamagedError with the file's name if it is not such Parquet.
        """
        _check_is_file(self.path)
        with _naming(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            # In batches: taking a column as one array would copy it. Without Arrow's threads: those
            # would read the two columns at once, while ours read different groups.
            batches = file.iter_batches(self.rows[0], self.groups, ["x", "y"], use_threads=False)
            for rows in self.rows:
                batch: Any = next(batches, ())
                if len(batch) != rows:
                    raise pa.ArrowInvalid(f"a row group must have {rows} rows, not {len(batch)}")
                yield _numbers(batch["x"]), _numbers(batch["y"])


def paths(folder: Path) -> list[Path]:
    """Return the files of a folder in order."""
    return sorted(folder.glob(_PATTERN))


def spans(path: Path, groups: int) -> list[Span]:
    """Return the spans of a file, of at most `groups` row groups each; empty groups are left out.

    Raises: DamagedError with the file's name if it is not Parquet.
    """
    _check_is_file(path)
    with _naming(path):
        metadata = pq.read_metadata(path)
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if counts and min(counts) < 0:
            raise pa.ArrowInvalid(f"a row group must have rows, not {min(counts)}")
    result: list[Span] = []
    for group, rows in enumerate(counts):
        last = result[-1] if result else None
        if last and len(last.groups) < groups and last.rows[0] == last.rows[-1] >= rows > 0:
            result[-1] = Span(path, (*last.groups, group), (*last.rows, rows))
        elif rows:
            result.append(Span(path, (group,), (rows,)))
    return result


def rows(folder: Path) -> int:
    """Return the number of rows in a folder, from the footers of its files."""
    return sum(pq.read_metadata(path).num_rows for path in paths(folder))


def read(folder: Path) -> Iterator[tuple[Array, Array]]:
    """Yield the row groups of a folder's files in order: x and y of (rows,) each.

    Raises: DamagedError with the file's name if a file is not such Parquet.
    """
    for path in paths(folder):
        for span in spans(path, SHARD_CHUNKS):
            yield from span.read()


def _check_is_file(path: Path) -> None:
    """Raise DamagedError if `path` is not a file: opening a pipe would wait for a writer."""
    if not path.is_file():
        actual = "something else" if path.exists() else "nothing"
        raise DamagedError(f"{path} must be a file (got {actual})")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an error of Arrow into a DamagedError that names the file."""
    try:
        yield
    except MemoryError:  # Arrow's is an ArrowException too, but the file is not damaged
        raise
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path} must be Parquet with columns x and y ({error})") from error
