"""The stage `generate`: params.yaml, or a table in data/own/, to data/train/ and data/holdout/."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline import door, files, provenance, shards, synthesis, tables, workers
from knownline.errors import ParamsError, TableError
from knownline.line import Line
from knownline.params import MIN_ROWS, Generate, Params, holdout_rows

Array = npt.NDArray[np.float64]
Chunks = Iterator[tuple[Array, Array]]

DATA = Path("data")


def main(argv: list[str]) -> int:
    """Write the points; refuse before anything is written."""
    door.Arguments(
        "generate",
        "Draw the points of params.yaml, or read the table it names, into data/train/ and"
        " data/holdout/.",
        "knownline generate",
    ).parse_args(argv)
    params = door.read_params()
    threads = max(workers.wanted(), workers.threads())
    made = provenance.made_with("generate", params)
    wanted = params.generate
    rows = wanted.rows if wanted.table is None else _checked_rows(wanted)
    with (
        files.replaced_folder(DATA / "holdout") as held,
        files.replaced_folder(DATA / "train") as kept,
    ):
        _write_split(_source(params, threads), rows, wanted, train=kept, holdout=held)
    written = [path for name in ("train", "holdout") for path in (DATA / name).glob("*.parquet")]
    files.seal(DATA, written, threads)
    files.write_used(DATA, made)
    held_out = holdout_rows(rows, wanted.holdout)
    print(f"generate: {rows:,} rows, {held_out:,} of them held out")
    return 0


def _source(params: Params, threads: int) -> Chunks:
    """Return the chunks of x and y that params ask for, drawn or read.

    A chunk is valid until the next one is asked for.
    """
    wanted = params.generate
    if wanted.table is not None:
        return tables.Table(Path(wanted.table), wanted.columns.x, wanted.columns.y).chunks()
    assert params.truth is not None  # a rule of Params
    return _drawn(wanted, Line(params.truth.w, params.truth.b), threads)


def _drawn(wanted: Generate, truth: Line, threads: int) -> Chunks:
    """Yield the chunks in order; so many threads draw ahead, each chunk into memory used again."""
    free = [synthesis.Block() for _ in range(threads + 2)]
    ahead: deque[tuple[synthesis.Block, Future[tuple[Array, Array]]]] = deque()

    def finite(block: synthesis.Block, chunk: int) -> tuple[Array, Array]:
        x, y = block.draw(wanted, truth, chunk)
        if not np.isfinite(y).all():
            raise ParamsError(
                "truth must give a finite y for every x of generate.x (got one past float64)"
            )
        return x, y

    def next_drawn() -> tuple[Array, Array]:
        block, drawn = ahead.popleft()
        free.append(block)
        return drawn.result()

    with ThreadPoolExecutor(threads) as pool:
        try:
            for chunk in synthesis.chunks(wanted):
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


def _write_split(
    chunks: Chunks, rows: int, wanted: Generate, *, train: Path, holdout: Path
) -> None:
    """Write each row to one of two folders; refuse a training set no line can be fitted to."""
    start, low, high = 0, np.inf, -np.inf
    with (
        shards.ShardWriter(train, synthesis.CHUNK_ROWS) as kept,
        shards.ShardWriter(holdout, synthesis.CHUNK_ROWS) as held,
    ):
        for x, y in chunks:
            if start + len(x) > rows:
                raise TableError(
                    f"{wanted.table} must not change while it is read (got {start + len(x)} rows)"
                )
            out = synthesis.held_out(
                start, start + len(x), rows=rows, fraction=wanted.holdout, seed=wanted.seed
            )
            chosen = np.flatnonzero(~out)
            kept.append(x, y, chosen)
            held.append(x, y, np.flatnonzero(out))
            start += len(x)
            if not low < high and len(chosen):
                low, high = min(low, x[chosen].min()), max(high, x[chosen].max())
    if low == high:
        raise ParamsError(
            "generate.holdout must leave two different x to train on"
            f" (got {wanted.holdout}, which leaves x = {low} only)"
        )
    if start != rows:
        raise TableError(f"{wanted.table} must not change while it is read (got {start} rows)")
