"""A table of the user's own: numbers as Python reads them, mistakes refused with their place."""

import csv
import re
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core.errors import TableError
from knownline.generate.tables import Table

FINITE = st.floats(allow_nan=False, allow_infinity=False)

BATCH, MANY = 65_536, 70_010
"""Rows of a batch of Parquet, and rows that no single batch holds."""

LONG = "a" * 2000
"""A text so long that few rows fill a block of a CSV, which has 1 MiB."""

LONG_ROWS = 1500
"""Rows with such a text that no two blocks hold."""


def chunks_of(path: Path, x: str = "x", y: str = "y") -> list[list[tuple[float, float]]]:
    chunks = list(Table(path, (x,), y).chunks())
    assert all(u.dtype == v.dtype == np.float64 for u, v in chunks)
    return [list(zip(u.tolist(), v.tolist(), strict=True)) for u, v in chunks]


def read(path: Path, x: str = "x", y: str = "y") -> list[tuple[float, float]]:
    return [pair for chunk in chunks_of(path, x, y) for pair in chunk]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> None:
    pq.write_table(pa.table(columns), path, **options)


# CSV that is taken


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"x,y\n1,2\n3,4.5\n", id="plain"),
        pytest.param(b"x,y\n1,2\n3,4.5", id="no newline at the end"),
        pytest.param(b"x,y\r\n1,2\r\n3,4.5\r\n", id="CRLF"),
        pytest.param(b"x,y\r1,2\r3,4.5\r", id="CR"),
        pytest.param(b"\xef\xbb\xbfx,y\n1,2\n3,4.5\n", id="BOM"),
        pytest.param(b'\xef\xbb\xbf"x","y"\r\n"1","2"\r\n"3","4.5"\r\n', id="BOM, CRLF, quotes"),
        pytest.param(b"x,y\n 1 ,\t2\n3  ,  4.5 \n", id="spaces around numbers"),
        pytest.param(b"x,y\n1.0,2.\n+3,4.50e0\n", id="points and signs"),
        pytest.param(b"x,y\n10e-1,.2e1\n0.3E+1,45e-1\n", id="exponents"),
        pytest.param(b"\n\nx,y\n\n1,2\n\n\n3,4.5\n\n", id="blank lines"),
        pytest.param(b"y,x\n2,1\n4.5,3\n", id="columns the other way round"),
        pytest.param(b"day,x,note,y\nMon,1,,2\nTue,3,\"a,b\",4.5\n", id="columns between"),
        pytest.param(b'x,y,note\n1,2,"two\nlines"\n3,4.5,\n', id="a text of two lines"),
        pytest.param(b"n,n,x,y\n0,0,1,2\n0,0,3,4.5\n", id="two other columns of one name"),
        pytest.param("x,y,größe\n1,2,é\n3,4.5,ß\n".encode(), id="UTF-8"),
        pytest.param(f"x,y,{LONG * 100}\n1,2,\n3,4.5,\n".encode(), id="a very long name"),
        pytest.param(f"x,y,n\n1,2,{LONG * 100}\n3,4.5,\n".encode(), id="a very long text"),
    ],
)  # fmt: skip
def test_a_csv_is_read_whichever_way_it_is_written(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read(path) == [(1.0, 2.0), (3.0, 4.5)]


@pytest.mark.parametrize("name", ["größe in m", "a,b", 'say "x"', "x.y", " x", "1"])
def test_a_column_may_have_any_name(path: Path, parquet: Path, name: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[name, "y"], [1, 2], [3, 4.5]])
    write_parquet(parquet, {name: [1, 3], "y": [2.0, 4.5]})
    assert read(path, x=name) == read(parquet, x=name) == [(1.0, 2.0), (3.0, 4.5)]


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(FINITE, FINITE), max_size=30),
    form=st.sampled_from(["{!r}", "{:+.17e}", " {!r}\t", '"{!r}"', "{:.17g}"]),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\r\n\r\n"]),
    start=st.sampled_from(["", "\ufeff"]),
)
def test_every_number_of_a_csv_is_the_float_that_python_reads(
    rows: list[tuple[float, float]], form: str, end: str, start: str
) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        lines = ["x,y", *(f"{form.format(x)},{form.format(y)}" for x, y in rows), ""]
        path.write_bytes((start + end.join(lines)).encode())
        with path.open(encoding="utf-8-sig", newline="") as stream:
            fields = [row for row in csv.reader(stream) if row][1:]
        expected = np.array([[float(field) for field in row] for row in fields]).reshape(-1, 2)
        assert np.array(read(path)).reshape(-1, 2).tobytes() == expected.tobytes()


def test_a_csv_of_many_rows_is_read_in_pieces_as_pandas_reads_it(path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal((40_000, 2))
    pd.DataFrame(numbers, columns=["x", "y"]).to_csv(path, index=False)
    chunks = chunks_of(path)
    assert max(map(len, chunks)) < 40_000
    assert np.array_equal(np.concatenate(chunks), pd.read_csv(path).to_numpy())


def test_texts_of_several_lines_may_cross_the_blocks_of_a_large_csv(path: Path) -> None:
    text = "a note\n" * 300
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["x", "y", "note"], *([i, 2 * i, text] for i in range(1000))])
    chunks = chunks_of(path)
    assert len(chunks) > 1
    assert [pair for chunk in chunks for pair in chunk] == [
        (float(i), 2.0 * i) for i in range(1000)
    ]


# Parquet that is taken


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
        *(pa.decimal128(38, 4), pa.decimal256(60, 4)),
    ],
    ids=str,
)
def test_every_kind_of_number_of_a_parquet_is_taken(parquet: Path, kind: Any) -> None:
    numbers = [Decimal(i) for i in (1, 2, 100)] if "decimal" in str(kind) else np.array([1, 2, 100])
    if str(kind) == "halffloat":
        numbers = np.array([1, 2, 100], dtype=np.float16)
    write_parquet(parquet, {"x": pa.array(numbers, type=kind), "y": [-1, 0, 1]})
    assert read(parquet) == [(1.0, -1.0), (2.0, 0.0), (100.0, 1.0)]


def test_decimals_and_text_of_a_parquet_are_the_floats_that_python_reads(parquet: Path) -> None:
    written = ["0.1", "2.675", "-123456789.123456789", "1.10"]
    write_parquet(parquet, {"x": [Decimal(text) for text in written], "y": written})
    assert read(parquet) == [(float(text), float(text)) for text in written]


def test_whole_numbers_past_2_to_the_53_far_apart_are_taken_as_the_nearest_float(
    parquet: Path,
) -> None:
    numbers = [2**53 + 1, -(2**53) - 3, 2**63 - 1]
    write_parquet(parquet, {"x": numbers, "y": [1, 2, 3]})
    assert [x for x, _ in read(parquet)] == [float(number) for number in numbers]


@pytest.mark.parametrize("group", [1000, BATCH, 10**6])
def test_a_parquet_of_many_rows_is_read_in_pieces_as_pandas_reads_it(
    parquet: Path, group: int
) -> None:
    numbers = np.random.default_rng(2).standard_normal((MANY, 2))
    frame = pd.DataFrame(numbers, columns=["y", "x"]).assign(name="a")
    frame.to_parquet(parquet, row_group_size=group)
    chunks = list(Table(parquet, ("x",), "y").chunks())
    assert max(len(x) for x, _ in chunks) <= BATCH
    expected = pd.read_parquet(parquet)
    for column, parts in zip(("x", "y"), zip(*chunks, strict=True), strict=True):
        assert np.array_equal(np.concatenate(parts), expected[column])


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_a_parquet_may_be_compressed(parquet: Path, codec: str) -> None:
    write_parquet(parquet, {"x": [1, 2], "y": [3, 4]}, compression=codec)
    assert read(parquet) == [(1.0, 3.0), (2.0, 4.0)]


@pytest.mark.parametrize("content", ["x,y\n", "x,y\n\n\n", "\ufeffx,y\r\n"])
def test_a_table_of_a_header_alone_has_no_rows(path: Path, parquet: Path, content: str) -> None:
    path.write_bytes(content.encode())
    write_parquet(parquet, {"x": pa.array([], pa.float64()), "y": pa.array([], pa.int8())})
    assert read(path) == read(parquet) == []


# One value that is no finite number

NO_NUMBERS = {
    **dict.fromkeys(["", "   ", '""'], "nothing"),
    **{
        text: text
        for text in (
            *("b", "nan", "NaN", "inf", "-inf", "Infinity", "NA", "null", "None", "true", "-"),
            *("1e400", "-1e999", "0x10", "1_0", "1.5.2", "12 %", "2020-09-10", "−1", "١"),
        )
    },
    '"1,5"': "1,5",
    '"a\nb"': "a b",
}
"""Fields of a CSV, and how the error quotes them."""

LIKE_DATES = ("2020-09-10", "1.5.2")


@pytest.mark.parametrize("field", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_csv_value_that_is_no_finite_number_is_refused_with_its_row_and_line(
    path: Path, column: str, field: str
) -> None:
    row = f"{field},1" if column == "x" else f"1,{field}"
    path.write_text(f"x,y\n1,2\n\n{row}\n3,4\n", encoding="utf-8")
    hint = ": a date\\? convert it to a number, .*" if field in LIKE_DATES else ""
    if field == '"1,5"':
        hint = re.escape(': a decimal comma? set generate.csv.decimal to ","')
    with pytest.raises(
        TableError,
        match=rf"table\.csv column {column} must hold a finite number in every row"
        rf" \(got {re.escape(NO_NUMBERS[field])} in row 2, line 4{hint}\)$",
    ):
        read(path)


@pytest.mark.parametrize("row", [1, *range(520, 526), 1400, LONG_ROWS])
@pytest.mark.parametrize("field", ["oops", "nan"])
def test_the_row_of_a_large_csv_is_right_and_blank_lines_count_only_as_lines(
    path: Path, row: int, field: str
) -> None:
    lines = ["x,y,note", "", *([f"1,2.5e3,{LONG}"] * LONG_ROWS)]
    lines[row + 1] = f"1,{field},{LONG}"
    lines.insert(100, "")
    path.write_text("\n".join(lines) + "\n")
    line = lines.index(f"1,{field},{LONG}") + 1
    with pytest.raises(TableError, match=rf" in row {row}, line {line}\)$"):
        read(path)


def test_the_line_is_right_with_crlf_a_bom_and_texts_of_two_lines(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbfx,y,note\r\n1,2,"two\r\nlines"\r\n\r\n1,oops,"two\r\nlines"\r\n')
    with pytest.raises(TableError, match=r"\(got oops in row 2, line 5\)$"):
        read(path)


@pytest.mark.parametrize(
    ("values", "got", "row"),
    [
        ([1.0, None, 3.0], "nothing", 2),
        ([None, None, None, 1], "nothing", 1),
        ([1, 2, None], "nothing", 3),
        ([Decimal("1.5"), None], "nothing", 2),
        (["1.5", None], "nothing", 2),
        ([1.0, float("nan")], "nan", 2),
        ([1.0, 2.0, float("inf")], "inf", 3),
        ([float("-inf"), 2.0], "-inf", 1),
        (["1", "two"], "two", 2),
        (["1", ""], "nothing", 2),
        (["1", "nan"], "nan", 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_parquet_value_that_is_no_finite_number_is_refused_with_its_row(
    parquet: Path, column: str, values: list[Any], got: str, row: int
) -> None:
    other = "y" if column == "x" else "x"
    write_parquet(parquet, {column: values, other: list(range(len(values)))})
    with pytest.raises(
        TableError,
        match=rf"table\.parquet column {column} must hold a finite number in every row"
        rf" \(got {got} in row {row}\)$",
    ):
        read(parquet)


@pytest.mark.parametrize("row", [1, BATCH, BATCH + 1, 70_000])
@pytest.mark.parametrize(("group", "null"), [(999, True), (10**6, False)])
def test_the_row_of_a_large_parquet_is_right(
    parquet: Path, row: int, group: int, null: bool
) -> None:
    y = np.ones(MANY)
    y[row - 1] = np.nan
    write_parquet(parquet, {"x": np.ones(MANY), "y": pa.array(y, from_pandas=null)},
                  row_group_size=group)  # fmt: skip
    with pytest.raises(TableError, match=rf" in row {row}\)$"):
        read(parquet)


@pytest.mark.parametrize("header", [f"x,y,{LONG * 100}", "x,y,note"], ids=["name", "text"])
def test_a_mistake_beside_a_very_long_text_is_refused_like_any_other(
    path: Path, header: str
) -> None:
    path.write_text(f"{header}\n1,2,{LONG * 100}\n1,oops,c\n")
    with pytest.raises(TableError, match=r"\(got oops in row 2, line 3\)$"):
        read(path)


# Columns


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, False]),
        pa.array([1, 2], pa.timestamp("us")),
        pa.array([1, 2], pa.date32()),
        pa.array([1, 2], pa.duration("s")),
        pa.array([b"1", b"2"]),
        pa.array([[1], [2]]),
        pa.array([{"x": 1}, {"x": 2}]),
        pa.nulls(2),
    ],
    ids=lambda values: str(values.type),
)
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_parquet_column_that_holds_no_numbers_is_refused(
    parquet: Path, column: str, values: Any
) -> None:
    write_parquet(parquet, {column: values, "y" if column == "x" else "x": [1, 2]})
    kind = re.escape(str(pq.read_schema(parquet).field(column).type))
    with pytest.raises(
        TableError, match=rf"table\.parquet column {column} must hold numbers \(got {kind}"
    ):
        read(parquet)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("key", ["x", "y"])
@pytest.mark.parametrize("wrong", ["speed", "X", " x", ""])
def test_a_missing_column_is_refused_with_a_list_of_the_columns(
    tmp_path: Path, suffix: str, key: str, wrong: str
) -> None:
    path = tmp_path / f"table.{suffix}"
    frame = pd.DataFrame({"a": [1], "x": [2], "größe": [3]})
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    names = {"x": "x", "y": "a"} | {key: wrong}
    with pytest.raises(
        TableError,
        match=rf"^generate\.columns\.{key} must name a column of .*table\.{suffix},"
        rf" which has a, x, größe \(got '?{wrong}'?\)$",
    ):
        read(path, **names)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("key", ["x", "y"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, suffix: str, key: str) -> None:
    path = tmp_path / f"table.{suffix}"
    path.write_text(f"x,y,{key}\n1,2,3\n")
    if suffix == "parquet":
        table = pa.Table.from_arrays([pa.array([i]) for i in range(3)], ["x", "y", key])
        pq.write_table(table, path)
    with pytest.raises(
        TableError, match=rf"^generate\.columns\.{key} must name only one column .*x, y, {key} "
    ):
        read(path)


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_a_csv_with_another_separator_is_refused_with_a_hint(
    path: Path, parquet: Path, sign: str
) -> None:
    shown = {"\t": r"\t"}.get(sign, sign)
    for row, hint in (
        (f"1.5{sign}2", f'(set generate.csv.separator to "{shown}"?)'),
        (f"1,5{sign}2", f'(set generate.csv to {{separator: "{shown}", decimal: ","}}?)'),
    ):
        path.write_text(f"x{sign}y\n{row}\n")
        with pytest.raises(TableError, match=rf" {re.escape(hint)} \(got x\)$"):
            read(path)
    write_parquet(parquet, {f"x{sign}y": [1.0]})  # a name like any other
    with pytest.raises(TableError, match=r"which has x.y \(got x\)$"):
        read(parquet)
