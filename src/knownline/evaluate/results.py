"""Reads a fit from disk, assesses and judges it, for `evaluate` to write and `report` to draw."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, history
from knownline.core.layout import DATA, HISTORY, LINE, SUMMARY
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.core.summary import Summary
from knownline.evaluate import gate, statistics
from knownline.evaluate.gate import Convergence, Gate
from knownline.evaluate.statistics import Evaluation
from knownline.params import Params
from samerun.core.errors import DamagedError, MissingError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Results:
    """A fit and everything known about it.

    rows: all training rows. x, y: a sample of them, (shown,) each. loss, w, b: by epoch,
    (epochs,) each. data_sha256: the SHA-256 of data/SHA256SUMS.
    """

    evaluation: Evaluation
    gate: Gate
    convergence: Convergence
    rows: Compressed
    x: Array
    y: Array
    loss: Array
    w: Array
    b: Array
    data_sha256: str

    @classmethod
    def read(cls, params: Params) -> "Results":
        """Read the summary of the data, the line and the history, and judge the fit.

        Raises: DamagedError or MissingError with the name of a file that cannot be used.
        """
        data = Summary.read(SUMMARY)
        rows, (x, y) = data.train, data.sample
        line = _read_line()
        loss, w, b = history.read(HISTORY)
        evaluation = statistics.assess(
            line,
            train=rows,
            holdout=data.holdout,
            truth=Line(params.truth.w, params.truth.b) if params.truth else None,
            last_loss=float(loss[-1]),
        )
        convergence = Convergence.of(loss, w, b, rows=rows)
        verdict = gate.judge(
            evaluation, params.evaluate, params.train, convergence, table=params.generate.table
        )
        return cls(evaluation, verdict, convergence, rows, x, y, loss, w, b, checksums.digest(DATA))


def _read_line() -> Line:
    """Return the line that `train` wrote. Raises: MissingError or DamagedError if there is none."""
    try:
        return Line.from_json(LINE.read_text())
    except FileNotFoundError:
        raise MissingError(f"{LINE} must be there: run `dvc repro` (got no file)") from None
    except (ValueError, OSError) as error:
        raise DamagedError(
            f"{LINE} must be what `train` wrote: run `dvc repro --force` (got: {error})"
        ) from error
