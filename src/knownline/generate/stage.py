"""The stage `generate`: writes drawn points, or a table in data/own/, to data/train/ and holdout/.

Knows nothing of how the numbers are drawn or of how a table is parsed.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, folders, parquet
from knownline.core.errors import ParamsError, TableError
from knownline.core.layout import DATA, HOLDOUT, TRAIN
from knownline.core.line import Line
from knownline.generate import draw, tables
from knownline.generate.holdout import held_out
from knownline.params import MIN_ROWS, Generate, Params, holdout_rows
from knownline.scan import stat_cache, torchrun
from knownline.scan.stat_cache import FileStat, Stamps
from samerun.core import files, progress

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def main() -> int:
    """Write the points of params.yaml; nothing is written if a rule is broken."""
    params = Params.read()
    threads = max(torchrun.wanted(), torchrun.threads())
    settings = params.generate
    rows = settings.rows if settings.table is None else _checked_rows(settings)
    with (
        folders.replaced(HOLDOUT) as holdout_folder,
        folders.replaced(TRAIN) as train_folder,
        _Finisher(threads) as finisher,
    ):
        with (
            parquet.ShardWriter(train_folder, draw.CHUNK_ROWS, finisher.submit) as train,
            parquet.ShardWriter(holdout_folder, draw.CHUNK_ROWS, finisher.submit) as holdout,
        ):
            _write(_source(params, rows, threads), rows, settings, train=train, holdout=holdout)
        hashed = {TRAIN / path.name: finisher.result_of(path) for path in train.files}
        hashed |= {HOLDOUT / path.name: finisher.result_of(path) for path in holdout.files}
    checksums.write(DATA, {path: file.sha256 for path, file in hashed.items()})
    _save_stats(hashed)
    held_out_rows = holdout_rows(rows, settings.holdout)
    print(f"generate: {rows:,} rows, {held_out_rows:,} of them held out")
    return 0


class _HashedFile(NamedTuple):
    """A file's SHA-256 in hex, and its stat from before it was hashed (None if still too fresh)."""

    sha256: str
    stat: FileStat | None


class _Finisher:
    """Syncs and hashes files while others are still written; on exit it waits for all of them."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._results: dict[Path, Future[_HashedFile]] = {}

    def __enter__(self) -> Self:
        """Return the finisher itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for the submitted files; after an error, drop those that have not begun."""
        self._pool.shutdown(cancel_futures=error[0] is not None)

    def submit(self, path: Path) -> None:
        """Begin to sync and hash a file that is complete."""
        self._results[path] = self._pool.submit(_sync_and_hash, path)

    def result_of(self, path: Path) -> _HashedFile:
        """Return a file's hash and stat once the file would survive a power failure."""
        return self._results[path].result()


def _sync_and_hash(path: Path) -> _HashedFile:
    files.sync(path)
    stat = stat_cache.settled(path)  # before the hash, so that a later change is noticed
    return _HashedFile(files.sha256_of(path), stat)


def _save_stats(hashed: dict[Path, _HashedFile]) -> None:
    """Save the stats of the new files, so that `train` need not hash them once more."""
    for folder in (TRAIN, HOLDOUT):
        inside = {path: file for path, file in hashed.items() if path.parent == folder}
        stamps = Stamps({path: file.sha256 for path, file in inside.items()})
        stamps.keep(dict(inside.values()))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive rows and their split; valid until the next chunk is requested.

    x, y: (rows,). train: indices of the rows to train on, None for all. holdout: the other indices.
    """

    x: Array
    y: Array
    train: Indices | None
    holdout: Indices


def _split(x: Array, y: Array, start: int, rows: int, settings: Generate) -> _Chunk:
    """Return rows start..start+len(x)-1 of `rows`, split into training rows and holdout."""
    if settings.holdout == 0:
        return _Chunk(x, y, None, np.empty(0, dtype=np.intp))
    mask = held_out(start, start + len(x), rows=rows, fraction=settings.holdout, seed=settings.seed)
    return _Chunk(x, y, np.flatnonzero(~mask), np.flatnonzero(mask))


def _source(params: Params, rows: int, threads: int) -> Iterator[_Chunk]:
    """Return the chunks of the data, drawn or read from the table."""
    settings = params.generate
    if settings.table is not None:
        return _read_table(settings, rows)
    assert params.truth is not None  # a rule of Params
    return _draw_chunks(settings, Line(params.truth.w, params.truth.b), threads)


def _read_table(settings: Generate, rows: int) -> Iterator[_Chunk]:
    """Yield the chunks of a table.

    Raises: TableError if it no longer has the `rows` rows that were counted.
    """
    assert settings.table is not None
    start = 0
    for x, y in tables.Table(Path(settings.table), settings.columns.x, settings.columns.y).chunks():
        if start + len(x) > rows:
            raise _changed_error(settings, start + len(x))
        yield _split(x, y, start, rows, settings)
        start += len(x)
    if start != rows:
        raise _changed_error(settings, start)


def _changed_error(settings: Generate, rows: int) -> TableError:
    return TableError(f"{settings.table} must not change while it is read (got {rows} rows)")


def _draw_chunks(settings: Generate, truth: Line, threads: int) -> Iterator[_Chunk]:
    """Yield the chunks in order, while `threads` threads draw the next ones into reused blocks."""
    free = [draw.Block() for _ in range(threads + 2)]
    pending: deque[tuple[draw.Block, Future[_Chunk]]] = deque()

    def draw_finite(block: draw.Block, chunk: int) -> _Chunk:
        x, y = block.draw(settings, truth, chunk)
        if not np.isfinite(y).all():
            raise ParamsError(
                "truth must give a finite y for every x of generate.x (got one past float64)"
            )
        return _split(x, y, chunk * draw.CHUNK_ROWS, settings.rows, settings)

    def next_drawn() -> _Chunk:
        block, future = pending.popleft()
        free.append(block)
        return future.result()

    with ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in draw.chunks(settings):
                if len(pending) > threads:
                    yield next_drawn()
                block = free.pop(0)
                pending.append((block, pool.submit(draw_finite, block, chunk)))
            while pending:
                yield next_drawn()
        finally:
            pool.shutdown(cancel_futures=True)


def _checked_rows(settings: Generate) -> int:
    """Read the whole table once and return its number of rows.

    Raises: TableError or ParamsError if no line can be fitted to its training rows.
    """
    assert settings.table is not None
    table = tables.Table(Path(settings.table), settings.columns.x, settings.columns.y)
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
    training_rows = rows - holdout_rows(rows, settings.holdout)
    if training_rows < MIN_ROWS:
        raise ParamsError(
            f"generate.holdout must leave {MIN_ROWS} rows of {rows} to train on"
            f" (got {settings.holdout})"
        )
    return rows


def _write(
    chunks: Iterator[_Chunk],
    rows: int,
    settings: Generate,
    *,
    train: parquet.ShardWriter,
    holdout: parquet.ShardWriter,
) -> None:
    """Write each row to the training data or to the holdout.

    Raises: ParamsError if all x to train on are the same.
    """
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
            f" (got {settings.holdout}, which leaves x = {low} only)"
        )
