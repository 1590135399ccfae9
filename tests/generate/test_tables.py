import csv
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
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
MANY = 70_010
"""Rows that no single batch of 65,536 holds."""


def read(path: Path, x: str = "x", y: str = "y") -> list[tuple[float, float]]:
    chunks = list(Table(path, x, y).chunks())
    assert all(u.dtype == v.dtype == np.float64 for u, v in chunks)
    return [pair for u, v in chunks for pair in zip(u.tolist(), v.tolist(), strict=True)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


def overwrite(path: Path, content: bytes) -> None:
    # In place: ext4 flushes a file that was emptied first, and these are thousands.
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()


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


def test_whole_numbers_decimals_and_exponents_may_be_mixed_in_any_row(path: Path) -> None:
    path.write_text("x,y\n" + "1,2\n" * MANY + "2.5,1e3\n")
    assert read(path)[-2:] == [(1.0, 2.0), (2.5, 1000.0)]


def test_a_csv_of_many_rows_is_read_as_pandas_reads_it(path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal((150_000, 2))
    pd.DataFrame(numbers, columns=["x", "y"]).to_csv(path, index=False)
    expected = pd.read_csv(path).to_numpy()
    assert len(list(Table(path, "x", "y").chunks())) > 1
    assert np.array_equal(np.array(read(path)), expected)
    assert np.array_equal(expected, numbers)


def test_texts_of_several_lines_are_no_matter_in_a_large_csv_either(path: Path) -> None:
    text = "a note\n" * 300
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["x", "y", "note"], *([i, 2 * i, text] for i in range(2000))])
    assert read(path) == [(float(i), 2.0 * i) for i in range(2000)]


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


def test_whole_numbers_past_2_to_the_53_are_taken_as_the_nearest_float(parquet: Path) -> None:
    numbers = [2**53 + 1, -(2**53) - 3, 2**63 - 1]
    write_parquet(parquet, {"x": numbers, "y": [1, 2, 3]})
    assert [x for x, _ in read(parquet)] == [float(number) for number in numbers]


@pytest.mark.parametrize("group", [1000, 65_536, 10**6])
def test_a_parquet_of_many_rows_is_read_as_pandas_reads_it(parquet: Path, group: int) -> None:
    numbers = np.random.default_rng(2).standard_normal((MANY, 2))
    frame = pd.DataFrame(numbers, columns=["y", "x"]).assign(name="a")
    frame.to_parquet(parquet, row_group_size=group)
    assert len(list(Table(parquet, "x", "y").chunks())) > 1
    assert np.array_equal(np.array(read(parquet)), pd.read_parquet(parquet)[["x", "y"]].to_numpy())


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_a_parquet_may_be_compressed(parquet: Path, codec: str) -> None:
    write_parquet(parquet, {"x": [1, 2], "y": [3, 4]}, compression=codec)
    assert read(parquet) == [(1.0, 3.0), (2.0, 4.0)]


@pytest.mark.parametrize("content", ["x,y\n", "x,y\n\n\n", "\ufeffx,y\r\n"])
def test_a_csv_of_a_header_alone_has_no_rows(path: Path, content: str) -> None:
    path.write_bytes(content.encode())
    assert read(path) == []


def test_a_parquet_without_rows_has_no_rows(parquet: Path) -> None:
    write_parquet(parquet, {"x": pa.array([], pa.float64()), "y": pa.array([], pa.int8())})
    assert read(parquet) == []


# One value that is no finite number

BAD = [
    ("", "nothing"),
    ("   ", "nothing"),
    ('""', "nothing"),
    ("b", "b"),
    ("nan", "nan"),
    ("NaN", "NaN"),
    ("inf", "inf"),
    ("-inf", "-inf"),
    ("Infinity", "Infinity"),
    ("NA", "NA"),
    ("null", "null"),
    ("None", "None"),
    ("-", "-"),
    ("1e400", "1e400"),
    ("-1e999", "-1e999"),
    ("0x10", "0x10"),
    ("1_0", "1_0"),
    ('"1,5"', "1,5"),
    ("1.5.2", "1.5.2"),
    ("12 %", "12 %"),
    ("true", "true"),
    ("2020-09-10", "2020-09-10"),
    ("−1", "−1"),
    ("١", "١"),
    ('"a\nb"', "a b"),
]


@pytest.mark.parametrize(("field", "got"), BAD, ids=[repr(field) for field, _ in BAD])
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_csv_value_that_is_no_finite_number_is_refused_with_its_row_and_line(
    path: Path, column: str, field: str, got: str
) -> None:
    row = f"{field},1" if column == "x" else f"1,{field}"
    path.write_text(f"x,y\n1,2\n\n{row}\n3,4\n", encoding="utf-8")
    line = 5 if "\n" in field else 4
    with pytest.raises(
        TableError,
        match=rf"table\.csv column {column} must hold a finite number in every row"
        rf" \(got {re.escape(got)} in row 2, line {line}\)$",
    ):
        read(path)


@pytest.mark.parametrize(
    ("row", "field"),
    [(1, "oops"), (2, ""), (65_536, "oops"), (65_537, "nan"), (70_000, "oops"), (MANY, "")],
)
def test_the_row_of_a_large_csv_is_counted_right_and_blank_lines_count_as_lines_alone(
    path: Path, row: int, field: str
) -> None:
    lines = ["x,y", *(["1,2"] * MANY)]
    lines[row] = f"1,{field}"
    path.write_text("\n".join([*lines[:1], "", *lines[1:100], "", "", *lines[100:]]) + "\n")
    line = row + 1 + 1 + (2 if row >= 100 else 0)
    assert path.read_text().split("\n")[line - 1] == f"1,{field}"
    with pytest.raises(TableError, match=rf" in row {row}, line {line}\)$"):
        read(path)


def test_the_line_is_right_with_crlf_a_bom_and_texts_of_two_lines(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbfx,y,note\r\n1,2,"two\r\nlines"\r\n\r\n1,oops,"two\r\nlines"\r\n')
    with pytest.raises(TableError, match=r"\(got oops in row 2, line [56]\)$"):
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


@pytest.mark.parametrize("row", [1, 65_536, 65_537, 70_000])
@pytest.mark.parametrize("group", [999, 10**6])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_the_row_of_a_large_parquet_is_counted_right(
    parquet: Path, row: int, group: int, value: float | None
) -> None:
    y: list[float | None] = [1.0] * MANY
    y[row - 1] = value
    write_parquet(parquet, {"x": np.ones(MANY), "y": y}, row_group_size=group)
    with pytest.raises(TableError, match=rf" in row {row}\)$"):
        read(parquet)


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
def test_a_parquet_column_of_another_kind_is_refused(
    parquet: Path, column: str, values: Any
) -> None:
    write_parquet(parquet, {column: values, "y" if column == "x" else "x": [1, 2]})
    with pytest.raises(
        TableError,
        match=rf"table\.parquet column {column} must hold numbers"
        rf" \(got {re.escape(str(pq.read_schema(parquet).field(column).type))}",
    ):
        read(parquet)


# Columns


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("key", ["x", "y"])
@pytest.mark.parametrize("wrong", ["speed", "X", " x", ""])
def test_a_missing_column_is_refused_with_a_list_of_what_there_is(
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
    frame = pa.Table.from_arrays([pa.array([i]) for i in range(3)], ["x", "y", key])
    if suffix == "csv":
        path.write_text(f"x,y,{key}\n1,2,3\n")
    else:
        pq.write_table(frame, path)
    with pytest.raises(
        TableError, match=rf"^generate\.columns\.{key} must name only one column .*x, y, {key} "
    ):
        read(path)


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_csv_that_is_separated_otherwise_is_told_what_is_wanted(
    path: Path, sign: str, name: str
) -> None:
    path.write_text(f"x{sign}y\n1,5{sign}2\n")
    hint = f"its fields are parted by {name}: commas are wanted, and points in its numbers"
    with pytest.raises(TableError, match=rf" \({hint}\) \(got x\)$"):
        read(path)


def test_a_column_of_a_parquet_may_hold_a_semicolon(parquet: Path) -> None:
    write_parquet(parquet, {"x;y": [1.0]})
    with pytest.raises(TableError, match=r"which has x;y \(got x\)$"):
        read(parquet)


# Files that are no table


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xef\xbb\xbf"])
def test_an_empty_csv_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"table\.csv, which has none \(got x\)$"):
        read(path)


@pytest.mark.parametrize(
    "row", ["1", "1,2,3", "1,2,", "   "], ids=["too few", "too many", "one comma more", "spaces"]
)
def test_a_csv_row_of_another_length_is_refused(path: Path, row: str) -> None:
    path.write_text(f"x,y\n1,2\n{row}\n3,4\n")
    with pytest.raises(TableError, match=r"table\.csv must be a readable table \(.*2 columns"):
        read(path)


def not_utf8() -> Iterator[bytes]:
    yield "x,y,é\n1,2,3\n".encode("latin-1")
    yield "x,y,z\n1,2,é\n".encode("latin-1")
    yield "x,y\n1,2\n".encode("utf-16")
    yield b"x,y\n" + b"1,2\n" * MANY + b"1,\xe9\n"


@pytest.mark.parametrize("content", list(not_utf8()), ids=["name", "text", "UTF-16", "far down"])
def test_a_csv_that_is_not_utf8_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"table\.csv must be .*(UTF-8|UTF8)"):
        read(path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    with pytest.raises(
        TableError, match=rf"^generate\.table must be a file \(got .*table\.{suffix}, which is none"
    ):
        read(path)
    path.mkdir()
    with pytest.raises(TableError, match=r"^generate\.table must be a file \(got .* which is none"):
        read(path)


def test_a_name_longer_than_any_file_has_is_refused_like_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"^generate\.table must "):
        read(tmp_path / ("x" * 300 + ".csv"))


@pytest.mark.parametrize(
    "content",
    [b"", b"x,y\n1,2\n", b"PAR1", b"PAR1" + b"\0" * 50 + b"PAR1", b"PK\3\4" * 50],
    ids=["empty", "CSV", "magic word", "zeros", "zip"],
)
def test_a_parquet_that_is_none_is_refused(parquet: Path, content: bytes) -> None:
    parquet.write_bytes(content)
    with pytest.raises(TableError, match=r"table\.parquet must be a readable table \(.+\)$"):
        read(parquet)


def test_a_csv_that_is_parquet_is_refused(path: Path) -> None:
    write_parquet(path, {"x": [1], "y": [2]})
    with pytest.raises(TableError, match=r"table\.csv"):
        read(path)


def test_a_parquet_with_a_changed_byte_is_refused_by_name_or_read(parquet: Path) -> None:
    write_parquet(parquet, {"x": [1.0, 2.0, 3.0], "y": [4, 5, 6]})
    whole = parquet.read_bytes()
    for place, old in enumerate(whole):
        for new in (old ^ 1, old ^ 0xFF):
            overwrite(parquet, whole[:place] + bytes([new]) + whole[place + 1 :])
            try:
                assert np.isfinite(np.array(read(parquet))).all()
            except TableError as error:
                assert "table.parquet" in str(error)  # noqa: PT017 — or no error


def test_a_parquet_cut_short_anywhere_is_refused_by_name(parquet: Path) -> None:
    write_parquet(parquet, {"x": [1.0, 2.0, 3.0], "y": [4, 5, 6]})
    whole = parquet.read_bytes()
    for length in reversed(range(len(whole))):
        overwrite(parquet, whole[:length])
        with pytest.raises(TableError, match=r"table\.parquet must be a readable table"):
            read(parquet)


LONG = "a" * 200_000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"x,y,{LONG}\n1,oops,3\n", id="a long name"),
        pytest.param(f"x,y,note\n1,2,{LONG}\n1,oops,c\n", id="a long text above"),
        pytest.param(f"x,y,{LONG}\n1,2,3\n", id="a long name in a table that is fine"),
    ],
)
def test_a_csv_with_a_very_long_text_is_read_or_refused_like_any_other(
    path: Path, content: str
) -> None:
    path.write_text(content)
    if "oops" in content:
        with pytest.raises(TableError, match=r"\(got oops in row \d, line \d\)$"):
            read(path)
    else:
        assert read(path) == [(1.0, 2.0)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_read_in_pieces_and_not_at_once(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    frame = pd.DataFrame(np.ones((400_000, 2)), columns=["x", "y"])
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    lengths = [len(x) for x, _ in Table(path, "x", "y").chunks()]
    assert sum(lengths) == 400_000
    assert max(lengths) < 300_000
    assert len(list(pairwise(lengths))) >= 1
