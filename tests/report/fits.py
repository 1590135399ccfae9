"""A fit as `report` is given it, made without any file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from knownline.core.curve_fit import CurveFit
from knownline.core.fits import Fit, NetworkFit
from knownline.core.history import History
from knownline.core.kinds import Linear, Network, Nonlinear, Parameters
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.core.network import Predictor
from knownline.evaluate.gate import Convergence, judge
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import assess
from knownline.params import Params
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]
TRUTH = {"w": 20.0, "b": 5.0}
PARAMS = Params.parse((ROOT / "params.yaml").read_text())
ROWS = 79


def own_table(
    x: str | Sequence[str] = "x",
    y: str = "y",
    table: str = "data/own/t.csv",
    model: str = "line",
    **train: Any,
) -> Params:
    """Return the shipped parameters for a user's table. train: changes to that section."""
    whole: dict[str, Any] = PARAMS.model_dump()
    whole |= {"model": model, "truth": None}
    whole["generate"] |= {"table": table, "columns": {"x": x, "y": y}}
    whole["train"] |= train
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


def linear(params: Params) -> Linear:
    """Return the model of parameters that name a linear one."""
    assert isinstance(params.kind, Linear)
    return params.kind


def compressed(kind: Linear, inputs: Sequence[Array], y: Array) -> LeastSquares:
    """Return a model and the rows it is fitted to."""
    return LeastSquares(kind, compress([(kind.columns(inputs), y)]))


def curve(kind: Nonlinear, inputs: Sequence[Array], y: Array) -> CurveFit:
    """Return a model that is not linear and the rows it is fitted to."""
    rows = compressed(kind.summarised, inputs, y).rows
    return CurveFit(kind, rows, inputs, y, start=kind.starting(inputs, y))


def network(kind: Network, inputs: Sequence[Array], y: Array, predictor: Predictor) -> NetworkFit:
    """Return a network and rows."""
    return NetworkFit(kind, compressed(kind.summarised, inputs, y).rows, inputs, y, predictor)


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
    assert not isinstance(kind, Network)
    inputs = [np.linspace(1.0, 99.0, ROWS)]
    spread = noise * random.standard_normal(ROWS)
    inputs += [random.uniform(1.0, 99.0, ROWS) for _ in kind.inputs[1:]]
    y = kind.at(truth or TRUTH, inputs) + spread
    data: Fit = compressed(kind, inputs, y) if isinstance(kind, Linear) else curve(kind, inputs, y)
    start, ols = (np.array(list(each.values())) for each in (data.start, data.solution))
    covered = 1 - factor ** np.arange(0.0, epochs + 1)
    values = start[:, None] + np.outer(ols - start, covered)
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


def network_results(
    params: Params, predictor: Predictor, *, held_out: int = 20, epochs: int = 30, noise: float = 1
) -> Results:
    """Return a trained network that gives what `predictor` does; y is that with noise."""
    kind, random = params.kind, np.random.default_rng(1)
    assert isinstance(kind, Network)
    inputs = [random.uniform(1.0, 9.0, ROWS + held_out) for _ in kind.inputs]
    y = predictor(inputs) + noise * random.standard_normal(ROWS + held_out)
    train, rest = (
        network(kind, [column[rows] for column in inputs], y[rows], predictor)
        for rows in (slice(ROWS), slice(ROWS, None) if held_out else slice(ROWS))
    )
    loss: Array = train.rows.var_y * 0.5 ** np.arange(float(epochs)) + noise**2
    history = History((), loss, np.empty((0, epochs)))
    found = assess(
        {},
        train=train,
        holdout=rest if held_out else None,
        truth=None,
        last_loss=float(loss[-1]),
    )
    rules, convergence = params.evaluate, Convergence.of(history, train)
    gate = judge(found, rules, params.train, convergence, table=params.generate.table)
    shown = [column[:ROWS] for column in inputs]
    return Results(found, gate, convergence, train, shown, y[:ROWS], history, data_sha256="d" * 64)
