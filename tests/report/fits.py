"""A fit as `report` is given it, made without any file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.history import History
from knownline.core.kinds import Linear, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.evaluate.gate import Convergence, judge
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import assess
from knownline.params import Params
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]
TRUTH = {"w": 20.0, "b": 5.0}
PARAMS = Params.parse((ROOT / "params.yaml").read_text())
LINE = PARAMS.kind


def own_table(x: str = "x", y: str = "y", table: str = "data/own/t.csv") -> Params:
    """Return the shipped parameters for a user's table."""
    whole: dict[str, Any] = PARAMS.model_dump()
    whole["truth"] = None
    whole["generate"] |= {"table": table, "columns": {"x": x, "y": y}}
    return Params.model_validate(whole)


def drawn(model: str, truth: Parameters, columns: Sequence[str] = ("x",)) -> Params:
    """Return the shipped parameters for another model with a known truth."""
    whole: dict[str, Any] = PARAMS.model_dump()
    whole |= {"model": model, "truth": truth}
    whole["generate"]["columns"]["x"] = list(columns)
    return Params.model_validate(whole)


def plane(count: int) -> Params:
    """Return the shipped parameters for a plane over so many inputs x1, x2, ...."""
    names = [f"x{number}" for number in range(1, count + 1)]
    truth = {f"w_{name}": number + 0.5 for number, name in enumerate(names)}
    return drawn("plane", {**truth, "b": 5.0}, names)


def compressed(kind: Linear, inputs: Sequence[Array], y: Array) -> LeastSquares:
    """Return a model and the rows it is fitted to."""
    return LeastSquares(kind, compress([(kind.columns(inputs), y)]))


def results(
    params: Params = PARAMS,
    *,
    noise: float = 1.5,
    epochs: int = 100,
    factor: float = 0.5,
) -> Results:
    """Return a fit whose distance from least squares is multiplied by `factor` at every epoch.

    y is drawn around the parameters' truth, or, if there is none, around the shipped line.
    """
    kind, truth, random = params.kind, params.true_parameters, np.random.default_rng(1)
    inputs = [np.linspace(1.0, 99.0, 79)]
    spread = noise * random.standard_normal(79)
    inputs += [random.uniform(1.0, 99.0, 79) for _ in kind.inputs[1:]]
    y = kind.at(truth or TRUTH, inputs) + spread
    data = compressed(kind, inputs, y)
    ols = np.array(list(data.solution.values()))
    covered = 1 - factor ** np.arange(0.0, epochs + 1)
    values = np.outer(ols, covered)
    loss = np.array(
        [
            data.mean_squared_error(dict(zip(kind.names, each, strict=True)))
            for each in values[:, :-1].T.tolist()
        ]
    )
    history = History(kind.names, loss, values[:, 1:])
    convergence = Convergence.of(history, data)
    found = assess(
        history.parameters(), train=data, holdout=None, truth=truth, last_loss=float(loss[-1])
    )
    gate = judge(found, params.evaluate, params.train, convergence)
    return Results(found, gate, convergence, data, inputs, y, history, data_sha256="d" * 64)
