"""Points on disk: their bytes depend on the points alone; damage is refused by file name."""

import gc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core import parquet
from samerun.core.errors import DamagedError
from tests.file_contents import (
    changed_bytes,
    check_sums,
    cut_short,
    overwritten,
    tree,
    write_sums,
)

Array = npt.NDArray[np.float64]

CHUNK = 5
FULL = parquet.SHARD_CHUNKS * CHUNK
"""Rows of a full file."""


def points(rows: int, seed: int = 1) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    return draws.standard_normal(rows), draws.standard_normal(rows)


def write(
    folder: Path, x: Array, y: Array, lengths: Sequence[int] | None = None, chunk: int = CHUNK
) -> parquet.ShardWriter:
    """Write points, handed over in pieces of these lengths; in one piece by default."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([len(x)] if lengths is None else lengths, dtype=int)
    with parquet.ShardWriter(folder, chunk) as writer:
        for start, end in pairwise([0, *ends]):
            writer.append(x[start:end], y[start:end])
    return writer


def read(folder: Path) -> tuple[Array, Array]:
    chunks = [(np.empty(0), np.empty(0)), *parquet.read(folder)]
    return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


def groups_of(path: Path) -> list[int]:
    """Return the rows of each row group of a file."""
    whole = pq.read_metadata(path)
    return [whole.row_group(i).num_rows for i in range(whole.num_row_groups)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "train"


@pytest.fixture
def small_file(folder: Path) -> Path:
    """The one file of three rows in two groups."""
    return write(folder, *points(3), chunk=2).files[0]


# Writing and reading


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 17), max_size=12),
    chunk=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_rows_appended_in_any_pieces_give_full_groups_in_order_and_the_same_bytes(
    lengths: list[int], chunk: int, seed: int
) -> None:
    rows = sum(lengths)
    x, y = points(rows, seed)
    with TemporaryDirectory() as in_pieces, TemporaryDirectory() as at_once:
        folder = Path(in_pieces)
        writer = write(folder, x, y, lengths, chunk)
        assert writer.rows == rows == parquet.rows(folder)
        full, rest = divmod(rows, chunk)
        groups = [chunk] * full + ([rest] if rest else [])
        assert [len(u) for u, _ in parquet.read(folder)] == groups
        assert [len(v) for _, v in parquet.read(folder)] == groups
        assert [column.tobytes() for column in read(folder)] == [x.tobytes(), y.tobytes()]
        write(Path(at_once), x, y, chunk=chunk)
        assert tree(folder) == tree(Path(at_once))


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.integers(0, 4), max_size=12), most=st.integers(1, 5))
def test_row_groups_of_any_length_are_read_one_by_one(counts: list[int], most: int) -> None:
    x, y = points(sum(counts), seed=3)
    with TemporaryDirectory() as name:
        path, start = Path(name) / "part-00000.parquet", 0
        with pq.ParquetWriter(path, parquet.SCHEMA) as writer:
            for count in counts:
                part = pa.table({"x": x[start:][:count], "y": y[start:][:count]}, parquet.SCHEMA)
                writer.write_table(part)
                start += count
        spans = parquet.spans(path, most)
        pairs = [pair for span in spans for pair in span.read()]
    assert [len(u) for u, _ in pairs] == [n for n in counts if n]
    assert [n for span in spans for n in span.rows] == [n for n in counts if n]
    assert all(1 <= len(span.groups) <= most for span in spans)
    assert b"".join(u.tobytes() for u, _ in pairs) == x.tobytes()
    assert b"".join(v.tobytes() for _, v in pairs) == y.tobytes()


@pytest.mark.parametrize("rows", [FULL - 1, FULL, FULL + 1, 2 * FULL, 11 * FULL + 3])
def test_a_new_file_begins_when_one_is_full_and_another_row_comes(folder: Path, rows: int) -> None:
    x, y = points(rows)
    writer = write(folder, x, y)
    names = [f"part-{i:05d}.parquet" for i in range(-(-rows // FULL))]
    assert [path.name for path in writer.files] == names == sorted(tree(folder))
    counts = [sum(groups_of(path)) for path in writer.files]
    assert counts == [min(FULL, rows - start) for start in range(0, rows, FULL)]
    assert parquet.rows(folder) == rows
    assert [column.tolist() for column in read(folder)] == [x.tolist(), y.tolist()]


def test_only_the_chosen_rows_are_written(tmp_path: Path) -> None:
    x, y = points(4 * CHUNK)
    chosen = np.array([0, 3, 4, 11, 19])
    (tmp_path / "some").mkdir()
    with parquet.ShardWriter(tmp_path / "some", 3) as writer:
        writer.append(x, y, chosen)
    write(tmp_path / "all", x[chosen], y[chosen], chunk=3)
    assert tree(tmp_path / "some") == tree(tmp_path / "all")


def test_every_bit_of_a_float_is_kept(folder: Path) -> None:
    x = np.array([-0.0, 5e-324, np.inf, -np.inf, np.finfo(float).max, 0.1])
    y = np.frombuffer(b"\1\2\3\4\5\6\xf8\x7f" * len(x), np.float64)  # a NaN with a payload
    write(folder, x, y)
    assert [column.tobytes() for column in read(folder)] == [x.tobytes(), y.tobytes()]


@pytest.mark.parametrize("step", [2, -1])
@pytest.mark.parametrize("rows", [CHUNK, 3 * CHUNK + 1])
def test_a_view_with_a_stride_is_written_as_its_values(folder: Path, step: int, rows: int) -> None:
    x, y = (column[::step][:rows] for column in points(2 * rows))
    write(folder, x, y)
    assert [column.tolist() for column in read(folder)] == [x.tolist(), y.tolist()]


@pytest.mark.parametrize("rows", [0, 1, CHUNK, 3 * CHUNK + 2])
def test_pandas_reads_the_same_numbers(folder: Path, rows: int) -> None:
    x, y = points(rows)
    write(folder, x, y)
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == ["x", "y"]
    assert [str(kind) for kind in frame.dtypes] == ["float64", "float64"]
    assert frame["x"].to_list() == x.tolist()
    assert frame["y"].to_list() == y.tolist()


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_no_rows_at_all_give_one_file_that_can_be_read(folder: Path, lengths: list[int]) -> None:
    writer = write(folder, np.empty(0), np.empty(0), lengths)
    assert sorted(tree(folder)) == ["part-00000.parquet"]
    assert writer.rows == parquet.rows(folder) == 0
    assert [column.tolist() for column in read(folder)] == [[], []]


def test_the_files_hold_nothing_but_the_points(small_file: Path) -> None:
    with pq.ParquetFile(small_file) as file:
        assert file.metadata.metadata is None
        assert [field.type for field in file.schema_arrow] == [pa.float64(), pa.float64()]
        assert not any(field.nullable for field in file.schema_arrow)
        column = file.metadata.row_group(0).column(0)
        assert (column.compression, column.is_stats_set) == ("UNCOMPRESSED", False)
        assert "PLAIN" in column.encodings
        assert "RLE_DICTIONARY" not in column.encodings


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_error_in_the_block_is_raised_and_nothing_else_is_reported(folder: Path) -> None:
    folder.mkdir()

    def fail() -> None:
        with parquet.ShardWriter(folder, CHUNK) as writer:
            writer.append(*points(2 * CHUNK))
            raise RuntimeError("no more points")

    with pytest.raises(RuntimeError, match="no more points"):
        fail()
    gc.collect()  # a writer left open would complain now, on the user's stderr


# Damage


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"x,y\n1,2\n", b"PAR1" + b"\0" * 100 + b"PAR1"],
    ids=["empty", "the magic word alone", "text", "zeros"],
)
def test_a_file_that_is_not_parquet_is_refused_by_name(small_file: Path, content: bytes) -> None:
    (small_file.parent / "part-00001.parquet").write_bytes(content)
    with pytest.raises(DamagedError, match=r"train/part-00001\.parquet must be Parquet"):
        read(small_file.parent)


@pytest.mark.parametrize(
    "columns",
    [
        {"x": [1.0]},
        {"y": [1.0]},
        {"X": [1.0], "Y": [2.0]},
        {"x": ["1"], "y": [2.0]},
        {"x": [1], "y": [2.0]},
        {"x": [1.0, None], "y": [2.0, 3.0]},
    ],
    ids=str,
)
def test_parquet_with_other_columns_is_refused_by_name(
    folder: Path, columns: dict[str, list[Any]]
) -> None:
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "part-00000.parquet")
    with pytest.raises(DamagedError, match=r"part-00000\.parquet must be Parquet with columns x"):
        read(folder)


def test_a_folder_in_the_place_of_a_file_is_refused_by_name(folder: Path) -> None:
    (folder / "part-00000.parquet").mkdir(parents=True)
    with pytest.raises(DamagedError, match=r"part-00000\.parquet must be a file"):
        read(folder)


def test_a_file_cut_short_anywhere_is_refused_by_name(small_file: Path) -> None:
    for _ in overwritten(small_file, cut_short(small_file.read_bytes())):
        with pytest.raises(DamagedError, match=r"part-00000\.parquet must be Parquet"):
            read(small_file.parent)


def test_a_changed_byte_is_refused_by_name_or_changes_only_numbers(small_file: Path) -> None:
    some = changed_bytes(small_file.read_bytes(), lambda byte: (byte ^ 1, byte ^ 0x80, byte ^ 0xFF))
    for _ in overwritten(small_file, some):
        try:
            x, y = read(small_file.parent)
        except DamagedError as error:
            assert str(error).startswith(f"{small_file} must be Parquet")  # noqa: PT017 — or no error
        else:
            assert x.dtype == y.dtype == np.float64


@pytest.mark.parametrize("name", [".hidden.parquet", "._part-00000.parquet"])
def test_a_hidden_file_that_the_sums_ignore_is_not_read_as_data(tmp_path: Path, name: str) -> None:
    writer = write(tmp_path / "train", *points(3, seed=1))
    write_sums(tmp_path, writer.files)
    write(tmp_path / "other", *points(3, seed=2)).files[0].rename(tmp_path / "train" / name)
    check_sums(tmp_path, only=tmp_path / "train")
    assert read(tmp_path / "train")[0].tolist() == points(3, seed=1)[0].tolist()
    assert parquet.rows(tmp_path / "train") == 3
