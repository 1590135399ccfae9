"""Reads a CSV: its rows as text, slowly, or its bytes for Arrow, which are checked.

Arrow takes an unclosed quote for the beginning of a long text, and ignores columns that are not
read. So it would lose rows silently. Knows nothing of the values.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from knownline.generate.csv_scan import Scan

_LONGEST = 1 << 20
"""The bytes that Arrow reads at a time; no row can be longer."""


class CsvError(ValueError):
    """A row of a CSV cannot be read. rule: what the file must do. got: what it has instead."""

    def __init__(self, rule: str, got: str, place: str, why: str = "") -> None:
        super().__init__(f"{rule} (got {got} in {place}{why})")


class Row(NamedTuple):
    """number: 0 for the header, then from 1. line: in which the row begins, from 1."""

    number: int
    line: int
    fields: list[str]

    @property
    def place(self) -> str:
        """Where the row is, in words."""
        return _place(self.number, self.line)


def _place(number: int, line: int) -> str:
    return f"{f'row {number}' if number else 'the header'}, line {line}"


def rows(path: Path, separator: str) -> Iterator[Row]:
    """Yield the rows of a CSV, the header first, without blank lines.

    Raises: CsvError at the first row with a byte that is not text, or with unmatched quotes.
    """
    csv.field_size_limit(_LONGEST)  # otherwise an unclosed quote fills the memory
    number, line = 0, 1
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as stream:
        reader = csv.reader(stream, delimiter=separator, strict=True)
        try:
            for fields in reader:
                if fields:
                    row = Row(number, line, fields)
                    _check_text(row)
                    yield row
                    number += 1
                line = reader.line_num + 1
        except csv.Error as error:
            raise CsvError(*_explained(str(error)), _place(number, line)) from None


def _explained(error: str) -> tuple[str, str]:
    """Return the rule and the mistake for an error of Python's CSV reader."""
    if "limit" in error:
        return "must close each quoted text within 1 MiB", "one that goes on"
    rule = "must double each quote inside a quoted text, and close the text"
    after = "expected after" in error
    return rule, "text after a closing quote" if after else "a quote that is never closed"


def _check_text(row: Row) -> None:
    text, rule = "".join(row.fields), "must be text in UTF-8"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00  # as surrogateescape has it
        raise CsvError(rule, f"byte {byte:#04x}", row.place) from None
    if "\0" in text:
        raise CsvError(rule, "a NUL byte", row.place)


def check(path: Path, separator: str) -> None:
    """Read a CSV to its end, slowly. Raises: CsvError at the first row that cannot be read."""
    width = 0
    for row in rows(path, separator):
        count = len(row.fields)
        width = width or count
        if count != width:
            rule = f"must have {width} fields in every row, as in its header"
            raise CsvError(rule, str(count), row.place, _reason(row, width))


def _reason(row: Row, width: int) -> str:
    if len(row.fields) != width + 1:
        return ""
    if not row.fields[-1]:
        return ": the last field is empty, so there is one separator too many"
    return ": does the header lack a name for the first column?" if row.number == 1 else ""


class CheckedFile:
    """The bytes of a CSV for Arrow, checked before Arrow gets them.

    An error does not say where the mistake is; `check` finds the row.
    """

    def __init__(self, path: Path, separator: str) -> None:
        self._stream = path.open("rb")
        self._scan = Scan(separator)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._stream.closed

    @property
    def rows(self) -> int:
        """The rows that were read, the header included."""
        return self._scan.rows

    def read(self, size: int) -> bytes:
        """Return the next bytes; empty at the end. Raises: ScanError."""
        block = self._stream.read(size)
        self._scan.add(block) if block else self._scan.finish()
        return block
