"""The stage `generate`: params.yaml, or a table in data/own/, to data/train/ and data/holdout/."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from knownline.core import parquet
from knownline.core.errors import ParamsError, TableError
from knownline.core.layout import DATA, HOLDOUT, TRAIN
from knownline.core.line import Line
from knownline.generate import draw, tables
from knownline.identity import provenance
from knownline.params import MIN_ROWS, Generate, Params, holdout_rows
from knownline.scan import stat_cache, torchrun
from knownline.scan.stat_cache import FileStat, Stamps
from samerun.core import files, progress

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def main() -> int:
    """Write the points; refuse before anything is written."""
    params = Params.read()
    threads = max(torchrun.wanted(), torchrun.threads())
    made = provenance.stage_inputs("generate", params)
    wanted = params.generate
    rows = wanted.rows if wanted.table is None else _checked_rows(wanted)
    with (
        files.replaced_folder(HOLDOUT) as held,
        files.replaced_folder(TRAIN) as kept,
        _Finisher(threads) as finisher,
    ):
        with (
            parquet.ShardWriter(kept, draw.CHUNK_ROWS, finisher.take) as train,
            parquet.ShardWriter(held, draw.CHUNK_ROWS, finisher.take) as holdout,
        ):
            _write(_source(params, rows, threads), rows, wanted, train=train, holdout=holdout)
        done = {TRAIN / path.name: finisher.result_of(path) for path in train.files}
        done |= {HOLDOUT / path.name: finisher.result_of(path) for path in holdout.files}
        again = "run `dvc repro` again"
        provenance.check_unchanged("generate", made, Params.read(), then=again)
    files.write_known_sums(DATA, {path: sha for path, (sha, _) in done.items()})
    files.write_made_with(DATA, made)
    for folder in (TRAIN, HOLDOUT):  # so that `train` need not hash what was hashed just now
        its = {path: found for path, found in done.items() if path.parent == folder}
        Stamps({path: sha for path, (sha, _) in its.items()}).keep(dict(its.values()))
    held_out = holdout_rows(rows, wanted.holdout)
    print(f"generate: {rows:,} rows, {held_out:,} of them held out")
    return 0


class _Finisher:
    """Syncs and hashes files while others are written; a context that waits for all of them."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._done: dict[Path, Future[tuple[str, FileStat | None]]] = {}

    def __enter__(self) -> Self:
        """Return the finisher itself."""
        return self

    def __exit__(self, *failed: object) -> None:
        """Wait for what was begun."""
        self._pool.shutdown(cancel_futures=failed[0] is not None)

    def take(self, path: Path) -> None:
        """Begin with a file that is whole."""
        self._done[path] = self._pool.submit(_finished, path)

    def result_of(self, path: Path) -> tuple[str, FileStat | None]:
        """Return a file's SHA-256 in hex and its look, once it outlasts a loss of power."""
        return self._done[path].result()


def _finished(path: Path) -> tuple[str, FileStat | None]:
    files.sync(path)
    seen = stat_cache.settled(path)  # before it is hashed: what changes later looks different
    return files.sha256_of(path), seen


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Neighbouring rows of the whole, and where each goes; valid until the next one is asked for.

    x, y: (rows,). train: which of them are trained on, None for all. holdout: the others.
    """

    x: Array
    y: Array
    train: Indices | None
    holdout: Indices


def _split(x: Array, y: Array, start: int, rows: int, wanted: Generate) -> _Chunk:
    """Return rows start … start+len(x)-1 of `rows`, and which of them are held out."""
    if wanted.holdout == 0:
        return _Chunk(x, y, None, np.empty(0, dtype=np.intp))
    out = draw.held_out(start, start + len(x), rows=rows, fraction=wanted.holdout, seed=wanted.seed)
    return _Chunk(x, y, np.flatnonzero(~out), np.flatnonzero(out))


def _source(params: Params, rows: int, threads: int) -> Iterator[_Chunk]:
    """Return the chunks that params ask for, drawn or read."""
    wanted = params.generate
    if wanted.table is not None:
        return _of_table(wanted, rows)
    assert params.truth is not None  # a rule of Params
    return _drawn(wanted, Line(params.truth.w, params.truth.b), threads)


def _of_table(wanted: Generate, rows: int) -> Iterator[_Chunk]:
    """Yield the chunks of a table, which must have as many rows as when it was checked."""
    assert wanted.table is not None
    start = 0
    for x, y in tables.Table(Path(wanted.table), wanted.columns.x, wanted.columns.y).chunks():
        if start + len(x) > rows:
            raise _changed(wanted, start + len(x))
        yield _split(x, y, start, rows, wanted)
        start += len(x)
    if start != rows:
        raise _changed(wanted, start)


def _changed(wanted: Generate, rows: int) -> TableError:
    return TableError(f"{wanted.table} must not change while it is read (got {rows} rows)")


def _drawn(wanted: Generate, truth: Line, threads: int) -> Iterator[_Chunk]:
    """Yield the chunks in order; so many threads draw ahead, each chunk into memory used again."""
    free = [draw.Block() for _ in range(threads + 2)]
    ahead: deque[tuple[draw.Block, Future[_Chunk]]] = deque()

    def finite(block: draw.Block, chunk: int) -> _Chunk:
        x, y = block.draw(wanted, truth, chunk)
        if not np.isfinite(y).all():
            raise ParamsError(
                "truth must give a finite y for every x of generate.x (got one past float64)"
            )
        return _split(x, y, chunk * draw.CHUNK_ROWS, wanted.rows, wanted)

    def next_drawn() -> _Chunk:
        block, drawn = ahead.popleft()
        free.append(block)
        return drawn.result()

    with ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in draw.chunks(wanted):
                if len(ahead) > threads:
                    yield next_drawn()
                block = free.pop(0)
                ahead.append((block, pool.submit(finite, block, chunk)))
            while ahead:
                yield next_drawn()
        finally:
            pool.shutdown(cancel_futures=True)


def _checked_rows(wanted: Generate) -> int:
    """Read the whole table once, refuse what cannot be fitted, and return its number of rows."""
    assert wanted.table is not None
    table = tables.Table(Path(wanted.table), wanted.columns.x, wanted.columns.y)
    rows, low, high = 0, np.inf, -np.inf
    for x, _ in table.chunks():
        if len(x):
            rows, low, high = rows + len(x), min(low, x.min()), max(high, x.max())
    if rows < MIN_ROWS:
        raise TableError(f"{table.path} must have {MIN_ROWS} rows or more (got {rows})")
    if low == high:
        raise TableError(
            f"{table.path} column {table.x} must hold two different values or more (got {low} only)"
        )
    left = rows - holdout_rows(rows, wanted.holdout)
    if left < MIN_ROWS:
        raise ParamsError(
            f"generate.holdout must leave {MIN_ROWS} rows of {rows} to train on"
            f" (got {wanted.holdout})"
        )
    return rows


def _write(
    chunks: Iterator[_Chunk],
    rows: int,
    wanted: Generate,
    *,
    train: parquet.ShardWriter,
    holdout: parquet.ShardWriter,
) -> None:
    """Write each row to its half; refuse a training set no line can be fitted to."""
    low, high = np.inf, -np.inf
    with progress.bar("generate", " rows", total=rows) as bar:
        for chunk in chunks:
            train.append(chunk.x, chunk.y, chunk.train)
            holdout.append(chunk.x, chunk.y, chunk.holdout)
            if not low < high:
                x = chunk.x if chunk.train is None else chunk.x[chunk.train]
                if len(x):
                    low, high = min(low, x.min()), max(high, x.max())
            bar.update(len(chunk.x))
    if low == high:
        raise ParamsError(
            "generate.holdout must leave two different x to train on"
            f" (got {wanted.holdout}, which leaves x = {low} only)"
        )
