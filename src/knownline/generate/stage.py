"""The stage `generate`: writes drawn points, or a table in data/own/, to data/train/ and holdout/.

Knows nothing of how numbers are drawn, how a table is parsed, or where a shard is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, folders, moments, summary
from knownline.core.errors import ParamsError, TableError
from knownline.core.kinds import Network, Nonlinear
from knownline.core.layout import DATA, HOLDOUT, SUMMARY, TRAIN
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import Compressed
from knownline.core.summary import Summary
from knownline.generate import executors, shards
from knownline.generate.parts import Part
from knownline.generate.shards import Job, Shard
from knownline.generate.source import Source
from knownline.params import Params
from knownline.params.data import fewest_rows
from samerun.core import files, progress

Array = npt.NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)


def main() -> int:
    """Write the points that params.yaml describes, or nothing if a rule is broken."""
    params = Params.read()
    settings, source = params.generate, Source.of(params)
    with folders.replaced(HOLDOUT) as holdout, folders.replaced(TRAIN) as train:
        written = _Written.of(
            Job(source, settings.holdout, settings.seed, train.resolve(), holdout.resolve())
        )
        _check_rows(written, params)
        kept = _summary(written, params)
        SUMMARY.unlink(missing_ok=True)  # an old one must not be read with new files
    sums = {TRAIN / part.path.name: part.sha256 for part in written.train}
    sums |= {HOLDOUT / part.path.name: part.sha256 for part in written.holdout}
    checksums.write(DATA, sums)
    kept.write(SUMMARY)
    unused = source.table.unused() if source.table else []
    notes = f"; columns not used: {', '.join(unused)}" if unused else ""
    if source.table and source.table.lacks_final_newline():
        notes += "; the table's last line has no line break: is the file complete?"
    print(f"generate: {written.rows:,} rows, {written.held_out:,} of them held out{notes}")
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
    def all(self) -> list[Part]:
        """The files of training rows, then those of held-out ones."""
        return [*self.train, *self.holdout]

    @property
    def held_out(self) -> int:
        """The number of rows held out."""
        return sum(part.rows for part in self.holdout)

    @property
    def rows(self) -> int:
        """The number of all rows."""
        return sum(part.rows for part in self.train) + self.held_out


def _shards(job: Job) -> Iterator[Shard]:
    """Write the shards, several at a time if they can be read separately; yield them in order."""
    tasks = shards.tasks(job)
    if not tasks:
        yield from shards.stream(job)
        return
    with executors.mapping(len(tasks), DATA) as each:
        yield from each(shards.write, tasks)


def _check_rows(written: _Written, params: Params) -> None:
    """Raise TableError or ParamsError if the model cannot be fitted to the training rows."""
    settings, fewest = params.generate, fewest_rows(params.kind)
    rows, table = written.rows, settings.table
    if rows < fewest:
        raise TableError(f"{table} must have {fewest} rows or more (got {rows})")
    if table is not None:
        for name, low, high in zip(settings.columns.x, *_ranges(written.all), strict=True):
            if low == high:
                raise TableError(
                    f"{table} column {name} must hold two different values or more (got {low} only)"
                )
    if rows - written.held_out < fewest:
        raise ParamsError(
            f"generate.holdout must leave {fewest} rows of {rows} to train on"
            f" (got {settings.holdout})"
        )
    for name, low, high in zip(params.kind.inputs, *_ranges(written.train), strict=True):
        if low == high:
            raise ParamsError(
                f"generate.holdout must leave two different {name} to train on"
                f" (got {settings.holdout}, which leaves {name} = {low} only)"
            )


def _ranges(parts: list[Part]) -> tuple[list[float], list[float]]:
    low = np.min([part.low for part in parts], axis=0)
    return low.tolist(), np.max([part.high for part in parts], axis=0).tolist()


def _summary(written: _Written, params: Params) -> Summary:
    """Return the summary of all rows.

    Raises: ParamsError if their squares are not finite, or terms are collinear.
    """
    train = _compressed(written.train)
    holdout = _compressed(written.holdout) if written.held_out else None
    kind = params.kind.summarised
    fitted = LeastSquares(kind, train)
    for name, total in zip(kind.varying, fitted.factor.totals, strict=True):
        if np.isnan(total):
            rule = "model must have terms that are finite numbers for every row"
            raise ParamsError(f"{rule} (got {name}, which is not)")
    numbers, *columns = np.concatenate([part.sample for part in written.train], axis=1)
    usable = train.finite and all(map(_is_precise, fitted.factor.totals))
    usable = usable and _y_is_resolved(train, params, columns[-1])
    if not usable or (holdout and not holdout.finite):
        raise ParamsError(
            f"{TRAIN}/ must have squares within float64, neither too large nor too small:"
            " rescale it (got one that is outside)"
        )
    if fitted.collinear and not isinstance(params.kind, Nonlinear):
        grids = {spacing.spacing for spacing in params.generate.spacings} == {"grid"}
        if params.generate.table is None and len(params.kind.inputs) > 1 and grids:
            raise ParamsError(
                "generate.x must have spacing uniform for all inputs but one, because inputs on"
                " grids are collinear (got grid for each)"
            )
        if isinstance(params.kind, Network):
            raise ParamsError(
                "generate.columns.x must name columns that are not collinear: the network is"
                " compared with the linear model of them (got"
                f" {_column(params, fitted.collinear)}, which is collinear with those before it)"
            )
        raise ParamsError(
            f"model must have terms that are not collinear in {TRAIN}/ (got"
            f" {fitted.collinear}, which is collinear with the terms before it)"
        )
    chosen = numbers % summary.stride(train.rows) == 0
    return Summary(params.kind.inputs, train, holdout, np.array(columns)[:, chosen])


def _column(params: Params, name: str) -> str:
    """Return the name of an input in the table."""
    return params.generate.columns.x[params.kind.inputs.index(name)]


def _y_is_resolved(rows: Compressed, params: Params, sample: Array) -> bool:
    """Return whether an error in the last digit of y has a square within float64.

    Otherwise every fit would look perfect. sample: y of some rows, (points,).
    """
    centred = params.kind.summarised.constant is not None
    spread = np.ptp(sample) if centred else np.max(np.abs(sample))
    if spread == 0 and rows.mean_r == 0:
        return True
    mean_square = rows.var_y + (0.0 if centred else rows.mean_y * rows.mean_y)
    return _is_precise(rows.rows * mean_square * _EPS)


def _is_precise(squares: float) -> bool:
    """Return whether a sum of squares has all its digits; near the smallest float64 it has not."""
    return bool(squares * _EPS >= np.finfo(np.float64).tiny)


def _compressed(parts: list[Part]) -> Compressed:
    good = next((part.pivot for part in parts if part.pivot), None)
    return moments.join((each for part in parts for each in part.moments), good)
