"""Writes and reads points: Parquet files with a column per input, and y; a chunk per row group.

The bytes depend on the points alone: plain encoding, no statistics, no time stamp. Knows nothing of
what the points mean.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samerun.core import files
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]

TARGET = "y"
"""The name of the target's column."""

_PATTERN = "[!.]*.parquet"
"""Ignores hidden files, which a file manager or a crash may leave in the folder."""

_BATCH_ROWS = 1 << 16
"""Rows read at a time."""


class Writer:
    """Writes a file, row group by row group, under a temporary name until it is complete.

    Two processes may write the same file at once, for example if Dask repeats the task of a worker
    that it wrongly takes for dead. Both write the same bytes, and a reader sees a complete file.
    """

    def __init__(self, path: Path, inputs: Sequence[str]) -> None:
        """inputs: the names of the columns before y."""
        self._path = path
        self._schema = pa.schema(
            [pa.field(name, pa.float64(), False) for name in (*inputs, TARGET)]
        )
        self._temporary = path.parent / f".{path.name}.tmp-{secrets.token_hex(4)}"
        # Arrow's own file: writing to a Python file would hold the interpreter's lock.
        self._stream = pa.OSFile(str(self._temporary), "wb")
        self._writer: Any = pq.ParquetWriter(
            self._stream,
            self._schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            store_schema=False,
        )

    def write(self, columns: Sequence[Array]) -> None:
        """Write a row group: the inputs and y, (rows,) each."""
        table = pa.table([_column(values) for values in columns], schema=self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(columns[0])))

    def close(self) -> str:
        """Complete the file, which the caller syncs; return its SHA-256 in hex."""
        self._writer.close()
        self._stream.close()
        self._temporary.replace(self._path)
        return files.sha256_of(self._path)

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(Exception):  # the error that caused this is the one to report
            self._writer.close()
        with suppress(Exception):
            self._stream.close()
        self._temporary.unlink(missing_ok=True)


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


def paths(folder: Path) -> list[Path]:
    """Return the files of a folder in the order of their numbers."""
    return sorted(folder.glob(_PATTERN), key=lambda path: (len(path.name), path.name))


def read(folder: Path, inputs: Sequence[str]) -> Iterator[list[Array]]:
    """Yield the rows of a folder's files in order, batch by batch: the inputs and y, (rows,) each.

    Raises: DamagedError with the file's name if a file is not such Parquet.
    """
    for path in paths(folder):
        _check_is_file(path)
        names = [*inputs, TARGET]
        with _naming(path, names), pq.ParquetFile(path, pre_buffer=False) as file:
            # In batches: taking a column as one array would copy it.
            rows = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False):
                rows += len(batch)
                yield [_numbers(batch[name]) for name in names]
            if rows != file.metadata.num_rows:
                raise pa.ArrowInvalid(f"it must have {file.metadata.num_rows} rows, not {rows}")


def load(folder: Path, inputs: Sequence[str], rows: int) -> tuple[list[Array], Array]:
    """Return all rows of a folder's files, of which there are `rows`: inputs and y, (rows,) each.

    Raises: DamagedError as `read` does, and if there are more rows or fewer.
    """
    columns, start = np.empty((len(inputs) + 1, rows)), 0
    for batch in read(folder, inputs):
        stop = start + len(batch[-1])
        if stop <= rows:
            columns[:, start:stop] = batch
        start = stop
    if start != rows:
        raise DamagedError(
            f"{folder} must have {rows:,} rows: run `dvc repro --force` (got {start:,})"
        )
    *values, y = columns
    return values, y


def _check_is_file(path: Path) -> None:
    """Raise DamagedError if `path` is not a file: opening a pipe would wait for a writer."""
    if not path.is_file():
        actual = "something else" if path.exists() else "nothing"
        raise DamagedError(f"{path} must be a file (got {actual})")


@contextmanager
def _naming(path: Path, names: Sequence[str]) -> Iterator[None]:
    """Turn an error of Arrow into a DamagedError that names the file."""
    try:
        yield
    except MemoryError:  # Arrow's is an ArrowException too, but the file is not damaged
        raise
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        columns = " and ".join(names)
        raise DamagedError(f"{path} must be Parquet with columns {columns} ({error})") from error
