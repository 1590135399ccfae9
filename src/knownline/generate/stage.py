"""The stage `generate`: writes drawn points, or a table in data/own/, to data/train/ and holdout/.

Knows nothing of how the numbers are drawn, of how a table is parsed, or of who writes a shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from knownline.core import checksums, folders, moments, summary
from knownline.core.errors import ParamsError, TableError
from knownline.core.layout import DATA, HOLDOUT, SUMMARY, TRAIN
from knownline.core.moments import Compressed
from knownline.core.summary import Summary
from knownline.generate import executors, shards
from knownline.generate.parts import Part
from knownline.generate.shards import Job, Shard
from knownline.generate.source import Source
from knownline.params import MIN_ROWS, Generate, Params, holdout_rows
from samerun.core import files, progress


def main() -> int:
    """Write the points of params.yaml; nothing is written if a rule is broken."""
    params = Params.read()
    settings, source = params.generate, Source.of(params)
    with folders.replaced(HOLDOUT) as holdout, folders.replaced(TRAIN) as train:
        written = _Written.of(
            Job(source, settings.holdout, settings.seed, train.resolve(), holdout.resolve())
        )
        _check_rows(written, settings)
        kept = _summary(written)
    sums = {TRAIN / part.path.name: part.sha256 for part in written.train}
    sums |= {HOLDOUT / part.path.name: part.sha256 for part in written.holdout}
    checksums.write(DATA, sums)
    kept.write(SUMMARY)
    print(f"generate: {written.rows:,} rows, {written.held_out:,} of them held out")
    return 0


@dataclass(frozen=True, slots=True)
class _Written:
    """The files that were written."""

    train: list[Part]
    holdout: list[Part]

    @classmethod
    def of(cls, job: Job) -> "_Written":
        """Write all shards of a job."""
        train: list[Part] = []
        holdout: list[Part] = []
        with progress.bar("generate", " rows", total=job.source.rows) as bar:
            for shard in _shards(job):
                for part, parts in ((shard.train, train), (shard.holdout, holdout)):
                    if part:
                        files.sync(part.path)  # here, while threads write the next shards
                        parts.append(part)
                        bar.update(part.rows)
        job.source.check_unchanged()
        return cls(train, holdout)

    @property
    def held_out(self) -> int:
        """The number of rows held out."""
        return sum(part.rows for part in self.holdout)

    @property
    def rows(self) -> int:
        """The number of all rows."""
        return sum(part.rows for part in self.train) + self.held_out


def _shards(job: Job) -> Iterator[Shard]:
    """Write the shards in order, several at a time if they can be read by themselves."""
    tasks = shards.tasks(job)
    if not tasks:
        yield from shards.stream(job)
        return
    with executors.mapping(len(tasks), DATA) as each:
        yield from each(shards.write, tasks)


def _check_rows(written: _Written, settings: Generate) -> None:
    """Raise TableError or ParamsError if no line can be fitted to the training rows."""
    rows, table = written.rows, settings.table
    if rows < MIN_ROWS:
        raise TableError(f"{table} must have {MIN_ROWS} rows or more (got {rows})")
    low, high = _ends([*written.train, *written.holdout])
    if low == high and table is not None:
        raise TableError(
            f"{table} column {settings.columns.x} must hold two different values or more"
            f" (got {low} only)"
        )
    if rows - holdout_rows(rows, settings.holdout) < MIN_ROWS:
        raise ParamsError(
            f"generate.holdout must leave {MIN_ROWS} rows of {rows} to train on"
            f" (got {settings.holdout})"
        )
    low, high = _ends(written.train)
    if low == high:
        raise ParamsError(
            "generate.holdout must leave two different x to train on"
            f" (got {settings.holdout}, which leaves x = {low} only)"
        )


def _ends(parts: list[Part]) -> tuple[float, float]:
    return min(part.low for part in parts), max(part.high for part in parts)


def _summary(written: _Written) -> Summary:
    """Return the summary of all rows. Raises: ParamsError if their squares are not finite."""
    train = _compressed(written.train)
    holdout = _compressed(written.holdout) if written.held_out else None
    if not (train.finite and train.moments.uu > 0 and (holdout is None or holdout.finite)):
        raise ParamsError(
            f"{TRAIN}/ must have squares within float64, neither too large nor too small:"
            " rescale it (got one that is not)"
        )
    numbers, *columns = np.concatenate([part.sample for part in written.train], axis=1)
    chosen = numbers % summary.stride(train.rows) == 0
    return Summary(train, holdout, np.array(columns)[:, chosen])


def _compressed(parts: list[Part]) -> Compressed:
    return moments.join((part.pivot, part.chunks) for part in parts if part.pivot)
