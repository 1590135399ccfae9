"""Reads a user's table, CSV or Parquet, in batches, and checks that its values are numbers.

Rows are counted from 1, without the header. Knows nothing of how the rows are used.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from knownline.core.errors import TableError
from knownline.generate import columns, csv_file, values
from knownline.generate.csv_file import CheckedFile, CsvError
from knownline.generate.csv_scan import ScanError
from knownline.generate.values import BadValueError

Array = npt.NDArray[np.float64]

_BATCH_ROWS = 1 << 16

_BUFFER = 1 << 16
"""The bytes of a column that are read at a time."""

_HEADER_ROWS = 100
"""The first rows of a CSV, among which the header is searched if the first row is not one."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file, by name.

    inputs, target: the names of the columns. separator, decimal: how a CSV is written.
    folder: the folder that `path` is relative to; absolute if another process may read the file.
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
        """Return the file's inode, size and time of modification, by which a change is noticed."""
        with self._naming():
            stat = self._file.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def group_ends(self) -> list[int]:
        """Return the row before which each row group of a Parquet file ends; empty for a CSV.

        Raises: TableError if the file cannot be read, or has no such columns.
        """
        with self._naming():
            if not self.is_parquet:
                self._require_columns(self._header())
                return []
            with pq.ParquetFile(self._file, pre_buffer=False) as file:
                self._require_columns(file.schema_arrow.names)
                ends = self._ends(file)
                self._check_footer("rows", file.metadata.num_rows, ends[-1] if ends else 0)
                return ends

    def unused(self) -> list[str]:
        """Return the names of the columns that are not read."""
        with self._naming():
            if self.is_parquet:
                with pq.ParquetFile(self._file, pre_buffer=False) as file:
                    names = list(file.schema_arrow.names)
            else:
                names = self._header()
        return [name for name in names if name not in self._names]

    def lacks_final_newline(self) -> bool:
        """Return whether a CSV has no line break at its end: a download may be incomplete."""
        if self.is_parquet:
            return False
        with self._naming(), self._file.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read() not in (b"\n", b"\r")

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
        """Turn an error of reading the file into a TableError that names it."""
        if not os.path.isfile(self._file):  # noqa: PTH113 — Path.is_file raises for a long name
            raise TableError(f"generate.table must be a file (got {self.path}, which is not one)")
        try:
            yield
        except (pa.ArrowException, CsvError, ScanError, UnicodeDecodeError) as error:
            raise TableError(f"{self.path} {self._fault() or _unreadable(error)}") from error
        except FileNotFoundError:  # it existed a moment ago
            raise TableError(
                f"{self.path} must not change while it is read (got no file)"
            ) from None
        except OSError as error:
            if error.errno is not None:
                raise
            # An error without an errno comes from Arrow, which cannot parse the bytes.
            raise TableError(f"{self.path} {_unreadable(error)}") from error

    def _fault(self) -> str:
        """Return the first mistake in a CSV, with its place; empty if it is unknown."""
        if not self.is_parquet:
            try:
                csv_file.check(self._file, self.separator)
            except CsvError as fault:
                return str(fault)
        return ""

    @staticmethod
    def _ends(file: Any) -> list[int]:
        metadata = file.metadata
        return list(
            accumulate(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        )

    def _read_groups(self, start: int, stop: int | None) -> Iterator[Any]:
        """Yield batches of rows start..stop-1 of a Parquet file."""
        # By default Arrow keeps the whole file, or a row group of all columns, in memory.
        with pq.ParquetFile(self._file, pre_buffer=False, buffer_size=_BUFFER) as file:
            self._require_columns(file.schema_arrow.names)
            ends = self._ends(file)
            stop = ends[-1] if ends and stop is None else stop or 0
            bounds = list(pairwise([0, *ends]))
            groups = [
                number
                for number, (begin, end) in enumerate(bounds)
                # including empty ones, to check that they are empty
                if (begin < stop and end > start) or (start <= begin == end <= stop)
            ]
            row = bounds[groups[0]][0] if groups else 0
            # Without Arrow's own threads: our threads read other row groups.
            for batch in file.iter_batches(_BATCH_ROWS, groups, self._names, use_threads=False):
                own = slice(max(start - row, 0), max(min(stop - row, len(batch)), 0))
                row += len(batch)
                if own.start < own.stop:
                    yield batch.slice(own.start, own.stop - own.start)
            # Last, because of damaged footers: reading rows raises, but reading metadata crashes.
            self._check_counts(file, groups)

    def _check_counts(self, file: Any, groups: Sequence[int]) -> None:
        """Raise a TableError if a column has more or fewer values than its row group has rows.

        Arrow would read as many as the row group states, silently.
        """
        indices = {file.schema.column(i).path: i for i in range(len(file.schema))}
        used = [
            indices[name] for name in self._names if name in indices
        ]  # nested columns are rejected
        for number in groups:
            group = file.metadata.row_group(number)
            for index in used:
                values = group.column(index).num_values
                self._check_footer(f"rows in row group {number}", group.num_rows, values)

    def _check_footer(self, what: str, stated: int, found: int) -> None:
        if stated != found:
            raise TableError(
                f"{self.path} must have a footer with the right number of rows: copy the file"
                f" again (got {stated} {what}, which has {found})"
            )

    def _read_csv(self) -> Iterator[Any]:
        first = list(islice(self._rows(), 2))
        self._require_columns(first[0].fields if first else [])
        if len(first) < 2:  # Arrow rejects a file with a header alone
            return
        rows = 1
        with (
            closing(CheckedFile(self._file, self.separator)) as file,
            pa.csv.open_csv(
                file,
                parse_options=pa.csv.ParseOptions(
                    delimiter=self.separator, newlines_in_values=True
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=self._names,
                    column_types=dict.fromkeys(self._names, pa.string()),
                    strings_can_be_null=False,
                ),
            ) as reader,
        ):
            for batch in reader:
                rows += len(batch)
                yield batch
        if rows != file.rows:
            rule = f"must be read to its end, {file.rows - 1} rows"
            raise TableError(f"{self.path} {rule} (got {rows - 1})")

    def _rows(self) -> Iterator[csv_file.Row]:
        return csv_file.rows(self._file, self.separator)

    def _header(self) -> list[str]:
        return next((row.fields for row in self._rows()), [])

    def _require_columns(self, names: list[str]) -> None:
        for key, name in (*(("x", name) for name in self.inputs), ("y", self.target)):
            if names.count(name) == 1:
                continue
            first = [] if self.is_parquet else list(islice(self._rows(), _HEADER_ROWS))
            for row in first[1:]:
                if set(self._names) <= set(row.fields):
                    line = columns.quoted(self.separator.join(names))
                    raise TableError(
                        f"{self.path} must have its header in the first line: delete the lines"
                        f" before it (got {line}, and the header in line {row.line})"
                    )
            rule = "a column" if name not in names else "only one column"
            hint = columns.dialect_hint(*(row.fields for row in first[:2])) if first else ""
            raise TableError(
                f"generate.columns.{key} must name {rule} of {self.path},"
                f" which has {columns.listed(names, name)}{hint} (got {columns.got(name, names)})"
            )

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

    def _line_hint(self, number: int) -> str:
        """Return the line that a CSV's row begins in, for an editor to jump to."""
        if self.is_parquet:
            return ""
        return next((f", line {row.line}" for row in islice(self._rows(), number, None)), "")


def _unreadable(error: Exception) -> str:
    return f"must be a readable table ({error})"
