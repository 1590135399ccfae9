"""Tables with several columns, with a decimal comma, with dates and with very large numbers."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.core.errors import TableError
from knownline.generate.tables import Table

Array = npt.NDArray[np.float64]


def read(
    path: Path, inputs: Sequence[str] = ("x",), *, separator: str = ",", decimal: str = "."
) -> Array:
    """Return the columns of a table, (columns, rows), the target y last."""
    table = Table(path, tuple(inputs), "y", separator=separator, decimal=decimal)
    chunks = list(table.chunks())
    return np.concatenate([np.stack(columns) for columns in chunks], axis=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


# Several columns


@pytest.mark.parametrize(
    "order", [("a", "b", "c", "y"), ("y", "c", "n", "a", "b"), ("b", "y", "c", "a")]
)
def test_several_columns_are_read_by_name_in_the_order_of_the_model(
    path: Path, parquet: Path, order: tuple[str, ...]
) -> None:
    values = np.random.default_rng(1).standard_normal((len(order), 500))
    frame = pd.DataFrame(dict(zip(order, values, strict=True)))
    frame.to_csv(path, index=False)
    frame.to_parquet(parquet)
    for inputs in (("a", "b", "c"), ("c", "a"), ("b",)):
        expected = frame[[*inputs, "y"]].to_numpy().T
        assert np.array_equal(read(path, inputs), expected)
        assert np.array_equal(read(parquet, inputs), expected)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_column_among_several_is_refused_by_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    frame = pd.DataFrame({"a": [1], "b": [2], "y": [3]})
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    rule = r"^generate\.columns\.x must name a column of .*, which has a, b, y \(got z\)$"
    with pytest.raises(TableError, match=rule):
        read(path, ("a", "z", "b"))


def test_a_bad_value_in_any_of_several_columns_is_refused_with_its_column_and_row(
    path: Path,
) -> None:
    path.write_text("a,b,y\n1,2,3\n4,oops,6\n")
    with pytest.raises(TableError, match=r"column b must .*\(got oops in row 2, line 3\)$"):
        read(path, ("a", "b"))


def test_the_columns_that_are_not_used_are_named_once(path: Path, parquet: Path) -> None:
    frame = pd.DataFrame({"day": ["Mon"], "a": [1.0], "note": [""], "y": [2.0], "b": [3.0]})
    frame.to_csv(path, index=False)
    frame.to_parquet(parquet)
    for file in (path, parquet):
        assert Table(file, ("b", "a"), "y").unused() == ["day", "note"]
        assert Table(file, ("a",), "y").unused() == ["day", "note", "b"]


# Separators and decimal commas


@pytest.mark.parametrize(
    ("separator", "decimal"), [(";", ","), (";", "."), ("\t", ","), ("|", ".")]
)
def test_a_csv_with_another_separator_and_decimal_sign_is_what_pandas_reads(
    path: Path, separator: str, decimal: str
) -> None:
    random = np.random.default_rng(2)
    values = random.standard_normal((400, 3)) * 10.0 ** random.integers(-20, 20, (400, 3))
    frame = pd.DataFrame(values, columns=["a", "y", "b"])
    frame.to_csv(path, index=False, sep=separator, decimal=decimal)
    text = path.read_text()
    assert separator in text
    assert ("," in text) == (decimal == ",")
    again = pd.read_csv(path, sep=separator, decimal=decimal)
    found = read(path, ("b", "a"), separator=separator, decimal=decimal)
    assert np.array_equal(found, again[["b", "a", "y"]].to_numpy().T)
    assert np.array_equal(found, frame[["b", "a", "y"]].to_numpy().T)


@pytest.mark.parametrize(("row", "line"), [(1, 2), (2, 3), (1200, 1201)])
@pytest.mark.parametrize("value", ["1.234,5", "1.5", "1.000"])
def test_a_point_in_a_number_with_a_decimal_comma_is_refused_with_its_row(
    path: Path, row: int, line: int, value: str
) -> None:
    rows = ["1,5;2"] * 1300
    rows[row - 1] = f"{value};2"
    path.write_text("\n".join(["x;y", *rows]) + "\n")
    got = re.escape(f"(got {value} in row {row}, line {line}: its decimal sign is a comma, by")
    with pytest.raises(TableError, match=rf"column x must .*{got} generate\.csv\.decimal\)$"):
        read(path, separator=";", decimal=",")


def test_a_comma_in_a_number_with_a_decimal_point_is_refused(path: Path) -> None:
    path.write_text("x;y\n1,5;2\n")
    with pytest.raises(TableError, match=r"\(got 1,5 in row 1, line 2"):
        read(path, separator=";")


# Dates


@pytest.mark.parametrize(
    "text",
    [
        "2020-09-10",
        "10.9.2020",
        "9/10/2020",
        "2020-09-10T12:30:00Z",
        "2020-09-10 12:30",
        "12:30:01",
    ],
)
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_date_in_a_csv_is_refused_with_the_way_to_convert_it(
    path: Path, text: str, column: str
) -> None:
    row = f"{text},2" if column == "x" else f"2,{text}"
    path.write_text(f"x,y\n1,2\n{row}\n")
    got = re.escape(f"(got {text} in row 2, line 3: a date? convert it to a number, such as the")
    with pytest.raises(TableError, match=rf"column {column} must .*{got} days or seconds since"):
        read(path)


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2020, 9, 10), datetime.date(2020, 9, 11)],
        [datetime.datetime(2020, 9, 10), datetime.datetime(2020, 9, 11)],
        [datetime.time(1), datetime.time(2)],
        [datetime.timedelta(1), datetime.timedelta(2)],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_dates_in_a_parquet_are_refused_with_the_way_to_convert_them(
    parquet: Path, values: list[Any]
) -> None:
    pq.write_table(pa.table({"x": values, "y": [1, 2]}), parquet)
    rule = r"column x must hold numbers \(got [a-z].*: convert it to a number, such as the days or"
    with pytest.raises(TableError, match=rule):
        read(parquet)


# Whole numbers that float64 cannot hold

TOO_CLOSE = [
    ([2**53, 2**53 + 1], 2),
    ([2**53 + 1, 2**53 + 2, 2**53 + 3, 2**53 + 4], 4),  # the halves go to the even
    ([-(2**53), -(2**53) - 1], 2),
    ([1, 2, 2**60, 3, 2**60 + 1], 5),
    ([1_600_000_000_000_000_000, 1_600_000_000_000_000_001], 2),
]
FAR_APART = [
    [2**53 - 1, 2**53],
    [2**53 + 2, 2**53 + 4],
    [2**60, 2**60, 2**61],
    [1_600_000_000_000_000_000, 1_600_000_001_000_000_000, -(2**62)],
]


def write_whole_numbers(path: Path, numbers: list[int]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"x": numbers, "y": [0] * len(numbers)}), path)
    else:
        path.write_text("x,y\n" + "".join(f"{number},0\n" for number in numbers))


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize(("numbers", "row"), TOO_CLOSE)
def test_whole_numbers_that_float64_cannot_tell_apart_are_refused_with_their_row(
    tmp_path: Path, name: str, numbers: list[int], row: int
) -> None:
    write_whole_numbers(tmp_path / name, numbers)
    assert len(set(map(float, numbers[:row]))) < len(set(numbers[:row]))
    assert len(set(map(float, numbers[: row - 1]))) == row - 1
    got = rf"\(got {numbers[row - 1]} in row {row}\b.*: subtract the first one, or scale them\)$"
    with pytest.raises(TableError, match=rf"x must hold whole numbers that .* tell apart {got}"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize("numbers", FAR_APART)
def test_whole_numbers_that_are_far_apart_are_taken(
    tmp_path: Path, name: str, numbers: list[int]
) -> None:
    write_whole_numbers(tmp_path / name, numbers)
    assert read(tmp_path / name)[0].tolist() == [float(number) for number in numbers]


def test_large_numbers_with_a_point_or_an_exponent_are_taken_as_the_nearest_float(
    path: Path, parquet: Path
) -> None:
    texts = ["9007199254740992.0", "9007199254740993.0", "1e300", "1.0000000000000000001e300"]
    path.write_text("x,y\n" + "".join(f"{text},0\n" for text in texts))
    pq.write_table(pa.table({"x": [float(text) for text in texts], "y": [0.0] * 4}), parquet)
    expected = [float(text) for text in texts]
    assert read(path)[0].tolist() == read(parquet)[0].tolist() == expected
