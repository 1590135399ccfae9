"""No row of a table is lost: the whole file is read, or refused with the place that cannot be."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from knownline.core.errors import TableError
from knownline.generate.csv_scan import Scan, ScanError
from knownline.generate.tables import Table
from tests.generate.running import generate

FAR = 300_000
"""Rows that no two blocks of a CSV hold."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def rows(path: Path, x: str = "x", y: str = "y", **options: Any) -> list[tuple[float, float]]:
    """Return the rows as `generate` reads them: first the row groups, then the values."""
    table = Table(path, (x,), y, **options)
    table.group_ends()
    return [pair for u, v in table.chunks() for pair in zip(u.tolist(), v.tolist(), strict=True)]


# Quotes


def csv_of(text: str, after: int) -> str:
    return "x,y,note\n" + "1,2,ok\n" * after + text


@pytest.mark.parametrize("before", [0, 3, FAR])
@pytest.mark.parametrize(
    ("text", "got"),
    [
        ('4,8,"12 inch\n5,10,ok\n', "a quote that is never closed"),
        ('4,8,"12 inch\n5,10,ok\n6,12,"14 inch\n7,14,ok\n', "text after a closing quote"),
        ('4,8,"12 inch\n5,10,"ok"\n', "text after a closing quote"),
        ('4,8,"12 inch" pipe\n', "text after a closing quote"),
        ('4,8,"a ""word""\n5,10,ok\n', "a quote that is never closed"),
        ('"4,8,ok\n5,10,ok\n', "a quote that is never closed"),
        ('4,"8"0,ok\n', "text after a closing quote"),
        ('4,8,"cut sho', "a quote that is never closed"),
    ],
)
def test_quotes_that_do_not_match_are_refused_with_row_and_line(
    path: Path, text: str, got: str, before: int
) -> None:
    path.write_text(csv_of(text, before))
    with pytest.raises(
        TableError,
        match=r"table\.csv must double each quote inside a quoted text, and close the text"
        rf" \(got {got} in row {before + 1}, line {before + 2}\)$",
    ):
        rows(path)


def test_a_quote_that_is_never_closed_in_a_large_file_is_refused_without_reading_on(
    path: Path,
) -> None:
    path.write_text('x,y,note\n1,2,"12 inch\n' + "1,2,ok\n" * FAR)
    rule = r"must close each quoted text within 1 MiB \(got one that goes on in row 1, line 2\)$"
    with pytest.raises(TableError, match=rule):
        rows(path)


def test_a_quote_amid_an_unquoted_text_is_a_character(path: Path) -> None:
    path.write_text('x,y,note\n1,2,12" pipe\n3,4,a "b"\n5,6,7""\n7,8,"two\nlines"\n9,0,"say ""x"""')
    assert rows(path) == [(1, 2), (3, 4), (5, 6), (7, 8), (9, 0)]


PIECES = st.lists(st.sampled_from([*'a,,"""\n\r é', "\r\n"]), max_size=14).map("".join)


@given(text=PIECES, size=st.integers(3, 80), repeat=st.integers(1, 30))
@example(text='a"\n', size=64, repeat=30)
def test_the_rows_of_any_csv_are_counted_as_python_reads_them(
    text: str, size: int, repeat: int
) -> None:
    content = (text * repeat).encode()
    try:
        read = csv.reader(io.StringIO(text * repeat, newline=""), strict=True)
        expected = sum(bool(fields) for fields in read)
    except csv.Error:
        expected = -1
    scan = Scan(",")
    try:
        for start in range(0, len(content), size):
            scan.add(content[start : start + size])
        scan.finish()
        found = scan.rows
    except ScanError:
        found = -1
    assert found == expected


@pytest.mark.usefixtures("folder")
def test_a_last_line_that_may_be_cut_short_is_pointed_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Path("data/own/t.csv")
    text = "; the table's last line has no line break: is the file complete?\n"
    for content, cut in (("x,y\n1,2\n3,5\n4,61", True), ("x,y\n1,2\n3,5\n4,61\n", False)):
        table.write_text(content)
        generate(generate__table=str(table), generate__holdout=0.0, truth=None)
        assert capsys.readouterr().out.endswith(text) == cut


# Bytes that are no text


@pytest.mark.parametrize("row", [1, 1200, FAR], ids=["near", "past 8 KiB", "far"])
@pytest.mark.parametrize(
    ("byte", "got"), [(b"\xf6", "byte 0xf6"), (b"\xe2\x82", "byte 0xe2"), (b"\0", "a NUL byte")]
)
@pytest.mark.parametrize("column", ["read", "not read", "header"])
def test_a_byte_that_is_no_text_is_refused_wherever_it_is(
    path: Path, row: int, byte: bytes, got: str, column: str
) -> None:
    lines = [b"x,y,note", *([b"1,2.5,K\xc3\xb6ln"] * FAR)]
    lines[row] = b"1,2" + byte + b",a" if column == "read" else b"1,2,K" + byte + b"ln"
    place = f"row {row}, line {row + 1}"
    if column == "header":
        lines[0], place = b"x,y,n" + byte, "the header, line 1"
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(
        TableError, match=rf"table\.csv must be text in UTF-8 \(got {got} in {place}\)$"
    ):
        rows(path)


def test_utf_16_is_refused(path: Path) -> None:
    path.write_bytes("x,y\n1,2\n".encode("utf-16"))
    with pytest.raises(TableError, match=r"UTF-8 \(got byte 0xff in the header, line 1\)$"):
        rows(path)


def test_a_character_may_cross_the_blocks_that_are_read(path: Path) -> None:
    path.write_bytes(("x,y,n\n" + "1,2,€€€€\n" * FAR).encode())
    assert len(rows(path)) == FAR


# Rows of another length


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("x,y\n1,2\n2,3\n3,4,\n4,5\n", "3 in row 3, line 4: the last field is empty, .*"),
        ("x,y\n1,10,20\n2,11,22\n", "3 in row 1, line 2: does the header lack .*"),
        ("x,y\n\n1,2\n\n3\n", "1 in row 2, line 5"),
        ("x,y\n1,2\n   \n", "1 in row 2, line 3"),
        ("x,y\n1,2\n1,2,3,4\n", "4 in row 2, line 3"),
        ("x,y\n" + "1,2\n" * FAR + "3\n", f"1 in row {FAR + 1}, line {FAR + 2}"),
    ],
    ids=["a comma more", "header too short", "too few", "spaces", "too many", "far"],
)
def test_a_csv_row_of_another_length_is_refused_with_row_and_line(
    path: Path, content: str, got: str
) -> None:
    path.write_text(content)
    with pytest.raises(
        TableError,
        match=rf"table\.csv must have 2 fields in every row, as in its header \(got {got}\)$",
    ):
        rows(path)


# The header


@pytest.mark.parametrize("first", ["sep=,", "Land-Ocean: Global Means", "# a comment", "a,b\nc,d"])
def test_lines_before_the_header_are_the_reason_that_is_given(path: Path, first: str) -> None:
    path.write_text(f"{first}\n\nx,y\n1,2\n3,4.5\n")
    shown, line = re.escape(first.split("\n")[0]), 3 + first.count("\n")
    with pytest.raises(
        TableError,
        match=r"table\.csv must have its header in the first line: delete the lines before it"
        rf" \(got {shown}, and the header in line {line}\)$",
    ):
        rows(path)


@pytest.mark.parametrize(
    ("name", "wanted", "shown", "got"),
    [
        ("boiling\xa0point", "boiling point", r"boiling\u00a0point", "boiling point"),
        ("gro\u0308ße", "größe", r"gro\u0308\u00dfe", r"gr\u00f6\u00dfe"),
        ("µg", "μg", r"\u00b5g", r"\u03bcg"),  # the micro sign, and mu
        ("\ufeffx", "x", r"\ufeffx", "x"),
        ("a–b", "a-b", r"a\u2013b", "a-b"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_name_that_looks_like_the_wanted_one_is_shown_as_it_is_to_be_written(
    tmp_path: Path, suffix: str, name: str, wanted: str, shown: str, got: str
) -> None:
    path = tmp_path / f"table.{suffix}"
    path.write_text(f"y,{name}\n1,2\n", encoding="utf-8")
    if suffix == "parquet":
        pq.write_table(pa.table({"y": [1.0], name: [2.0]}), path)
    message = f'which has y, "{shown}" (got "{got}", which looks the same: write "{shown}" in'
    with pytest.raises(TableError, match=re.escape(message)):
        rows(path, x=wanted)
    assert rows(path, x=name) == [(2.0, 1.0)]


# Files as instruments and R write them


def test_tables_from_the_field_are_read(path: Path) -> None:
    path.write_text("Second,Value\n-4.9860000000E-03,+0.000000E+00\n-4.985E-03,+3.333334E-02\n")
    assert rows(path, "Second", "Value") == [(-4.986e-3, 0), (-4.985e-3, 3.333334e-2)]
    path.write_text("rownames,temperature,pressure\n1,0,2e-4\n2,20,0.0012\n3,40,0.006\n")
    assert rows(path, "temperature", "pressure") == [(0, 2e-4), (20, 0.0012), (40, 0.006)]
    path.write_text("x;y\n1,5;2,5\n3,5;4,5\n4,0;6,0\n")
    assert rows(path, separator=";", decimal=",") == [(1.5, 2.5), (3.5, 4.5), (4, 6)]


# Parquet


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_numbers_in_any_kind_of_text_column_are_taken(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "table.parquet"
    x = pa.array(["1", "2.5", "1"]).cast(kind)
    pq.write_table(pa.table({"x": x, "y": [2.0, 4.0, 6.0], "other": x}), path)
    assert rows(path) == [(1, 2), (2.5, 4), (1, 6)]


ROWS = 45
"""Rows of a Parquet file; twice as many, as its footer has it, is a rare byte."""


def lying_footers(content: bytes) -> Iterator[bytes]:
    """Yield a file of ROWS rows with some counts in its footer changed: up to three of four.

    The four are the rows of the file and of its row group, and the values of two columns.
    """
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    places = [place for place in range(start, len(content)) if content[place] == 2 * ROWS]
    for chosen in chain.from_iterable(combinations(places, size) for size in (1, 2, 3)):
        for other in (0, 2 * ROWS - 8, 2 * ROWS + 8):
            changed = bytearray(content)
            for place in chosen:
                changed[place] = other
            yield bytes(changed)


def test_a_footer_that_counts_fewer_rows_than_its_columns_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns = np.random.default_rng(1).standard_normal((2, ROWS))
    table = pa.table({"x": columns[0], "y": columns[1]})
    pq.write_table(table, path, write_statistics=False, store_schema=False)
    refused = 0
    for content in lying_footers(path.read_bytes()):
        path.write_bytes(content)
        try:
            assert len(rows(path)) == ROWS  # the byte was no count
        except TableError as error:
            assert "table.parquet must " in str(error)  # noqa: PT017 — or no error
            refused += 1
    assert refused > 3 * 14  # the subsets of the four alone


def test_empty_row_groups_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    schema = pa.schema({"x": pa.float64(), "y": pa.float64()})
    some = pa.table({"x": [1.0, 3.0], "y": [2.0, 4.5]}, schema)
    with pq.ParquetWriter(path, schema) as writer:
        for table in (schema.empty_table(), some, schema.empty_table(), some, schema.empty_table()):
            writer.write_table(table)
    assert pq.read_metadata(path).num_row_groups == 5
    assert rows(path) == [(1, 2), (3, 4.5)] * 2
