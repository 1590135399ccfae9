import gc
from collections.abc import Sequence
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
from samerun.core import files
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]

CHUNK = 5


def points(rows: int, seed: int = 1) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    return draws.standard_normal(rows), draws.standard_normal(rows)


def cut(values: Array, lengths: Sequence[int]) -> list[Array]:
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []


def write(folder: Path, x: Array, y: Array, lengths: Sequence[int], chunk: int = CHUNK) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    with parquet.ShardWriter(folder, chunk) as writer:
        for part in zip(cut(x, lengths), cut(y, lengths), strict=True):
            writer.append(*part)
    return writer


def read(folder: Path) -> tuple[Array, Array]:
    chunks = list(parquet.read(folder))
    if not chunks:
        return np.empty(0), np.empty(0)
    return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


def overwrite(path: Path, content: bytes) -> None:
    # In place: ext4 flushes a file that was emptied first, and these are thousands.
    with path.open("r+b") as stream:
        stream.write(content)
        stream.truncate()


def in_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def group_rows(path: Path) -> list[int]:
    whole = pq.read_metadata(path)
    return [whole.row_group(i).num_rows for i in range(whole.num_row_groups)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "train"


LENGTHS = st.lists(st.integers(0, 17), max_size=12)


@settings(deadline=None)
@given(lengths=LENGTHS, chunk=st.integers(1, 9), seed=st.integers(0, 5))
def test_what_is_written_in_any_pieces_is_read_in_full_groups_and_in_order(
    lengths: list[int], chunk: int, seed: int
) -> None:
    rows = sum(lengths)
    x, y = points(rows, seed)
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet, "SHARD_CHUNKS", 1000)  # one file
        folder = Path(name)
        writer = write(folder, x, y, lengths, chunk)
        assert writer.rows == rows == parquet.rows(folder)
        assert writer.files == [folder / "part-00000.parquet"]
        full, rest = divmod(rows, chunk)
        groups = [chunk] * full + ([rest] if rest else [])
        assert [n for n in group_rows(writer.files[0]) if n] == groups
        back = read(folder)
        assert [len(u) for u, _ in parquet.read(folder) if len(u)] == groups
        assert [len(v) for _, v in parquet.read(folder) if len(v)] == groups
        assert back[0].tobytes() == x.tobytes()
        assert back[1].tobytes() == y.tobytes()


@settings(deadline=None)
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
        found = [pair for span in spans for pair in span.read()]
    assert [len(u) for u, _ in found] == [n for n in counts if n]
    assert [n for span in spans for n in span.rows] == [n for n in counts if n]
    assert all(1 <= len(span.groups) <= most for span in spans)
    assert b"".join(u.tobytes() for u, _ in found) == x.tobytes()
    assert b"".join(v.tobytes() for _, v in found) == y.tobytes()


@settings(deadline=None, max_examples=50)
@given(lengths=LENGTHS, other=st.lists(st.integers(1, 60), max_size=5), chunk=st.integers(1, 9))
def test_the_bytes_do_not_depend_on_how_the_rows_were_handed_over(
    lengths: list[int], other: list[int], chunk: int
) -> None:
    rows = sum(lengths)
    ends = sorted({min(end, rows) for end in np.cumsum(other).tolist()} | {0, rows})
    x, y = points(rows)
    with (
        TemporaryDirectory() as one,
        TemporaryDirectory() as two,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(parquet, "SHARD_CHUNKS", 3)
        write(Path(one), x, y, lengths, chunk)
        write(Path(two), x, y, np.diff(ends).tolist(), chunk)
        assert in_bytes(Path(one)) == in_bytes(Path(two))


def test_every_bit_of_a_float_is_kept(folder: Path) -> None:
    x = np.array([-0.0, 5e-324, np.inf, -np.inf, np.finfo(float).max, 0.1])
    y = np.frombuffer(b"\1\2\3\4\5\6\xf8\x7f" * len(x), np.float64)  # a NaN with a payload
    write(folder, x, y, [len(x)])
    assert [column.tobytes() for column in read(folder)] == [x.tobytes(), y.tobytes()]


@pytest.mark.parametrize("step", [2, -1])
def test_a_view_with_a_stride_is_written_as_what_it_shows(folder: Path, step: int) -> None:
    x, y = points(31)
    write(folder, x[::step], y[::step], [len(x[::step])])
    assert [column.tolist() for column in read(folder)] == [x[::step].tolist(), y[::step].tolist()]


@pytest.mark.parametrize("rows", [0, 1, CHUNK, 3 * CHUNK + 2])
def test_pandas_reads_the_same_numbers(folder: Path, rows: int) -> None:
    x, y = points(rows)
    write(folder, x, y, [rows])
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == ["x", "y"]
    assert [str(kind) for kind in frame.dtypes] == ["float64", "float64"]
    assert frame["x"].to_list() == x.tolist()
    assert frame["y"].to_list() == y.tolist()


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_no_rows_at_all_give_one_file_that_can_be_read(folder: Path, lengths: list[int]) -> None:
    writer = write(folder, np.empty(0), np.empty(0), lengths)
    assert sorted(in_bytes(folder)) == ["part-00000.parquet"]
    assert writer.rows == parquet.rows(folder) == 0
    assert [column.tolist() for column in read(folder)] == [[], []]


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        (2 * CHUNK - 1, [[5, 4]]),
        (2 * CHUNK, [[5, 5]]),
        (2 * CHUNK + 1, [[5, 5], [1]]),
        (4 * CHUNK, [[5, 5], [5, 5]]),
        (5 * CHUNK + 3, [[5, 5], [5, 5], [5, 3]]),
    ],
)
def test_a_new_file_begins_when_one_is_full_and_never_before_it_has_a_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int, groups: list[list[int]]
) -> None:
    monkeypatch.setattr(parquet, "SHARD_CHUNKS", 2)
    x, y = points(rows)
    writer = write(folder, x, y, [rows])
    names = [f"part-{i:05d}.parquet" for i in range(len(groups))]
    assert [path.name for path in writer.files] == names == sorted(in_bytes(folder))
    assert [group_rows(path) for path in writer.files] == groups
    assert parquet.rows(folder) == rows
    assert [column.tolist() for column in read(folder)] == [x.tolist(), y.tolist()]


def test_files_are_read_in_the_order_they_were_written_past_the_tenth(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SHARD_CHUNKS", 1)
    x, y = points(12 * CHUNK)
    assert len(write(folder, x, y, [len(x)]).files) == 12
    assert read(folder)[0].tolist() == x.tolist()


def test_the_files_hold_nothing_but_the_points(folder: Path) -> None:
    write(folder, *points(2 * CHUNK), [2 * CHUNK])
    with pq.ParquetFile(folder / "part-00000.parquet") as file:
        assert file.metadata.metadata is None
        assert [field.type for field in file.schema_arrow] == [pa.float64(), pa.float64()]
        assert not any(field.nullable for field in file.schema_arrow)
        column = file.metadata.row_group(0).column(0)
        assert (column.compression, column.is_stats_set) == ("UNCOMPRESSED", False)
        assert "PLAIN" in column.encodings
        assert "RLE_DICTIONARY" not in column.encodings


def test_the_same_points_give_the_same_bytes_at_another_time_and_place(tmp_path: Path) -> None:
    x, y = points(23)
    for name in ("here", "there"):
        write(tmp_path / name, x, y, [23])
    assert in_bytes(tmp_path / "here") == in_bytes(tmp_path / "there")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_error_in_the_block_comes_out_as_itself_and_nothing_else_is_said(folder: Path) -> None:
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
    ids=["nothing", "a magic word alone", "text", "zeros"],
)
def test_what_is_no_parquet_is_refused_with_its_name(folder: Path, content: bytes) -> None:
    write(folder, *points(CHUNK), [CHUNK])
    (folder / "part-00001.parquet").write_bytes(content)
    with pytest.raises(DamagedError, match=r"train/part-00001\.parquet must be Parquet"):
        read(folder)


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
def test_parquet_of_something_else_is_refused_with_its_name(
    folder: Path, columns: dict[str, list[Any]]
) -> None:
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "part-00000.parquet")
    with pytest.raises(DamagedError, match=r"part-00000\.parquet must be Parquet with columns x"):
        read(folder)


def test_a_folder_of_that_name_is_refused_with_its_name(folder: Path) -> None:
    (folder / "part-00000.parquet").mkdir(parents=True)
    with pytest.raises(DamagedError, match=r"part-00000\.parquet must be a file"):
        read(folder)


def test_a_file_cut_short_anywhere_is_refused_with_its_name(folder: Path) -> None:
    write(folder, *points(2 * CHUNK), [2 * CHUNK])
    path = folder / "part-00000.parquet"
    whole = path.read_bytes()
    for length in reversed(range(len(whole))):
        overwrite(path, whole[:length])
        with pytest.raises(DamagedError, match=r"part-00000\.parquet must be Parquet"):
            read(folder)


def test_a_changed_byte_is_refused_with_the_files_name_or_changes_numbers_alone(
    folder: Path,
) -> None:
    write(folder, *points(3), [3], chunk=2)
    path = folder / "part-00000.parquet"
    whole = path.read_bytes()
    for place, old in enumerate(whole):
        for new in (old ^ 1, old ^ 0x80, old ^ 0xFF):
            overwrite(path, whole[:place] + bytes([new]) + whole[place + 1 :])
            try:
                x, y = read(folder)
            except DamagedError as error:
                assert str(error).startswith(f"{path} must be Parquet")  # noqa: PT017 — or no error
            else:
                assert x.dtype == y.dtype == np.float64


@pytest.mark.parametrize("name", [".hidden.parquet", "._part-00000.parquet"])
def test_a_file_the_seal_overlooks_is_not_read_as_data(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train", *points(3, seed=1), [3])
    files.seal(tmp_path, list((tmp_path / "train").iterdir()))
    write(tmp_path / "other", *points(3, seed=2), [3])
    (tmp_path / "other" / "part-00000.parquet").rename(tmp_path / "train" / name)
    try:
        files.check_seal(tmp_path, only=tmp_path / "train")
    except DamagedError:
        return  # not overlooked
    assert read(tmp_path / "train")[0].tolist() == points(3, seed=1)[0].tolist()
    assert parquet.rows(tmp_path / "train") == 3
