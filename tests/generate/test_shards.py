"""Shards: every row once, in order, and the same bytes however and by whom they are written."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from knownline.core import parquet
from knownline.generate import executors, shards
from knownline.generate.cluster import Mapper
from knownline.generate.draw import CHUNK_ROWS
from knownline.generate.holdout import block_of, held_out, training_rows
from support.files import tree
from tests.generate.running import generate, small_chunks

pytestmark = pytest.mark.usefixtures("folder")

Array = npt.NDArray[np.float64]
Task = TypeVar("Task")
Result = TypeVar("Result")

CHUNK, PER_SHARD = 8, 3
SHARD = CHUNK * PER_SHARD

FRACTIONS = [0.0, 0.001, 0.166, 0.2, 0.29, 0.5, 0.9, 0.999, 0.999999]

fractions = st.sampled_from(FRACTIONS) | st.floats(0, 1, exclude_max=True)
few_examples = settings(deadline=None, max_examples=25)


def numbered(rows: int) -> dict[str, Array]:
    """Return a table whose x is the number of the row."""
    return {"x": np.arange(rows, dtype=np.float64), "y": np.sqrt(np.arange(rows)) * 1e5}


def write_table(columns: dict[str, Array], groups: Sequence[int] | None = None) -> str:
    """Write data/own/own.parquet in row groups of these lengths, or of 4 rows; return its name."""
    name, start = "data/own/own.parquet", 0
    rows = len(columns["x"])
    with pq.ParquetWriter(name, pa.table(columns).schema) as writer:
        for length in [4] * (rows // 4) + [rows % 4] if groups is None else groups:
            writer.write_table(pa.table({k: v[start:][:length] for k, v in columns.items()}))
            start += length
    return name


def write_csv(columns: dict[str, Array]) -> str:
    """Write data/own/own.csv; return its name."""
    name = "data/own/own.csv"
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    Path(name).write_text("\n".join(lines) + "\n")
    return name


def written(**params: Any) -> dict[str, bytes | None]:
    """Generate; return all that was written, the user's table apart."""
    generate(**params)
    return {
        name: content for name, content in tree(Path("data")).items() if not name.startswith("own")
    }


@contextmanager
def in_any_order(seed: int) -> Iterator[None]:
    """Do the tasks in a random order, and some of them twice."""

    @contextmanager
    def mapping(count: int, folder: Path) -> Iterator[Mapper]:
        def shuffled(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
            order = [*range(count), *dice.sample(range(count), count // 2)]
            dice.shuffle(order)
            results = {number: function(tasks[number]) for number in order}
            return (results[number] for number in range(count))

        yield shuffled

    dice = random.Random(seed)
    with mock.patch.object(executors, "mapping", mapping):
        yield


@contextmanager
def from_the_beginning() -> Iterator[None]:
    """Read even a source of which each shard could be read by itself from its beginning."""
    with mock.patch.object(shards, "tasks", return_value=[]):
        yield


@contextmanager
def emptied() -> Iterator[None]:
    """Run each example of hypothesis in a folder of its own below the current one."""
    with TemporaryDirectory(dir=Path.cwd()) as name, pytest.MonkeyPatch.context() as patched:
        (Path(name) / "data" / "own").mkdir(parents=True)
        (Path(name) / "dvc.yaml").write_text("stages: {}\n")
        patched.chdir(name)
        yield


def groups_of(path: Path) -> list[int]:
    """Return the rows of each row group of a file."""
    whole = pq.read_metadata(path)
    return [whole.row_group(i).num_rows for i in range(whole.num_row_groups)]


def full(rows: int, size: int) -> list[int]:
    """Return rows, cut into full pieces and a last one with what is left."""
    return [size] * (rows // size) + ([rows % size] if rows % size else [])


def x_of(folder: str) -> list[Array]:
    """Return the x of each file of a folder."""
    return [pq.read_table(path)["x"].to_numpy() for path in parquet.paths(Path("data") / folder)]


def mask_of(rows: int, fraction: float, seed: int, *, grows: bool = True) -> npt.NDArray[np.bool_]:
    """Return which rows are held out, drawn block by block; by default, of a table."""
    masks = [
        held_out(
            start // CHUNK, min(CHUNK, rows - start), fraction=fraction, seed=seed, grows=grows
        )
        for start in range(0, rows, CHUNK)
    ]
    return np.concatenate(masks)


# Which rows a shard has


@few_examples
@given(rows=st.integers(3, 400), fraction=fractions, seed=st.integers(0, 2**63 - 1))
@example(rows=49, fraction=0.9375, seed=0)  # of the first block, all rows are held out
@example(rows=8 * SHARD, fraction=0.0, seed=0)
@example(rows=8 * SHARD + 1, fraction=0.5, seed=0)
def test_shards_have_every_row_once_in_order_in_full_files_and_full_row_groups(
    rows: int, fraction: float, seed: int
) -> None:
    with emptied(), small_chunks(CHUNK, PER_SHARD):
        mask = mask_of(rows, fraction, seed)
        assume(int((~mask).sum()) >= 3)
        written(
            generate__table=write_table(numbered(rows)),
            generate__holdout=fraction,
            generate__seed=seed,
        )
        numbers = np.arange(rows)
        train, spared = x_of("train"), x_of("holdout")
        assert np.concatenate(train).tolist() == numbers[~mask].tolist()
        assert np.concatenate(spared).tolist() == numbers[mask].tolist()
        assert [len(x) for x in train] == full(int((~mask).sum()), SHARD)
        files = parquet.paths(Path("data/train"))
        assert [path.name for path in files] == [f"part-{i:05d}.parquet" for i in range(len(files))]
        for path in [*files, *parquet.paths(Path("data/holdout"))]:
            count = pq.read_metadata(path).num_rows
            assert groups_of(path) == (full(count, CHUNK) or [0])


@few_examples
@given(fraction=fractions, seed=st.integers(0, 2**63 - 1))
def test_the_block_of_a_training_row_is_the_one_that_counting_finds(
    fraction: float, seed: int
) -> None:
    blocks = 40
    with small_chunks(CHUNK, PER_SHARD):
        for grows in (False, True):
            kept = ~mask_of(blocks * CHUNK, fraction, seed, grows=grows)
            before = np.concatenate([[0], np.cumsum(kept)])
            for block in range(blocks + 1):
                assert training_rows(block, fraction) == before[block * CHUNK]
            for number, row in enumerate(np.flatnonzero(kept).tolist()):
                assert block_of(number, fraction) == row // CHUNK


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_the_block_of_a_row_past_counting_is_the_last_that_begins_before_it(
    fraction: float,
) -> None:
    for row in (0, 1, 10**6, 2**32 + 1, 10**11):
        block = block_of(row, fraction)
        assert training_rows(block, fraction) <= row < training_rows(block + 1, fraction)


# The same bytes, whoever writes them


@few_examples
@given(
    rows=st.integers(3, 400),
    fraction=fractions,
    spacing=st.sampled_from(["grid", "uniform"]),
    sample=st.sampled_from([5, 16, 1000]),
    seed=st.integers(0, 1000),
)
def test_shards_in_any_order_and_twice_and_one_after_the_other_have_the_same_bytes_and_summary(
    rows: int, fraction: float, spacing: str, sample: int, seed: int
) -> None:
    params = {
        "generate__rows": rows,
        "generate__holdout": fraction,
        "generate__seed": seed,
        "generate__x": {"spacing": spacing, "low": 1e6, "high": 2e6},
    }
    with emptied(), small_chunks(CHUNK, PER_SHARD, sample):
        assume(int((~mask_of(rows, fraction, seed, grows=False)).sum()) >= 3)
        with from_the_beginning():
            streamed = written(**params)
        with in_any_order(seed):
            assert written(**params) == streamed
        assert written(**params) == streamed


@few_examples
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    fraction=fractions,
    seed=st.integers(0, 1000),
)
@example(lengths=[0, 0, 300], fraction=0.2, seed=1)
@example(lengths=[300, 0, 0], fraction=0.2, seed=1)
@example(lengths=[1] * 200, fraction=0.5, seed=1)
@example(lengths=[SHARD] * 9, fraction=0.0, seed=1)
def test_a_table_gives_the_same_bytes_however_it_is_cut_into_row_groups_and_as_csv(
    lengths: list[int], fraction: float, seed: int
) -> None:
    rows = sum(lengths)
    assume(rows >= 3)
    columns = numbered(rows)
    params = {"generate__holdout": fraction, "generate__seed": seed}
    with emptied(), small_chunks(CHUNK, PER_SHARD, sample=16):
        assume(int((~mask_of(rows, fraction, seed)).sum()) >= 3)
        whole = written(generate__table=write_table(columns, [rows]), **params)
        for table in (write_table(columns, lengths), write_table(columns), write_csv(columns)):
            assert written(generate__table=table, **params) == whole


@pytest.mark.parametrize("groups", [1, 3, 70])
def test_real_chunks_of_a_table_give_the_same_bytes_however_it_is_cut(groups: int) -> None:
    rows = 7 * CHUNK_ROWS + 11
    columns = numbered(rows)
    with mock.patch.object(shards, "SHARD_ROWS", 2 * CHUNK_ROWS):
        whole = written(generate__table=write_table(columns, [rows]))
        parts = [len(part) for part in np.array_split(np.arange(rows), groups)]
        with in_any_order(groups):
            assert written(generate__table=write_table(columns, parts)) == whole
    assert sorted(np.concatenate(x_of("train") + x_of("holdout"))) == list(range(rows))
    assert [len(x) for x in x_of("train")] == full(sum(map(len, x_of("train"))), 2 * CHUNK_ROWS)


@pytest.mark.parametrize("lengths", [[300], [150, 150], [20] * 15])
def test_a_table_is_not_read_more_often_than_twice(lengths: list[int]) -> None:
    """Long row groups are read from the beginning, short ones by the shards themselves."""
    with small_chunks(CHUNK, PER_SHARD):
        table, read = write_table(numbered(300), lengths), 0
        whole = pq.ParquetFile.iter_batches

        def counted(file: Any, size: int, groups: Any, *more: Any, **options: Any) -> Any:
            nonlocal read
            for batch in whole(file, size, groups, *more, **options):
                read += len(batch)
                yield batch

        with mock.patch.object(pq.ParquetFile, "iter_batches", counted):
            written(generate__table=table, generate__holdout=0.0)
        assert 300 <= read <= 600 + CHUNK + max(lengths)


@pytest.mark.parametrize(("spacing", "kind"), [("uniform", "normal"), ("grid", "shared-integer")])
def test_the_bytes_do_not_depend_on_the_number_of_threads(
    spacing: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr(shards, "SHARD_ROWS", 2 * CHUNK_ROWS)
    for threads in ("1", "2", "3", "4", "8"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(
            written(
                generate__rows=7 * CHUNK_ROWS + 11,
                generate__x={"spacing": spacing, "low": -3.0, "high": 5.0},
                generate__noise={"kind": kind, "scale": 2.0},
            )
        )
    assert all(other == found[0] for other in found)
    assert len(x_of("train")) == 3


@pytest.mark.parametrize(
    ("value", "threads"),
    [("1", 1), (" 3 ", 3), ("4,2", 4), ("99999", executors.MOST_THREADS)],
)
def test_openmps_variable_sets_the_number_of_threads(
    value: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert executors.threads() == threads


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "1e3", "9" * 30, "²"])
def test_another_value_of_it_means_one_thread_for_each_core(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = executors.threads()
    assert cores == min(len(os.sched_getaffinity(0)), executors.MOST_THREADS)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert executors.threads() == cores
