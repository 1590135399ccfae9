"""Gradient descent of models with any number of parameters, against the same loop in numpy."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.__main__ import main
from knownline.core.errors import DivergedError
from knownline.core.history import History
from knownline.core.layout import HISTORY, MODEL, SUMMARY
from knownline.core.least_squares import LeastSquares, Scaling
from knownline.core.model_file import Fitted
from knownline.core.moments import compress
from knownline.core.summary import Summary
from knownline.params import Params
from knownline.train import checkpoints, descent, fitting, live
from knownline.train.descent import ResumePoint, Step, stable_learning_rate
from tests.models import KINDS, design, drawn, least_squares, write_params
from tests.train.test_descent import bits, fitted

Array = npt.NDArray[np.float64]

every_model = pytest.mark.parametrize("name", KINDS)
either_scale = pytest.mark.parametrize("standardize", [True, False], ids=["standardised", "raw"])


def columns_of(name: str, inputs: list[Array], *, standardize: bool) -> Array:
    """Return the matrix that the loop descends on, (rows, parameters), by numpy's QR."""
    matrix = design(name, inputs)
    kind, _ = KINDS[name]
    if not standardize:
        return matrix
    varying = [kind.names.index(each) for each in kind.varying]
    terms = matrix[:, varying]
    if kind.constant:
        terms = terms - terms.mean(axis=0)
    orthogonal, triangle = np.linalg.qr(terms)
    matrix = np.ones_like(matrix)  # among scaled columns the constant one is 1
    matrix[:, varying] = orthogonal * np.sign(np.diag(triangle)) * np.sqrt(len(terms))
    return matrix


def bound(matrix: Array) -> float:
    """Return 2 / λmax of the Hessian of the mean squared error, by numpy."""
    return 2 / float(np.linalg.eigvalsh(2 * matrix.T @ matrix / len(matrix))[-1])


def descended(matrix: Array, terms: Array, y: Array, *, epochs: int, rate: float) -> Array:
    """Return loss and parameters for the terms by epoch, (1 + parameters, epochs), by numpy."""
    in_terms = np.linalg.lstsq(terms, matrix, rcond=None)[0]
    raw, steps = np.zeros(matrix.shape[1]), []
    for _ in range(epochs):
        residual = matrix @ raw - y
        loss = np.mean(residual**2)
        raw = raw - rate * 2 * matrix.T @ residual / len(y)
        steps.append([loss, *in_terms @ raw])
    return np.array(steps).T


def assert_alike(found: History, expected: Array, rel: float = 1e-9) -> None:
    """Assert that histories agree, relative to the largest value of each parameter."""
    for one, other in zip((found.loss, *found.values), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rel, atol=rel * np.abs(other).max())


# The steps


@either_scale
@every_model
@pytest.mark.parametrize("seed", range(3))
def test_every_epoch_is_that_of_plain_numpy_by_points_and_by_rows(
    name: str, standardize: bool, seed: int
) -> None:
    kind, inputs, y = drawn(name, seed)
    terms = kind.columns(inputs)
    data = LeastSquares(kind, compress([(terms, y)]))
    scaling = data.scaling if standardize else Scaling(kind)
    matrix = columns_of(name, inputs, standardize=standardize)
    rate = [0.05, 0.3, 0.9][seed] * bound(matrix)
    expected = descended(matrix, design(name, inputs), y, epochs=50, rate=rate)
    how: dict[str, Any] = {"epochs": 50, "rate": rate, "kind": kind, "scaling": scaling}
    columns, points = data.points(standardize=standardize)
    assert len(points) == len(kind.names) + 1
    assert_alike(fitted(columns, points, **how), expected)
    for halving in (True, False):
        rows = fitted(scaling.columns(terms), y, halving=halving, **how)
        assert_alike(rows, expected)
        assert rows.names == kind.names


@every_model
def test_a_finished_fit_is_least_squares_of_any_model(name: str) -> None:
    kind, inputs, y = drawn(name, 5)
    data = LeastSquares(kind, compress([(kind.columns(inputs), y)]))
    points = data.points(standardize=True)
    found = fitted(*points, epochs=300, rate=0.25, kind=kind, scaling=data.scaling).parameters()
    expected = least_squares(design(name, inputs), y)
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-10)


@either_scale
@every_model
def test_float32_follows_numpys_float64_to_within_its_rounding(
    name: str, standardize: bool
) -> None:
    kind, inputs, y = drawn(name, 6)
    data = LeastSquares(kind, compress([(kind.columns(inputs), y)]))
    scaling = data.scaling if standardize else Scaling(kind)
    matrix = columns_of(name, inputs, standardize=standardize)
    rate = 0.3 * bound(matrix)
    expected = descended(matrix, design(name, inputs), y, epochs=30, rate=rate)
    found = fitted(
        *data.points(standardize=standardize), epochs=30, rate=rate, kind=kind, scaling=scaling,
        dtype="float32",
    )  # fmt: skip
    assert_alike(found, expected, rel=2e-5)
    assert np.all(found.loss == found.loss.astype(np.float32))
    if not standardize:
        assert np.all(found.values == found.values.astype(np.float32))


@either_scale
@every_model
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_resumed_training_has_the_bits_of_one_without_a_break(
    name: str, standardize: bool, dtype: str
) -> None:
    kind, inputs, y = drawn(name, 7)
    data = LeastSquares(kind, compress([(kind.columns(inputs), y)]))
    points = data.points(standardize=standardize)
    rate = 0.5 * bound(columns_of(name, inputs, standardize=standardize))
    scaling = data.scaling if standardize else Scaling(kind)
    how: dict[str, Any] = {"rate": rate, "dtype": dtype, "kind": kind, "scaling": scaling}
    kept: list[ResumePoint] = []

    def keep(step: Step) -> None:
        kept.append(step.resume_point)

    whole = bits(fitted(*points, epochs=12, watch=keep, **how))
    for start in kept:
        assert bits(fitted(*points, epochs=12, start=start, **how)) == whole


# Divergence


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=20),
    st.sampled_from([0.0, 1.0, 2.0, -1e3]),
)
def test_the_bound_is_that_of_eigvalsh_for_any_columns(
    rows: list[list[float]], level: float
) -> None:
    matrix = np.column_stack([rows, np.full(len(rows), level)])
    largest = float(np.linalg.eigvalsh(2 * matrix.T @ matrix / len(matrix))[-1])
    if largest > 1e-9:
        found = stable_learning_rate(list(matrix[:, :-1].T), level)
        assert found == pytest.approx(2 / largest, rel=1e-9)


@either_scale
@every_model
def test_below_the_bound_the_loss_shrinks_and_above_it_the_error_names_the_bound(
    name: str, standardize: bool
) -> None:
    kind, inputs, y = drawn(name, 8)
    data = LeastSquares(kind, compress([(kind.columns(inputs), y)]))
    points = data.points(standardize=standardize)
    limit = bound(columns_of(name, inputs, standardize=standardize))
    how: dict[str, Any] = {"kind": kind, "scaling": data.scaling if standardize else None}
    history = fitted(*points, epochs=300, rate=0.99 * limit, **how)
    assert history.loss.max() == history.loss[0] > history.loss[-1]
    with pytest.raises(DivergedError) as raised:
        fitted(*points, epochs=9000, rate=1.1 * limit, **how)
    named = re.search(r"train\.learning_rate must be less than (\S+) ", str(raised.value))
    assert named
    assert float(named[1]) == pytest.approx(limit, rel=1e-5)


# The stage


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., History]:
    """Return what draws data and trains a model in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(checkpoints.VARIABLE, raising=False)
    monkeypatch.delenv(live.VARIABLE, raising=False)
    Path("dvc.yaml").write_text("stages: {}\n")

    def run(model: str, **settings: Any) -> History:
        params = write_params(model, train=settings)
        assert main(["generate"]) == 0
        assert main(["train"]) == 0
        return History.read(HISTORY, params.kind.names)

    return run


shipped = pytest.mark.parametrize("model", ["line", "quadratic", "plane"])


@shipped
@either_scale
def test_row_by_row_it_takes_the_path_of_the_points(
    model: str, standardize: bool, train: Callable[..., History]
) -> None:
    rate = 0.25 if standardize else 2e-4 if model == "quadratic" else 5e-3
    how = {"standardize": standardize, "learning_rate": rate}
    points = train(model, compress=True, **how)
    rows = train(model, compress=False, **how)
    assert_alike(rows, np.vstack([points.loss, points.values]))
    assert Fitted.read(MODEL).parameters == rows.parameters()


@shipped
def test_a_checkpoint_holds_every_parameter(
    model: str, train: Callable[..., History], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bits(train(model))
    monkeypatch.setenv(checkpoints.VARIABLE, "scratch")
    params = Params.read()
    summary = Summary.of(params.kind, SUMMARY)
    seen: list[int] = []

    def add(_: live.Live, epoch: int, *__: object) -> None:
        seen.append(epoch)
        if epoch == 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(live.Live, "add", add)
        with pytest.raises(KeyboardInterrupt):
            fitting.fit(params, summary)
    kept = checkpoints.Checkpoints(fitting.inputs_digest(params)).load()
    assert kept
    assert len(kept.state["raw"]) == len(params.kind.names)
    assert kept.history.shape == (1 + len(params.kind.names), 41)
    seen.clear()
    with monkeypatch.context() as patched:
        patched.setattr(live.Live, "add", lambda _, epoch, *__: seen.append(epoch))
        fitting.fit(params, summary)
    assert seen == list(range(41, 100))
    assert bits(History.read(HISTORY, params.kind.names)) == whole


def test_a_checkpoint_belongs_to_one_model(train: Callable[..., History]) -> None:
    train("line")
    digests = [fitting.inputs_digest(write_params(model)) for model in ("line", "quadratic")]
    assert digests[0] != digests[1]
    assert fitting.inputs_digest(write_params("line")) == digests[0]


@shipped
def test_live_lines_and_the_model_file_name_every_parameter(
    model: str, train: Callable[..., History], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(live.VARIABLE, "live.jsonl")
    history = train(model)
    names = KINDS[model][0].names
    _, *lines = [json.loads(each) for each in Path("live.jsonl").read_text().splitlines()]
    assert {tuple(each) for each in lines} == {("step", "loss", *names)}
    last = [99, history.loss[-1], *history.values[:, -1]]
    assert list(lines[-1].values()) == last
    parameters = Fitted.read(MODEL).parameters
    assert list(parameters.items()) == list(zip(names, history.values[:, -1], strict=True))
    said = capsys.readouterr().out
    assert ", ".join(f"{name} = {value!r}" for name, value in parameters.items()) in said


@shipped
def test_more_points_than_three_are_added_in_an_order_of_ours(
    model: str, train: Callable[..., History], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch adds three numbers alike on every device, and no more."""
    orders: list[tuple[int, bool]] = []
    fit = descent.fit

    def noted(columns: Any, y: Any, **options: Any) -> History:
        orders.append((len(y), options["halving"]))
        return fit(columns, y, **options)

    monkeypatch.setattr(descent, "fit", noted)
    train(model)
    ((points, halving),) = orders
    assert halving == (points > 3)
