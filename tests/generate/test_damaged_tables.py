"""Files that are no table, or a damaged one: refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.core.errors import TableError
from knownline.generate.tables import Table
from tests.file_contents import changed_bytes, cut_short, overwritten


def read(path: Path) -> list[Any]:
    return list(Table(path, ("x",), "y").chunks())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """A table of three rows."""
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "y": [4, 5, 6]}), path)
    return path


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xef\xbb\xbf"])
def test_an_empty_csv_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"table\.csv, which has none \(got x\)$"):
        read(path)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "x" * 300 + ".csv"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    rule = rf"^generate\.table must be a file \(got .*{name}, which is not one"
    with pytest.raises(TableError, match=rule):
        read(tmp_path / name)
    if len(name) < 255:
        (tmp_path / name).mkdir()
        with pytest.raises(TableError, match=rule):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [b"", b"x,y\n1,2\n", b"PAR1", b"PAR1" + b"\0" * 50 + b"PAR1", b"PK\3\4" * 50],
    ids=["empty", "CSV", "magic word", "zeros", "zip"],
)
def test_a_file_that_is_not_parquet_is_refused(parquet: Path, content: bytes) -> None:
    parquet.write_bytes(content)
    with pytest.raises(TableError, match=r"table\.parquet must be a readable table \(.+\)$"):
        read(parquet)


def test_a_csv_that_is_parquet_is_refused(path: Path, parquet: Path) -> None:
    parquet.rename(path)
    with pytest.raises(TableError, match=r"table\.csv"):
        read(path)


def test_a_parquet_with_a_changed_byte_is_refused_by_name_or_read(parquet: Path) -> None:
    some = changed_bytes(parquet.read_bytes(), lambda byte: (byte ^ 1, byte ^ 0xFF))
    for _ in overwritten(parquet, some):
        try:
            assert all(np.isfinite(column).all() for chunk in read(parquet) for column in chunk)
        except TableError as error:
            assert "table.parquet" in str(error)  # noqa: PT017 — or no error


def test_a_parquet_cut_short_anywhere_is_refused_by_name(parquet: Path) -> None:
    for _ in overwritten(parquet, cut_short(parquet.read_bytes())):
        with pytest.raises(TableError, match=r"table\.parquet must be a readable table"):
            read(parquet)
