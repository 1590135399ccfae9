"""Reads a user's table, CSV or Parquet, in batches, and checks that its values are numbers.

Rows are counted from 1, without the header. Knows nothing of how the rows are used.
"""

import csv
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from knownline.core.errors import TableError
from knownline.generate import values
from knownline.generate.values import BadValueError

Array = npt.NDArray[np.float64]

_BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file, by name.

    inputs, target: the names of the columns. separator, decimal: how a CSV is written.
    folder: the folder that `path` is relative to; absolute where another process may read it.
    """

    path: Path
    inputs: tuple[str, ...]
    target: str
    folder: Path = Path()
    separator: str = ","
    decimal: str = "."

    @property
    def _names(self) -> list[str]:
        return [*self.inputs, self.target]

    @property
    def _file(self) -> Path:
        return self.folder / self.path

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet, not CSV."""
        return self.path.suffix == ".parquet"

    def stamp(self) -> tuple[int, int, int]:
        """Return what changes when the file does: its inode, size and time of modification."""
        with self._naming():
            stat = self._file.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def group_ends(self) -> list[int]:
        """Return the row that each row group of a Parquet file ends before; of a CSV, nothing.

        Raises: TableError if the file cannot be read, or has no such columns.
        """
        with self._naming():
            if not self.is_parquet:
                self._require_columns(self._header())
                return []
            with pq.ParquetFile(self._file, pre_buffer=False) as file:
                self._require_columns(file.schema_arrow.names)
                return self._ends(file)

    def unused(self) -> list[str]:
        """Return the names of the columns that are not read."""
        with self._naming():
            if self.is_parquet:
                with pq.ParquetFile(self._file, pre_buffer=False) as file:
                    names = list(file.schema_arrow.names)
            else:
                names = self._header()
        return [name for name in names if name not in self._names]

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[list[Array]]:
        """Yield the columns of rows start..stop-1, (rows,) each, batch by batch, the target last.

        start, stop: for a Parquet file; a CSV is read as a whole.

        Raises: TableError if a column is missing, and at the first value that is not a finite
        number.
        """
        row = start + 1
        with self._naming():
            for batch in self._read_groups(start, stop) if self.is_parquet else self._read_csv():
                yield [self._numbers(batch, name, row) for name in self._names]
                row += len(batch)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Raise a TableError that names the file if it cannot be read in the block."""
        if not os.path.isfile(self._file):  # noqa: PTH113 — Path.is_file raises for a long name
            raise TableError(f"generate.table must be a file (got {self.path}, which is none)")
        try:
            yield
        except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
            raise TableError(f"{self.path} must be a readable table ({error})") from error
        except FileNotFoundError:  # since it was looked for
            raise TableError(
                f"{self.path} must not change while it is read (got no file)"
            ) from None
        except OSError as error:
            if error.errno is not None:
                raise
            # without an errno, it is Arrow that cannot parse the bytes
            raise TableError(f"{self.path} must be a readable table ({error})") from error

    @staticmethod
    def _ends(file: Any) -> list[int]:
        metadata = file.metadata
        return list(
            accumulate(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        )

    def _read_groups(self, start: int, stop: int | None) -> Iterator[Any]:
        """Yield batches of rows start..stop-1 of a Parquet file."""
        # Without pre_buffer=False it keeps the whole file in memory.
        with pq.ParquetFile(self._file, pre_buffer=False) as file:
            self._require_columns(file.schema_arrow.names)
            ends = self._ends(file)
            stop = ends[-1] if ends and stop is None else stop or 0
            first = bisect_right(ends, start)
            row = ends[first - 1] if first else 0
            groups = range(first, min(bisect_left(ends, stop) + 1, len(ends)))
            # Without Arrow's threads: other threads read other groups.
            for batch in file.iter_batches(_BATCH_ROWS, groups, self._names, use_threads=False):
                own = slice(max(start - row, 0), max(min(stop - row, len(batch)), 0))
                row += len(batch)
                if own.start < own.stop:
                    yield batch.slice(own.start, own.stop - own.start)

    def _read_csv(self) -> Iterator[Any]:
        self._require_columns(self._header())
        if not self._has_rows():
            return
        with pa.csv.open_csv(
            self._file,
            parse_options=pa.csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=self._names,
                column_types=dict.fromkeys(self._names, pa.string()),
                strings_can_be_null=False,
            ),
        ) as reader:
            yield from reader

    def _has_rows(self) -> bool:
        """Return whether anything follows the header; Arrow rejects a file of nothing else."""
        with self._open_text() as stream:
            return sum(1 for _ in zip(range(2), self._rows(stream), strict=False)) > 1

    def _open_text(self) -> TextIO:
        return self._file.open(encoding="utf-8-sig", newline="", errors="replace")

    def _rows(self, stream: TextIO) -> Iterator[list[str]]:
        csv.field_size_limit(2**31 - 1)  # the default refuses texts past 128 KiB
        return (fields for fields in csv.reader(stream, delimiter=self.separator) if fields)

    def _header(self) -> list[str]:
        try:
            with self._file.open(encoding="utf-8-sig", newline="") as stream:
                return next(self._rows(stream), [])
        except UnicodeDecodeError as error:
            raise TableError(
                f"{self.path} must be UTF-8 (got byte {error.object[error.start]:#x})"
            ) from error

    def _require_columns(self, names: list[str]) -> None:
        for key, name in (*(("x", name) for name in self.inputs), ("y", self.target)):
            if names.count(name) != 1:
                rule = "a column" if name not in names else "only one column"
                raise TableError(
                    f"generate.columns.{key} must name {rule} of {self.path},"
                    f" which has {_list_names(names)}{self._separator_hint(names)}"
                    f" (got {_quote(name)})"
                )

    def _separator_hint(self, names: list[str]) -> str:
        """Return a hint if the only column looks like several with another separator."""
        found = next((each for each in ";\t|," if each in "".join(names)), None)
        if len(names) != 1 or found is None or self.is_parquet:
            return ""
        shown = {"\t": "\\t"}.get(found, found)
        return f' (set generate.csv.separator to "{shown}"?)'

    def _numbers(self, batch: Any, name: str, first: int) -> Array:
        """Return a column of a batch as float64; `first` is the row number of its first value."""
        column = batch.column(batch.schema.get_field_index(name))
        try:
            return values.numbers(column, self.decimal)
        except BadValueError as error:
            row = first + error.row
            why = f": {error.why}" if error.why else ""
            raise TableError(
                f"{self.path} column {name} {error.rule}"
                f" (got {error.got} in row {row}{self._line_hint(row)}{why})"
            ) from None

    def _line_hint(self, row: int) -> str:
        """Return the line of a CSV's row, for an editor to jump to."""
        if self.path.suffix != ".csv":
            return ""
        with self._open_text() as stream:
            csv.field_size_limit(2**31 - 1)
            reader = csv.reader(stream, delimiter=self.separator)
            rows = (fields for fields in reader if fields)
            for _ in zip(range(row + 1), rows, strict=False):
                pass
            return f", line {reader.line_num}"


def _list_names(names: list[str]) -> str:
    shown = ", ".join(_quote(name) for name in names[:12])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 12 else shown or "none"


def _quote(name: str) -> str:
    """Return a name as it is, or quoted if it begins or ends with white space."""
    return name[:40] if name == name.strip() else repr(name[:40])
