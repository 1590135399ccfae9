"""Writes the data as independent shards, and summarises their rows while they are in memory.

A shard is a file of training rows and a file of the rows held out of the same blocks. Its rows
depend on their positions alone. So shards can be written in any order, by any thread or machine,
and more than once. Knows nothing of threads or of Dask.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline.core.moments import Pivot, ignoring_overflow, pivot_of
from knownline.generate.draw import CHUNK_ROWS
from knownline.generate.holdout import block_of, held_out, training_rows
from knownline.generate.parts import Part, PartWriter
from knownline.generate.source import Block, Source

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

SHARD_ROWS = 64 * CHUNK_ROWS
"""Training rows in a shard: a file of 64 MiB with one input."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a data set have in common.

    train, holdout: absolute paths of the folders, because another machine may write to them.
    """

    source: Source
    fraction: float
    seed: int
    train: Path
    holdout: Path

    def blocks(self, shard: int) -> range:
        """Return the blocks with training rows of a shard, as if the data had no end.

        The last of them may hold training rows of the next shard too.
        """
        end = (shard + 1) * SHARD_ROWS
        last = block_of(end, self.fraction)
        shared = training_rows(last, self.fraction) < end
        # Of the first blocks, all rows may be held out.
        first = block_of(end - SHARD_ROWS, self.fraction) if shard else 0
        return range(first, last + shared)

    def mask(self, block: Block) -> npt.NDArray[np.bool_]:
        """Return which rows of a block are held out, (rows,)."""
        grows = self.source.table is not None
        return held_out(
            block.number, block.rows, fraction=self.fraction, seed=self.seed, grows=grows
        )


@dataclass(frozen=True, slots=True)
class Task:
    """A shard to write.

    pivot: of the moments of the training rows; None if each shard chooses its own.
    """

    job: Job
    shard: int
    pivot: Pivot | None


@dataclass(frozen=True, slots=True)
class Shard:
    """The files of a written shard; None for a file without rows."""

    train: Part | None
    holdout: Part | None


def tasks(job: Job) -> list[Task]:
    """Return the shards as tasks that can be done in any order.

    The list is empty if the source must be read from its beginning: if its length is unknown, or if
    its row groups are so long that reading each shard separately would take at least twice as long.
    """
    rows = job.source.rows
    if rows is None:
        return []
    count, cost = 1, 0
    while (start := job.blocks(count).start * CHUNK_ROWS) < rows:
        count, cost = count + 1, cost + job.source.cost(start)
    if cost > rows:
        return []
    pivot = _pivot(job) if count > 1 else None
    job = replace(
        job, source=replace(job.source, group_ends=())
    )  # long, and a task does not need them
    return [Task(job, shard, pivot) for shard in range(count)]


def write(task: Task) -> Shard:
    """Write one shard."""
    return _write(task, task.job.source.blocks(task.job.blocks(task.shard)))


def stream(job: Job) -> Iterator[Shard]:
    """Write the shards of a source that is read from its beginning, one after the other."""
    blocks = _Stream(job.source.blocks())
    pivot: Pivot | None = None
    shard = 0
    while shard == 0 or blocks.reach(job.blocks(shard).start):
        written = _write(Task(job, shard, pivot), blocks.take(job.blocks(shard)))
        yield written
        pivot = pivot or (written.train.pivot if written.train else None)
        shard += 1


class _Stream:
    """Blocks that are read once, in order; only the last one taken can be taken again."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._current = next(blocks, None)

    def reach(self, number: int) -> bool:
        """Skip the blocks before a number; return whether any block is left."""
        while self._current and self._current.number < number:
            self._current = next(self._blocks, None)
        return self._current is not None

    def take(self, numbers: range) -> Iterator[Block]:
        """Yield the blocks of these numbers that exist; the last one can be taken again."""
        for number in numbers:
            if self.reach(number):
                assert self._current is not None
                yield self._current


def _pivot(job: Job) -> Pivot | None:
    """Return the pivot of the first chunk of training rows, None if it is not good."""
    pieces, rows = [], 0
    for block in job.source.blocks():
        kept = ~job.mask(block)
        pieces.append([column[kept] for column in block.columns])
        rows += len(pieces[-1][0])
        if rows >= CHUNK_ROWS:
            break
    *inputs, y = (np.concatenate(parts)[:CHUNK_ROWS] for parts in zip(*pieces, strict=True))
    with ignoring_overflow():
        pivot, good = pivot_of(job.source.kind.summarised.columns(inputs), y)
    return pivot if good else None


def _write(task: Task, blocks: Iterator[Block]) -> Shard:
    job, name = task.job, f"part-{task.shard:05d}.parquet"
    kind = job.source.kind.summarised
    begin, end = task.shard * SHARD_ROWS, (task.shard + 1) * SHARD_ROWS
    next_shard = block_of(end, job.fraction)
    first = task.shard == 0  # writes both files even if they have no rows
    with (
        ignoring_overflow(),
        PartWriter(job.train / name, kind, begin, task.pivot, sampled=True) as train,
        PartWriter(job.holdout / name, kind, 0, None, sampled=False) as holdout,
    ):
        for block in blocks:
            before = training_rows(block.number, job.fraction)
            own = slice(max(begin - before, 0), max(end - before, 0))
            if job.fraction == 0:
                train.append([column[own] for column in block.columns])
            else:
                mask = job.mask(block)
                train.append(block.columns, np.flatnonzero(~mask)[own])
                if block.number < next_shard:
                    holdout.append(block.columns, np.flatnonzero(mask))
        return Shard(train.close(always=first), holdout.close(always=first))
