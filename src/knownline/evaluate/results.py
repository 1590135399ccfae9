"""Reads a fit from disk and judges it. `evaluate` writes the results, and `report` draws them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, fits
from knownline.core.fits import Fit
from knownline.core.history import History
from knownline.core.kinds import Network
from knownline.core.layout import DATA, HISTORY, MODEL, SUMMARY
from knownline.core.model_file import Fitted
from knownline.core.summary import Summary
from knownline.evaluate import gate, residuals, statistics
from knownline.evaluate.gate import Convergence, Gate
from knownline.evaluate.statistics import Evaluation
from knownline.params import Params
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Results:
    """A fit and everything known about it.

    data: the model and all training rows. inputs, y: a sample of the rows, (shown,) each.
    data_sha256: the SHA-256 of data/SHA256SUMS.
    """

    evaluation: Evaluation
    gate: Gate
    convergence: Convergence
    data: Fit
    inputs: list[Array]
    y: Array
    history: History
    data_sha256: str

    @classmethod
    def read(cls, params: Params) -> "Results":
        """Read the summary of the data, the model and the history, and judge the fit.

        Raises: DamagedError or MissingError with the name of a file that cannot be used.
        """
        kind = params.kind
        summary = Summary.of(kind, SUMMARY)
        *inputs, y = summary.sample
        fitted = Fitted.read(MODEL)
        own = (fitted.model, fitted.inputs, tuple(fitted.parameters), bool(fitted.weights))
        if own != (params.model, kind.inputs, kind.names, isinstance(kind, Network)):
            raise DamagedError(
                f"{MODEL} holds the model {fitted.model}, not {params.model}: run `dvc repro`"
            )
        history = History.read(HISTORY, kind.names)
        data = fits.of_training_rows(kind, summary, fitted)
        evaluation = statistics.assess(
            fitted.parameters,
            train=data,
            holdout=fits.of_held_out_rows(kind, summary, fitted),
            truth=params.true_parameters,
            last_loss=float(history.loss[-1]),
        )
        convergence = Convergence.of(history, data)
        rules, checks = params.evaluate, []
        if rules.residual_levels:
            checks = residuals.examine(inputs, y, fitted.parameters, data).checks
        verdict = gate.judge(
            evaluation,
            rules,
            params.train,
            convergence,
            table=params.generate.table,
            checks=checks,
        )
        digest = checksums.digest(DATA)
        return cls(evaluation, verdict, convergence, data, inputs, y, history, digest)
