"""A run of `generate` that fails leaves data/ exactly as it was, and reports the earliest error."""

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.__main__ import main
from knownline.core.layout import SUMMARY
from knownline.core.least_squares import LeastSquares
from knownline.core.summary import Summary
from knownline.generate import shards
from knownline.generate.draw import CHUNK_ROWS
from knownline.generate.holdout import held_out
from knownline.generate.tables import Table
from knownline.model import LINE
from samerun.core import files
from support.files import tree
from tests.generate.running import generate, small_chunks, write_params

pytestmark = pytest.mark.usefixtures("folder")

Array = npt.NDArray[np.float64]

CHUNK, PER_SHARD = 8, 3
SHARD = CHUNK * PER_SHARD

KINDS = ["csv", "parquet", "one row group"]


@pytest.fixture
def small() -> Iterator[None]:
    """Shards of 24 rows, so that some hundred rows are several."""
    with small_chunks(CHUNK, PER_SHARD):
        yield


def write_table(kind: str, x: Array, y: Array) -> str:
    """Write data/own/t.csv or t.parquet, the latter in short row groups or in one."""
    name = f"data/own/t.{'csv' if kind == 'csv' else 'parquet'}"
    if kind == "csv":
        rows = zip(x.tolist(), y.tolist(), strict=True)
        Path(name).write_text("x,y\n" + "".join(f"{u!r},{v!r}\n" for u, v in rows))
    else:
        size = 5 if kind == "parquet" else len(x)
        pq.write_table(pa.table({"x": x, "y": y}), name, row_group_size=size)
    return name


# Values


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_a_bad_value_in_the_last_shard_leaves_everything_as_it_was(
    refused: Callable[..., None], kind: str, holdout: float
) -> None:
    generate(generate__seed=1)
    x = np.arange(200.0)
    table = write_table(kind, x, np.where(x == 199, np.inf, x))
    write_params(generate__table=table, generate__holdout=holdout)
    refused(r"data/own/t\.\w+ column y must hold a finite number .*\(got inf in row 200\b.*\)")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", ["1", "2", "8"])
@pytest.mark.usefixtures("small")
def test_the_earliest_bad_row_is_reported_whatever_the_number_of_threads(
    refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch, kind: str, threads: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    x = np.arange(200.0)
    table = write_table(kind, x, np.where(np.isin(x, [70, 130, 190]), np.nan, x))
    write_params(generate__table=table, generate__holdout=0.0)
    for _ in range(5):
        refused(r".* column y must hold a finite number .* in row 71\b.*\)")


@pytest.mark.usefixtures("small")
def test_the_earliest_bad_row_is_reported_though_a_later_one_is_found_first(
    refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    later, write = threading.Event(), shards.write

    def late(task: shards.Task) -> shards.Shard:
        if task.shard == 2:
            assert later.wait(60)
        try:
            return write(task)
        finally:
            if task.shard == 5:
                later.set()

    monkeypatch.setattr(shards, "write", late)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    x = np.arange(200.0)
    table = write_table("parquet", x, np.where(np.isin(x, [70, 130]), np.nan, x))
    write_params(generate__table=table, generate__holdout=0.0)
    refused(r".* in row 71\)")
    assert later.is_set()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "params",
    [
        {"truth__w": 1.82e306},  # 99 times that is too much
        {"truth__w": 1.82e306, "generate__rows": 150_000},
        {
            "truth": {"w": 1.79769e8, "b": 1e307},
            "generate__rows": 5 * CHUNK_ROWS,
            "generate__x": {"spacing": "grid", "low": 0.0, "high": 1e300},
        },
    ],
    ids=["in the one chunk", "in the last of three chunks", "in the last of five chunks"],
)
@pytest.mark.parametrize("chunks", [1, 64])
def test_a_y_past_float64_is_refused_without_a_warning(
    refused: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    params: dict[str, Any],
    chunks: int,
) -> None:
    generate(generate__seed=1)
    write_params(**params)
    monkeypatch.setattr(shards, "SHARD_ROWS", chunks * CHUNK_ROWS)
    refused(r"truth must give a finite y for every x of generate\.x \(got one beyond float64\)")


def bad_squares() -> Iterator[Any]:
    yield pytest.param({"truth__w": 1e200}, id="y")
    wide = {"spacing": "grid", "low": -1e200, "high": 1e200}
    yield pytest.param({"truth__w": 0.0, "generate__x": wide}, id="x")
    tiny = {"spacing": "grid", "low": 1e-200, "high": 1e-190}
    yield pytest.param({"generate__x": tiny}, id="x whose squares vanish")
    tiny = {"spacing": "grid", "low": 1e-160, "high": 9e-160}
    yield pytest.param({"generate__x": tiny}, id="x whose squares lose digits")
    for scale in (1e-200, 1e-160):
        small = {"truth__w": 20 * scale, "truth__b": 5 * scale, "generate__noise__scale": scale}
        yield pytest.param(small, id=f"y about {scale}")
        yield pytest.param(small | {"generate__rows": 200_000}, id=f"many y about {scale}")
    yield pytest.param({"truth__w": 1e200, "generate__holdout": 0.0}, id="no holdout")
    yield pytest.param({"truth__w": 1e200, "generate__rows": 200_000}, id="many rows")


SQUARES = r".* must have squares within float64, neither too large nor too small.*"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("params", list(bad_squares()))
def test_squares_past_float64_are_refused_without_a_warning(
    refused: Callable[..., None], params: dict[str, Any]
) -> None:
    generate(generate__seed=1)
    write_params(**params)
    refused(SQUARES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spare", [True, False], ids=["held out", "trained on"])
@pytest.mark.parametrize("column", ["x", "y"])
@pytest.mark.usefixtures("small")
def test_one_square_past_float64_is_refused_on_either_side_of_the_holdout(
    refused: Callable[..., None], kind: str, spare: bool, column: str
) -> None:
    generate(generate__seed=1)
    x = np.arange(200.0)
    columns = {"x": x, "y": 2.0 * x}
    mask = np.concatenate([held_out(b, CHUNK, fraction=0.2, seed=3, grows=True) for b in range(25)])
    columns[column][np.flatnonzero(mask == spare)[-1]] = 1e200
    table = write_table(kind, columns["x"], columns["y"])
    write_params(generate__table=table, generate__holdout=0.2, generate__seed=3)
    refused(SQUARES)


def test_the_largest_squares_within_float64_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    for low, high in ((1e-150, 1e-140), (1e140, 1e150)):
        generate(generate__x={"spacing": "grid", "low": low, "high": high}, truth__w=1.0)
    capsys.readouterr()


@pytest.mark.parametrize("scale", [1e-130, 1.0, 1e130])
def test_rescaled_y_give_the_rescaled_fit(scale: float) -> None:
    x = np.arange(1.0, 30.0)
    y = 3 * x + np.sin(x)
    generate(generate__table=write_table("csv", x, y * scale), generate__holdout=0.0, truth=None)
    fit = LeastSquares(LINE, Summary.read(SUMMARY, ("x",)).train)
    expected = np.polyfit(x, y, 1, full=True)
    assert fit.solution["w"] / scale == pytest.approx(expected[0][0])
    mse = fit.mean_squared_error(fit.solution)
    assert math.sqrt(mse) / scale == pytest.approx(math.sqrt(expected[1][0] / len(x)))


@pytest.mark.parametrize("y", [0.0, 1e-200, 5.0])
def test_y_that_are_all_equal_are_taken_however_small(y: float) -> None:
    generate(truth__w=0.0, truth__b=y, generate__noise__scale=0.0)


# Disks and interrupts


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["fsync", "write_table", "replace"])
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.usefixtures("small")
def test_a_disk_that_takes_no_more_is_named_and_everything_stays_as_it_was(
    refused: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    where: str,
    after: int,
) -> None:
    generate(generate__rows=200, generate__seed=1)
    owner: Any = {"fsync": os, "write_table": pq.ParquetWriter, "replace": Path}[where]
    real, calls = getattr(owner, where), []

    def fail(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    write_params(generate__rows=200, generate__seed=2)
    monkeypatch.setattr(owner, where, fail)
    refused(rf".* must be readable and writable .*{os.strerror(code)}.*")


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.usefixtures("small")
def test_an_interrupt_while_threads_write_leaves_everything_as_it_was(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: int,
) -> None:
    generate(generate__rows=200, generate__seed=1)
    before, synced, sync = tree(folder / "data"), [], files.sync
    write_params(generate__rows=2_000, generate__seed=2)

    def interrupted(path: Path) -> None:
        synced.append(path)
        if len(synced) > after:
            raise KeyboardInterrupt
        sync(path)

    monkeypatch.setattr(files, "sync", interrupted)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    capsys.readouterr()
    threads = threading.active_count()
    assert main(["generate"]) == 130
    assert capsys.readouterr() == ("", "knownline: interrupted\n")
    assert tree(folder / "data") == before
    assert threading.active_count() == threads


# Tables that are not what they were, or not what they say


def appended(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"7,7\n")


def replaced(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def rewritten(path: Path) -> None:
    content = path.read_bytes()
    time.sleep(0.02)  # a clock that steps every 10 ms
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [appended, replaced, rewritten, removed])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holdout", [0.0, 0.2])
@pytest.mark.usefixtures("small")
def test_a_table_that_changes_while_it_is_read_is_refused(
    refused: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    kind: str,
    holdout: float,
) -> None:
    generate(generate__seed=1)
    x = np.arange(100.0)
    table = write_table(kind, x, 2.0 * x)
    write_params(generate__table=table, generate__holdout=holdout)
    chunks = Table.chunks
    changes: list[str] = []

    def changing(self: Table, *rows: Any) -> Iterator[list[Array]]:
        for chunk in chunks(self, *rows):
            yield chunk
            if not changes:
                changes.append(table)
                change(Path(table))

    monkeypatch.setattr(Table, "chunks", changing)
    refused(
        r"(data/own/t\.\w+ must (not change while it is read \(got (another|no) file\)"
        r"|be the same file for every worker and not change while it is read \(got .*\)"
        r"|be a readable table .*)|generate\.table must be a file .*)",
        except_for=table,
    )


def varint(number: int) -> bytes:
    """Return a whole number as Parquet's footer writes it (Thrift's compact protocol)."""
    number, out = number << 1, b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize("more", [1, 5000])
def test_a_parquet_whose_footer_counts_more_rows_than_there_are_is_refused(
    refused: Callable[..., None], more: int
) -> None:
    rows = 70_003
    x = np.random.default_rng(1).standard_normal(rows)
    table = write_table("one row group", x, x)
    content = Path(table).read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - length], content[-8 - length :]
    assert footer.count(varint(rows)) >= 2
    Path(table).write_bytes(body + footer.replace(varint(rows), varint(rows + more)))
    assert pq.read_metadata(table).num_rows == rows + more
    write_params(generate__table=table)
    refused(
        rf"data/own/t\.parquet must have the {rows + more} rows that its footer counts"
        rf" \(got {rows}\)"
    )


@pytest.mark.usefixtures("folder")
def test_a_kill_between_the_data_and_its_summary_leaves_no_old_summary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The summary of other rows would be fitted without a word."""
    generate(generate__seed=1)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("knownline.core.checksums.write", killed)
    write_params(generate__seed=2)
    assert main(["generate"]) == 130
    assert not Path("data/summary.json").exists()
