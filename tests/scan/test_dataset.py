"""The one pass: the bits of a plain loop over the chunks, every sum checked, nothing read twice."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.core import moments, parquet
from knownline.scan import dataset, pool, stat_cache
from samerun.core import files
from samerun.core.errors import DamagedError, MissingError
from tests.file_contents import write_sums

Array = npt.NDArray[np.float64]

CHUNK = 50
TRAIN = Path("data/train")


def points(rows: int, seed: int = 1) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    x = 1e6 + draws.uniform(1.0, 99.0, rows)
    return x, 20.0 * x + 5.0 + 1.5 * draws.standard_normal(rows)


def write(rows: int, seed: int = 1, folder: Path = TRAIN) -> tuple[Array, Array]:
    """Write rows and seal them; the files are old enough to be remembered."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y = points(rows, seed)
    with parquet.ShardWriter(folder, CHUNK) as writer:
        writer.append(x, y)
    write_sums(folder.parent, writer.files)
    settle(folder)
    return x, y


def settle(folder: Path = TRAIN) -> None:
    """Wait until the file system's clock has moved since the last change: how files look counts."""
    last = max(path.stat().st_ctime_ns for path in folder.iterdir())
    while stat_cache.clock(folder.parent).time <= last:
        time.sleep(0.001)


def read(folder: Path = TRAIN) -> dataset.DataSummary:
    found = dataset.summarize(folder)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(parquet, "SHARD_CHUNKS", 5)
    monkeypatch.setattr(dataset, "SPAN_GROUPS", 2)


class Reads:
    """What is read of the data's files, in this process and in those it forks: by a file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.clear()

    def add(self, what: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{what}\n")

    def clear(self) -> None:
        self._log.write_text("")

    @property
    def all(self) -> list[str]:
        """Each as 'sum' or 'rows', and the file's name."""
        return self._log.read_text().splitlines()

    @property
    def kinds(self) -> set[str]:
        return {what.split()[0] for what in self.all}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Reads:
    """What is read from here on."""
    seen = Reads(tmp_path_factory.mktemp("reads") / "log")
    sum_of, rows_of = files.sha256_of, parquet.Span.read

    def sha256_of(path: Path) -> str:
        if path.suffix == ".parquet":
            seen.add(f"sum {path.name}")
        return sum_of(path)

    def read(span: parquet.Span) -> Iterator[tuple[Array, Array]]:
        seen.add(f"rows {span.path.name}")
        return rows_of(span)

    monkeypatch.setattr(files, "sha256_of", sha256_of)
    monkeypatch.setattr(parquet.Span, "read", read)
    return seen


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, 5 * CHUNK + 1, 23 * CHUNK + 7])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_bits_are_those_of_a_plain_loop_over_the_chunks(
    rows: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    x, y = write(rows)
    cuts = range(0, rows, CHUNK)
    plain = moments.compress([(x[i : i + CHUNK], y[i : i + CHUNK]) for i in cuts])
    assert read().rows == plain


@pytest.mark.parametrize(("rows", "limit"), [(7, 10), (10, 10), (11, 10), (1234, 10), (1234, 999)])
def test_the_sample_is_every_so_manieth_row(
    rows: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SAMPLE", limit)
    x, y = write(rows)
    every = -(-rows // limit)
    sample = read().sample
    assert sample.tolist() == [x[::every].tolist(), y[::every].tolist()]
    assert sample.shape[1] <= limit


def test_a_folder_without_a_row_is_known_to_have_none() -> None:
    write(0)
    assert dataset.summarize(TRAIN) is None


# What is kept


def test_what_is_known_is_kept_and_nothing_is_read_again(reads: Reads) -> None:
    write(500)
    first = read()
    assert sorted(set(reads.all)) == [
        *(f"rows part-0000{i}.parquet" for i in range(2)),
        *(f"sum part-0000{i}.parquet" for i in range(2)),
    ]
    reads.clear()
    again = read()
    assert reads.all == []
    assert (again.rows, again.sample.tolist()) == (first.rows, first.sample.tolist())


@pytest.mark.parametrize("threads", ["1", "3"])
def test_every_sum_is_taken_once(
    threads: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    write(23 * CHUNK)
    reads.clear()
    read()
    sums = [what for what in reads.all if what.startswith("sum")]
    assert len(sums) == len(set(sums)) == 5


def test_other_data_are_read(reads: Reads) -> None:
    write(500, seed=1)
    first = read()
    write(500, seed=2)
    assert read().rows != first.rows


def test_data_that_came_back_are_checked_and_not_read(reads: Reads) -> None:
    write(500, seed=1)
    first = read()
    write(500, seed=2)
    read()
    write(500, seed=1)
    reads.clear()
    assert read().rows == first.rows
    assert reads.kinds == {"sum"}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "another's"])
def test_a_kept_file_that_is_damaged_counts_as_none(damage: str, reads: Reads) -> None:
    write(500)
    first = read()
    (kept,) = (path for path in Path("mlruns/moments").iterdir() if path.is_file())
    whole = kept.read_bytes()
    broken = {
        "flip": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        "cut": whole[:-10],
        "empty": b"",
        "text": b"text\n",
    }
    if damage == "another's":
        write(500, seed=3)
        read()
        (other,) = (p for p in Path("mlruns/moments").iterdir() if p.is_file() and p != kept)
        broken[damage] = other.read_bytes()
        write(500)
    kept.write_bytes(broken[damage])
    reads.clear()
    assert read().rows == first.rows
    assert "rows" in reads.kinds
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, 2]}', "{"])
def test_stamps_that_are_damaged_count_as_none(content: str, reads: Reads) -> None:
    write(500)
    read()
    (stamp,) = Path("mlruns/moments/stamps").iterdir()
    stamp.write_text(content)
    reads.clear()
    read()
    assert reads.kinds == {"sum"}
    assert json.loads(stamp.read_text())


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_CACHED", 2)
    monkeypatch.setattr(stat_cache, "MAX_CACHED", 2)
    for seed in range(4):
        write(60, seed)
        read()
        time.sleep(0.01)
    assert len([p for p in Path("mlruns/moments").iterdir() if p.is_file()]) == 2
    assert len(list(Path("mlruns/moments/stamps").iterdir())) == 2


def test_an_experiments_folder_uses_what_its_workspace_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Reads
) -> None:
    write(500)
    read()
    (tmp_path / "experiment").mkdir()
    monkeypatch.chdir(tmp_path / "experiment")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    write(500)
    reads.clear()
    read()
    assert reads.kinds == {"sum"}


# What is not what was sealed


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(b"PAR1"), Path.unlink])
def test_a_file_that_is_not_what_was_sealed_is_refused_with_its_name(
    kept: bool, number: int, damage: Callable[[Path], None]
) -> None:
    write(23 * CHUNK)
    if kept:
        read()
    path = TRAIN / f"part-0000{number}.parquet"
    damage(path)
    with pytest.raises((DamagedError, MissingError), match=f"{path} must be"):
        dataset.summarize(TRAIN)
    with pytest.raises((DamagedError, MissingError), match=f"{path} must be"):
        dataset.check(TRAIN)


def test_a_byte_changed_in_place_and_dated_back_is_noticed() -> None:
    write(500)
    read()
    path = TRAIN / "part-00001.parquet"
    flip(path)
    os.utime(path, (1e9, 1e9))
    with pytest.raises(DamagedError, match=r"part-00001\.parquet must be what the stage before"):
        dataset.summarize(TRAIN)


def test_a_file_that_changed_at_this_tick_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch, reads: Reads
) -> None:
    write(500)
    device = TRAIN.stat().st_dev
    first = min(path.stat().st_ctime_ns for path in TRAIN.iterdir())
    monkeypatch.setattr(stat_cache, "clock", lambda folder: stat_cache.Clock(device, first))
    reads.clear()
    read()
    sums = [what for what in reads.all if what.startswith("sum ")]
    assert sorted(sums) == sorted(set(sums))  # once, though its look says nothing
    reads.clear()
    read()
    assert reads.kinds == {"sum"}


def test_a_file_beside_the_sealed_ones_is_refused() -> None:
    write(500)
    read()
    (TRAIN / "part-00009.parquet").write_bytes((TRAIN / "part-00000.parquet").read_bytes())
    with pytest.raises(DamagedError, match=r"part-00009\.parquet must not be there"):
        dataset.summarize(TRAIN)


@pytest.mark.parametrize("number", [0, 2])
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(number: int) -> None:
    write(23 * CHUNK)
    path = TRAIN / f"part-0000{number}.parquet"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((DamagedError, MissingError), match=f"{path} must be"):
        dataset.summarize(TRAIN)


@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_file_that_lost_all_its_rows_is_refused_with_its_name(
    number: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is Parquet, and nothing of it is read: it must be hashed all the same."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    write(23 * CHUNK)
    path = TRAIN / f"part-0000{number}.parquet"
    empty = Path("empty")
    empty.mkdir()
    with parquet.ShardWriter(empty, CHUNK) as writer:
        pass
    writer.files[0].replace(path)
    settle()
    with pytest.raises(DamagedError, match=rf"{path} .*its SHA-256 is"):
        dataset.summarize(TRAIN)
    assert not list(Path("mlruns/moments").glob("?" * 64))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("change", [flipped, piped])
def test_a_file_that_changes_while_it_is_read_is_refused_and_nothing_of_it_is_kept(
    change: Callable[[Path], None], threads: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its look was known when the pass began."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    write(23 * CHUNK)
    right = read()
    path = TRAIN / f"part-0000{number}.parquet"
    content, rows_of = path.read_bytes(), parquet.Span.read

    def changed_before(span: parquet.Span) -> Iterator[tuple[Array, Array]]:
        if span.path == path:
            with suppress(FileExistsError):  # one hand of several, once
                Path("changed").touch(exist_ok=False)
                change(path)
        return rows_of(span)

    monkeypatch.setattr(parquet.Span, "read", changed_before)
    with pytest.raises((DamagedError, MissingError), match=f"{path} "):
        dataset.summarize(TRAIN, reread=True)
    monkeypatch.setattr(parquet.Span, "read", rows_of)
    path.unlink(missing_ok=True)  # a hand may have been ended before it made the pipe
    path.write_bytes(content)
    settle()
    found = read()
    assert (found.rows, found.sample.tobytes()) == (right.rows, right.sample.tobytes())


@pytest.mark.parametrize(("asked", "hands"), [(None, 4), (1, 1), (3, 3)])
def test_no_more_hands_read_than_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, hands: int
) -> None:
    counts = []
    over = pool.over

    def counted(work: Any, pieces: Any, count: int, **more: Any) -> Any:
        counts.append(count)
        return over(work, pieces, count, **more)

    write(40 * CHUNK)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(pool, "over", counted)
    dataset.summarize(TRAIN, hands=asked)
    assert counts == [hands]


def test_want_of_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 524288 failed")

    write(CHUNK)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", read)
    with pytest.raises(MemoryError):
        dataset.summarize(TRAIN)
