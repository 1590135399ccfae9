"""Writes the data as shards, each by itself: its rows are summarised while they are in memory.

A shard is a file of training rows and, beside it, the rows held out of the same blocks. Which rows
it has depends on their positions alone, so shards can be written in any order, by any thread or
machine, and twice. Knows nothing of who writes which.
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
"""Training rows in a shard: a file of 64 MiB, small enough for a thread, large enough to hash."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a data set have in common.

    train, holdout: the folders to write to; absolute, since another machine may write there.
    """

    source: Source
    fraction: float
    seed: int
    train: Path
    holdout: Path

    def blocks(self, shard: int) -> range:
        """Return the blocks that hold training rows of a shard, as if the data had no end.

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

    pivot: what the moments of training rows are taken about; None where each shard chooses it.
    """

    job: Job
    shard: int
    pivot: Pivot | None


@dataclass(frozen=True, slots=True)
class Shard:
    """The files of a shard that was written; None where there are no rows for one."""

    train: Part | None
    holdout: Part | None


def tasks(job: Job) -> list[Task]:
    """Return the shards as tasks that can be done in any order.

    There are none if the source must be read from its beginning: its length is not known, or its
    row groups are so long that reading each shard by itself would take twice as long or longer.
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
    job = replace(job, source=replace(job.source, group_ends=()))  # long, and of no use to a task
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
    """Blocks that can be read once, in order, but the last one that was taken once more."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._current = next(blocks, None)

    def reach(self, number: int) -> bool:
        """Pass over the blocks before a number; return whether there is one from it on."""
        while self._current and self._current.number < number:
            self._current = next(self._blocks, None)
        return self._current is not None

    def take(self, numbers: range) -> Iterator[Block]:
        """Yield blocks, as far as there are any; the last one stays."""
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
    first = task.shard == 0  # writes both files, so that there is one
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
