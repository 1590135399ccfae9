"""Reads a fit from disk, assesses and judges it, for `evaluate` to write and `report` to draw."""

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core import history
from knownline.core.layout import DATA, HISTORY, HOLDOUT, LINE, MODELS, TRAIN
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.evaluate import gate, statistics
from knownline.evaluate.gate import Convergence, Gate
from knownline.evaluate.statistics import Evaluation
from knownline.identity import provenance
from knownline.identity.provenance import Identity
from knownline.params import Params
from knownline.scan import dataset
from samerun.core import files

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Results:
    """A fit and everything known about it.

    rows: all training rows. x, y: a sample of them, (shown,) each. loss, w, b: by epoch,
    (epochs,) each. identity: the inputs of the data and of the fit.
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
    identity: Identity

    @classmethod
    def read(cls, params: Params) -> "Results":
        """Read data/ and models/, which must be made with these parameters and the current code.

        Raises: DamagedError or MissingError, with what to do, if they were not.
        """
        train, holdout = dataset.summarize(TRAIN), dataset.summarize(HOLDOUT)
        assert train is not None  # `generate` leaves MIN_ROWS or more
        rows, (x, y) = train.rows, train.sample
        files.check_sums(MODELS)
        identity = provenance.identity(params, provenance.data_sha256())
        files.check_made_with(DATA, provenance.stage_inputs("generate", params))
        inputs = provenance.stage_inputs("train", params, data_sha256=identity.data)
        files.check_made_with(MODELS, inputs)
        line = Line.from_json(LINE.read_text())
        loss, w, b = history.read(HISTORY)
        evaluation = statistics.assess(
            line,
            train=rows,
            holdout=holdout.rows if holdout else None,
            truth=Line(params.truth.w, params.truth.b) if params.truth else None,
            last_loss=float(loss[-1]),
        )
        convergence = Convergence.of(loss, w, b, rows=rows)
        verdict = gate.judge(
            evaluation, params.evaluate, params.train, convergence, table=params.generate.table
        )
        return cls(evaluation, verdict, convergence, rows, x, y, loss, w, b, identity)

    @property
    def metrics(self) -> str:
        """The text of reports/metrics.json."""
        metrics = gate.as_metrics(self.evaluation, self.gate)
        return json.dumps(metrics, indent=2, allow_nan=False) + "\n"
