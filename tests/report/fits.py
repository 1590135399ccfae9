"""A fit as `report` is given it, made without any file."""

from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.evaluate.gate import Convergence, judge
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import assess
from knownline.params import Params
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]
TRUTH = Line(20.0, 5.0)
PARAMS = Params.parse((ROOT / "params.yaml").read_text())


def own_table(x: str = "x", y: str = "y", table: str = "data/own/t.csv") -> Params:
    """Return the shipped parameters for a user's table."""
    whole: dict[str, Any] = PARAMS.model_dump()
    whole["truth"] = None
    whole["generate"] |= {"table": table, "columns": {"x": x, "y": y}}
    return Params.model_validate(whole)


def results(
    params: Params = PARAMS,
    *,
    truth: Line | None = TRUTH,
    noise: float = 1.5,
    epochs: int = 100,
    factor: float = 0.5,
) -> Results:
    """Return a fit whose distance from least squares is multiplied by `factor` at every epoch."""
    x = np.linspace(1.0, 99.0, 79)
    y = TRUTH.at(x) + noise * np.random.default_rng(1).standard_normal(79)
    rows = compress([(x, y)])
    ols = rows.least_squares()
    covered = 1 - factor ** np.arange(0.0, epochs + 1)
    loss = np.array([rows.mean_squared_error(Line(ols.w * c, ols.b * c)) for c in covered[:-1]])
    w, b = ols.w * covered[1:], ols.b * covered[1:]
    line = Line(float(w[-1]), float(b[-1]))
    convergence = Convergence.of(loss, w, b, rows=rows)
    found = assess(line, train=rows, holdout=None, truth=truth, last_loss=float(loss[-1]))
    gate = judge(found, params.evaluate, params.train, convergence)
    return Results(found, gate, convergence, rows, x, y, loss, w, b, data_sha256="d" * 64)
