"""The fit on disk, assessed and judged: what `evaluate` writes down and `report` draws."""

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
    """Everything that is known of a fit.

    rows: all rows of the training. x, y: a sample of them, (shown,) each. loss, w, b: by epoch,
    (epochs,) each. identity: what the data and the fit were made from.
    """

    found: Evaluation
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
        """Read data/ and models/, which must be of these parameters and of the code of now.

        Raises: DamagedError and MissingError with what to do where they are not.
        """
        known, held = dataset.known(TRAIN), dataset.known(HOLDOUT)
        assert known is not None  # a rule of generate
        rows, (x, y) = known.rows, known.sample
        files.check_sums(MODELS)
        identity = provenance.identity(params, provenance.data_sha256())
        files.check_made_with(DATA, provenance.stage_inputs("generate", params))
        trained = provenance.stage_inputs("train", params, data_sha256=identity.data)
        files.check_made_with(MODELS, trained)
        line = Line.from_json(LINE.read_text())
        loss, w, b = history.read(HISTORY)
        found = statistics.assess(
            line,
            train=rows,
            holdout=held.rows if held else None,
            truth=Line(params.truth.w, params.truth.b) if params.truth else None,
            last_loss=float(loss[-1]),
        )
        convergence = Convergence.of(loss, w, b, rows=rows)
        verdict = gate.judge(
            found, params.evaluate, params.train, convergence, table=params.generate.table
        )
        return cls(found, verdict, convergence, rows, x, y, loss, w, b, identity)

    @property
    def metrics(self) -> str:
        """The text of reports/metrics.json."""
        nested = gate.as_metrics(self.found, self.gate)
        return json.dumps(nested, indent=2, allow_nan=False) + "\n"
