"""Files of rows: full row groups however the rows come, and what is known of them afterwards."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core import moments, parquet
from knownline.core.kinds import Linear
from knownline.core.moments import Pivot
from knownline.generate.parts import Part, PartWriter
from knownline.model import LINE, PLANE, QUADRATIC
from support.files import tree
from tests.generate.running import small_chunks

Array = npt.NDArray[np.float64]

CHUNK = 5
FULL = 3 * CHUNK
"""Rows of three full row groups."""


def chunks_of(part: Part) -> Array:
    """Return the moments of all row groups."""
    arrays = [chunks for _, chunks in part.moments]
    return np.concatenate(arrays) if arrays else np.empty((0, 0))


def points(rows: int, seed: int = 1) -> tuple[Array, Array]:
    x, y = np.random.default_rng(seed).standard_normal((2, rows))
    return x, y


def write(
    folder: Path,
    x: Array,
    y: Array,
    lengths: Sequence[int] | None = None,
    *,
    start: int = 0,
    always: bool = False,
) -> Part | None:
    """Write points, handed over in pieces of these lengths; in one piece by default."""
    ends = np.cumsum([len(x)] if lengths is None else lengths, dtype=int)
    with PartWriter(folder / "part-00000.parquet", LINE, start, None, sampled=True) as writer:
        for first, last in pairwise([0, *ends]):
            writer.append([x[first:last], y[first:last]])
        return writer.close(always=always)


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 17), max_size=12),
    chunk=st.integers(1, 9),
    start=st.integers(0, 100),
)
def test_rows_appended_in_any_pieces_give_full_groups_the_same_bytes_and_the_same_summary(
    lengths: list[int], chunk: int, start: int
) -> None:
    rows = sum(lengths)
    x, y = points(rows)
    with TemporaryDirectory() as one, TemporaryDirectory() as two, small_chunks(chunk, 1, sample=7):
        part = write(Path(one), x, y, lengths, start=start)
        whole = write(Path(two), x, y, start=start)
        assert tree(Path(one)) == tree(Path(two))
        if part is None or whole is None:
            assert (part, whole, rows, tree(Path(one))) == (None, None, 0, {})
            return
        sizes = [chunk] * (rows // chunk) + ([rows % chunk] if rows % chunk else [])
        groups = pq.read_metadata(part.path)
        assert [groups.row_group(i).num_rows for i in range(len(sizes))] == sizes
        ((read_x, read_y),) = parquet.read(Path(one), ("x",))
        assert [read_x.tobytes(), read_y.tobytes()] == [x.tobytes(), y.tobytes()]
        assert part.rows == rows
        assert part.sha256 == hashlib.sha256(part.path.read_bytes()).hexdigest()
        assert (part.low.tolist(), part.high.tolist()) == ([x.min()], [x.max()])
        assert chunks_of(part)[:, 0].tolist() == sizes
        assert chunks_of(part).tobytes() == chunks_of(whole).tobytes()
        cut = np.split(np.stack([x, y]), np.cumsum(sizes)[:-1], axis=1)
        expected = moments.compress(([u], v) for u, v in cut)
        assert moments.join(part.moments, part.pivot) == expected
        numbers = part.sample[0].astype(int)
        # All that a data set may sample that has these rows and any number more.
        every = 1 << max(0, -(-(start + rows) // 7) - 1).bit_length()
        wanted = [n for n in range(start, start + rows) if n % every == 0]
        assert set(wanted) <= set(numbers.tolist())
        assert np.array_equal(part.sample[1:], np.stack([x, y])[:, numbers - start])


@settings(deadline=None, max_examples=50)
@given(chosen=st.lists(st.integers(0, 3), max_size=9))
def test_only_the_chosen_rows_are_written(chosen: list[int]) -> None:
    x, y = points(40)
    indices = np.cumsum([0, *(step + 1 for step in chosen)])
    with TemporaryDirectory() as some, TemporaryDirectory() as full, small_chunks(CHUNK, 1):
        with PartWriter(Path(some) / "part-00000.parquet", LINE, 0, None, sampled=True) as writer:
            writer.append([x, y], indices)
            writer.close(always=False)
        write(Path(full), x[indices], y[indices])
        assert tree(Path(some)) == tree(Path(full))


@pytest.mark.parametrize("step", [2, -1])
@pytest.mark.parametrize("rows", [CHUNK, FULL + 1])
def test_a_view_with_a_stride_is_written_as_its_values(
    tmp_path: Path, step: int, rows: int
) -> None:
    x, y = (column[::step][:rows] for column in points(2 * rows))
    with small_chunks(CHUNK, 1):
        write(tmp_path, x, y)
    ((read_x, read_y),) = (
        [np.concatenate(c) for c in zip(*parquet.read(tmp_path, ("x",)), strict=True)],
    )
    assert [read_x.tolist(), read_y.tolist()] == [x.tolist(), y.tolist()]


def test_memory_that_is_overwritten_after_an_append_changes_nothing(tmp_path: Path) -> None:
    x, y = points(CHUNK - 1)
    with small_chunks(CHUNK, 1), PartWriter(tmp_path / "a", LINE, 0, None, sampled=True) as writer:
        block = np.stack([x, y])
        writer.append(list(block))
        block[:] = np.nan
        part = writer.close(always=False)
    assert part is not None
    assert part.sample[1:].tolist() == [x.tolist(), y.tolist()]


@pytest.mark.parametrize("always", [True, False])
def test_no_rows_give_a_file_only_where_there_must_be_one(tmp_path: Path, always: bool) -> None:
    part = write(tmp_path, np.empty(0), np.empty(0), always=always)
    if not always:
        assert (part, tree(tmp_path)) == (None, {})
        return
    assert part is not None
    assert (part.rows, part.pivot, chunks_of(part).shape, part.sample.shape) == (
        0,
        None,
        (0, 0),
        (3, 0),
    )
    assert [len(x) for x, _ in parquet.read(tmp_path, ("x",))] in ([], [0])


@pytest.mark.parametrize("error", [RuntimeError("no more points"), KeyboardInterrupt()])
def test_an_error_in_the_block_leaves_no_file(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with PartWriter(tmp_path / "part-00000.parquet", LINE, 0, None, sampled=True) as writer:
            writer.append(points(2 * CHUNK))
            raise error

    with small_chunks(CHUNK, 1), pytest.raises(type(error)):
        fail()
    assert tree(tmp_path) == {}


def test_a_pivot_that_is_given_is_kept(tmp_path: Path) -> None:
    pivot = Pivot((1.0,), 2.0, (3.0,))
    x, y = points(FULL)
    with (
        small_chunks(CHUNK, 1),
        PartWriter(tmp_path / "a", LINE, 0, pivot, sampled=False) as writer,
    ):
        writer.append([x, y])
        part: Any = writer.close(always=False)
    assert part.pivot == pivot
    assert (
        chunks_of(part)[1].tobytes() == moments.chunk_moments([x[5:10]], y[5:10], pivot).tobytes()
    )
    assert part.sample.shape == (3, 0)


@pytest.mark.parametrize("model", [QUADRATIC, PLANE(("age",)), PLANE(("a", "b", "c"))])
def test_a_part_has_every_column_and_the_moments_of_the_models_terms(
    tmp_path: Path, model: Linear
) -> None:
    names = (*model.inputs, "y")
    columns = list(np.random.default_rng(6).standard_normal((len(names), FULL)))
    path = tmp_path / "part-00000.parquet"
    with small_chunks(CHUNK, 1), PartWriter(path, model, 0, None, sampled=True) as writer:
        writer.append(columns)
        part: Any = writer.close(always=False)
    frame = pd.read_parquet(path)
    assert list(frame.columns) == list(names)
    assert frame.to_numpy().T.tolist() == [column.tolist() for column in columns]
    assert part.low.tolist() == [x.min() for x in columns[:-1]]
    assert part.high.tolist() == [x.max() for x in columns[:-1]]
    assert part.sample[1:].tolist() == [column.tolist() for column in columns]
    chunks = [np.split(column, 3) for column in (*model.columns(columns[:-1]), columns[-1])]
    expected = moments.compress((terms, y) for *terms, y in zip(*chunks, strict=True))
    assert moments.join([(part.pivot, chunks_of(part))]) == expected
