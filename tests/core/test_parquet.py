"""Points on disk: their bytes depend on the points alone; damage is refused by file name."""

import gc
import hashlib
import resource
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

from knownline.core import checksums, parquet
from samerun.core.errors import DamagedError
from support.files import tree
from tests.file_contents import changed_bytes, cut_short, overwritten, write_sums

Array = npt.NDArray[np.float64]

CHUNK = 5

INPUTS = ("x",)

SCHEMA = pa.schema([pa.field(name, pa.float64(), nullable=False) for name in ("x", "y")])


def points(rows: int, seed: int = 1) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    return draws.standard_normal(rows), draws.standard_normal(rows)


def write(folder: Path, x: Array, y: Array, chunk: int = CHUNK, number: int = 0) -> Path:
    """Write points as one file in row groups of one length; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{number:05d}.parquet"
    writer = parquet.Writer(path, INPUTS)
    for start in range(0, len(x), chunk) if len(x) else [0]:
        writer.write([x[start : start + chunk], y[start : start + chunk]])
    assert writer.close() == hashlib.sha256(path.read_bytes()).hexdigest()
    return path


def read(folder: Path) -> tuple[Array, Array]:
    chunks = [(np.empty(0), np.empty(0)), *parquet.read(folder, INPUTS)]
    return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "train"


@pytest.fixture
def small_file(folder: Path) -> Path:
    """The one file of three rows in two groups."""
    return write(folder, *points(3), chunk=2)


# Writing and reading


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.integers(0, 4), max_size=12))
def test_row_groups_of_any_length_are_read_in_order(counts: list[int]) -> None:
    x, y = points(sum(counts), seed=3)
    with TemporaryDirectory() as name:
        path, start = Path(name) / "part-00000.parquet", 0
        with pq.ParquetWriter(path, SCHEMA) as writer:
            for count in counts:
                part = pa.table({"x": x[start:][:count], "y": y[start:][:count]}, SCHEMA)
                writer.write_table(part)
                start += count
        assert [column.tobytes() for column in read(Path(name))] == [x.tobytes(), y.tobytes()]


def test_files_are_read_in_the_order_of_their_numbers(folder: Path) -> None:
    for number in (2, 99_999, 100_000, 11, 0):
        write(folder, np.full(2, float(number)), np.zeros(2), number=number)
    assert read(folder)[0][::2].tolist() == [0.0, 2.0, 11.0, 99_999.0, 100_000.0]


def test_a_file_has_no_name_before_it_is_complete_and_nothing_is_left_of_a_discarded_one(
    folder: Path,
) -> None:
    write(folder, *points(3))
    before = tree(folder)
    writer = parquet.Writer(folder / "part-00000.parquet", INPUTS)
    writer.write(points(2, seed=2))
    assert [name for name in tree(folder) if not name.startswith(".")] == list(before)
    assert read(folder)[0].tolist() == points(3)[0].tolist()
    writer.discard()
    assert tree(folder) == before


def test_two_writers_of_one_file_leave_one_whole_file(folder: Path) -> None:
    folder.mkdir()
    writers = [parquet.Writer(folder / "part-00000.parquet", INPUTS) for _ in range(2)]
    for chunk in range(3):
        for writer in writers:
            writer.write(points(CHUNK, seed=chunk))
    assert len({writer.close() for writer in writers}) == 1
    assert list(tree(folder)) == ["part-00000.parquet"]
    assert len(read(folder)[0]) == 3 * CHUNK


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
def test_a_disk_that_takes_no_more_is_reported_once_and_nothing_is_left(folder: Path) -> None:
    folder.mkdir()
    writer = parquet.Writer(folder / "part-00000.parquet", INPUTS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.write(points(10_000))
        writer.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    del writer
    gc.collect()  # a writer left open would complain now, on the user's stderr
    assert tree(folder) == {}


@pytest.mark.parametrize("inputs", [(), ("age", "living area (m²)", "x")])
def test_several_columns_are_written_under_their_names_and_read_in_any_order(
    folder: Path, inputs: tuple[str, ...]
) -> None:
    folder.mkdir()
    columns = np.random.default_rng(4).standard_normal((len(inputs) + 1, 7))
    writer = parquet.Writer(folder / "part-00000.parquet", inputs)
    writer.write(list(columns))
    writer.close()
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == [*inputs, "y"]
    assert frame.to_numpy().T.tolist() == columns.tolist()
    reversed_inputs = tuple(reversed(inputs))
    (found,) = parquet.read(folder, reversed_inputs)
    expected = [*reversed(columns[:-1]), columns[-1]]
    assert [column.tolist() for column in found] == [column.tolist() for column in expected]


def test_a_column_that_is_not_there_is_refused_with_the_names_of_the_model(folder: Path) -> None:
    write(folder, *points(3))
    with pytest.raises(DamagedError, match=r"must be Parquet with columns x and age and y"):
        list(parquet.read(folder, ("x", "age")))


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
    path = write(tmp_path / "train", *points(3, seed=1))
    write_sums(tmp_path, [path])
    write(tmp_path / "other", *points(3, seed=2)).rename(tmp_path / "train" / name)
    checksums.check(tmp_path, only=tmp_path / "train")
    assert read(tmp_path / "train")[0].tolist() == points(3, seed=1)[0].tolist()
