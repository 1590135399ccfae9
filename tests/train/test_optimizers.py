"""Optimizers against their steps written out in numpy; resumed from files, to the same bits."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
import torch

from knownline.core.errors import DivergedError, ParamsError
from knownline.core.history import History
from knownline.core.kinds import Nonlinear
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import compress
from knownline.model import EXPONENTIAL, LINE
from knownline.train import descent, optimizers, predictions
from knownline.train.checkpoints import NAME, VARIABLE, Checkpoint, Checkpoints
from knownline.train.descent import ResumePoint, Step
from tests.core.test_curve_fit import decay, derivatives, fit_of
from tests.models import least_squares

Array = npt.NDArray[np.float64]
Gradient = Callable[[Array], tuple[float, Array]]
"""Takes the parameters; returns the loss and its gradient."""

CPU = torch.device("cpu")

every_optimizer = pytest.mark.parametrize("optimizer", ["gd", "adam", "lbfgs"])
either_kind = pytest.mark.parametrize("name", ["line", "exponential"])


def rows(name: str, seed: int = 1, count: int = 40) -> tuple[Array, Array]:
    """Return x and y, (rows,), around the model."""
    random = np.random.default_rng(seed)
    x = random.uniform(0.0, 4.0, count)
    clean = 20 * x + 5 if name == "line" else decay(x, 5.0, 0.8, 1.0)
    return x, clean + 0.1 * random.standard_normal(count)


def fitted(name: str, x: Array, y: Array, **more: Any) -> History:
    """Fit in standardised units, as the stage does."""
    how: dict[str, Any] = {"epochs": 30, "learning_rate": 0.1, "dtype": "float64", "device": CPU}
    how |= more
    if name == "line":
        data = LeastSquares(LINE, compress([([x], y)]))
        columns, points = data.points(standardize=True)
        return descent.fit(columns, points, kind=LINE, scaling=data.scaling, **how)
    begin = EXPONENTIAL.starting([x], y)
    start = predictions.start_of(EXPONENTIAL, begin, [x], y, scaled=True)
    return descent.fit([x], y, kind=EXPONENTIAL, scaling=start, halving=True, **how)


# Steps


def loop(name: str, x: Array, y: Array) -> tuple[Gradient, Callable[[Array], Array]]:
    """Return the loss and gradient by the loop's parameters, and what they are in data's units.

    Both the loss and the parameters are in units of the standard deviation of y there.
    """
    unit = float(np.std(y))
    if name == "line":
        z = (x - x.mean()) / x.std()
        design = np.column_stack([z, np.ones_like(z)])
        unit = float(np.std(LeastSquares(LINE, compress([([x], y)])).points(standardize=True)[1]))

        def of_line(raw: Array) -> tuple[float, Array]:
            left = (design @ raw * unit - y) / unit
            return float(np.mean(left**2)), 2 * design.T @ left / len(y)

        return of_line, lambda raw: np.array(
            [raw[0] * unit / x.std(), raw[1] * unit - raw[0] * unit * x.mean() / x.std()]
        )
    begin = np.array(list(EXPONENTIAL.starting([x], y).values()))
    effects = np.sqrt(np.mean(derivatives(x, begin[0], begin[1]) ** 2, axis=0))

    def of_exponential(raw: Array) -> tuple[float, Array]:
        a, k, c = begin + raw * unit / effects
        left = (decay(x, a, k, c) - y) / unit
        return float(np.mean(left**2)), 2 * (derivatives(x, a, k) / effects).T @ left / len(y)

    return of_exponential, lambda raw: begin + raw * unit / effects


def descended(
    gradient: Gradient, count: int, rate: float, epochs: int
) -> list[tuple[float, Array]]:
    raw, steps = np.zeros(count), []
    for _ in range(epochs):
        loss, slope = gradient(raw)
        raw = raw - rate * slope
        steps.append((loss, raw))
    return steps


def by_adam(gradient: Gradient, count: int, rate: float, epochs: int) -> list[tuple[float, Array]]:
    """Adam as Kingma and Ba write it (2015), algorithm 1."""
    raw, steps = np.zeros(count), []
    m, v = np.zeros(count), np.zeros(count)
    for t in range(1, epochs + 1):
        loss, slope = gradient(raw)
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        raw = raw - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        steps.append((loss, raw))
    return steps


@either_kind
@pytest.mark.parametrize("optimizer", ["gd", "adam"])
@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_that_of_numpy(name: str, optimizer: str, seed: int) -> None:
    x, y = rows(name, seed)
    gradient, in_data_units = loop(name, x, y)
    unit = float(np.std(y)) if name == "exponential" else None
    steps = (by_adam if optimizer == "adam" else descended)(
        gradient, 2 if name == "line" else 3, 0.1, 30
    )
    found = fitted(name, x, y, optimizer=optimizer)
    expected = np.array([in_data_units(raw) for _, raw in steps])
    np.testing.assert_allclose(found.values.T, expected, rtol=1e-8, atol=1e-8)
    if unit is None:
        unit = float(np.std(LeastSquares(LINE, compress([([x], y)])).points(standardize=True)[1]))
    np.testing.assert_allclose(found.loss, [loss * unit**2 for loss, _ in steps], rtol=1e-8)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_lbfgs_reaches_the_closed_form_in_a_few_epochs(rate: float) -> None:
    x, y = rows("line")
    expected = least_squares(np.column_stack([x, np.ones_like(x)]), y)
    found = fitted("line", x, y, optimizer="lbfgs", learning_rate=rate, epochs=10).parameters()
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-9)
    x, y = rows("exponential")
    reference = fit_of(EXPONENTIAL, x, y)
    curve = fitted("exponential", x, y, optimizer="lbfgs", learning_rate=1.0, epochs=30)
    assert curve.parameters() == pytest.approx(reference.solution, rel=1e-8)
    assert curve.loss[-1] == pytest.approx(reference.mean_squared_error(reference.solution))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_y_does_not_matter(optimizer: str, scale: float) -> None:
    for name in ("line", "exponential"):
        x, y = rows(name)
        one = fitted(name, x, y, optimizer=optimizer, epochs=5)
        other = fitted(name, x, y * scale, optimizer=optimizer, epochs=5)
        np.testing.assert_allclose(other.loss, one.loss * scale**2, rtol=1e-6)


def test_gradient_descent_of_a_curve_arrives_too_only_later() -> None:
    x, y = rows("exponential")
    reference = fit_of(EXPONENTIAL, x, y)
    apart = [
        reference.distance(fitted("exponential", x, y, epochs=n, learning_rate=0.25).parameters())
        for n in (10, 100, 2000)
    ]
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 1e-4


# Resumed


@every_optimizer
@either_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_training_resumed_from_a_file_has_the_bits_of_one_without_a_break(
    optimizer: str, name: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    store, kept = Checkpoints("d" * 64), dict[int, bytes]()
    x, y = rows(name)

    def keep(step: Step) -> None:
        store.save(Checkpoint(*step.resume_point))
        kept[step.epoch] = (tmp_path / NAME).read_bytes()

    how: dict[str, Any] = {"optimizer": optimizer, "dtype": dtype, "epochs": 12}
    whole = fitted(name, x, y, watch=keep, **how)
    for epoch in (0, 1, 3, 6, 10):
        (tmp_path / NAME).write_bytes(kept[epoch])
        loaded = store.load()
        assert loaded
        assert loaded.epochs == epoch + 1
        resumed = fitted(name, x, y, start=ResumePoint(loaded.state, loaded.history), **how)
        assert resumed.loss.tobytes() == whole.loss.tobytes()
        assert resumed.values.tobytes() == whole.values.tobytes()
    # The file is numbers and JSON: no pickle in it.
    content = kept[6].partition(b"\n")[2]
    assert set(safetensors.numpy.load(content)) >= {"history", "state.raw", "state.structure"}
    json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for text in (kept[6], content):
        with pytest.raises(Exception, match=r"."):
            pickle.loads(text)


class Harmful:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.write_text, (Path("harmed"), "")


def test_a_pickle_in_place_of_a_checkpoint_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / NAME).write_bytes(pickle.dumps(Harmful()))
    assert Checkpoints("d" * 64).load() is None
    torch.save({"raw": Harmful()}, tmp_path / NAME)
    assert Checkpoints("d" * 64).load() is None
    assert not Path("harmed").exists()


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_state_of_another_optimizer_or_of_none_is_no_state(optimizer: str) -> None:
    parameters = [torch.zeros((), requires_grad=True)]
    chosen = optimizers.named(optimizer, parameters, 0.1)
    for state in ({}, {"structure": np.frombuffer(b"[]", dtype=np.uint8)},
                  {"structure": np.frombuffer(b'{"tensor": "gone"}', dtype=np.uint8)},
                  {"structure": np.frombuffer(b"\xff", dtype=np.uint8)}):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            optimizers.restore(chosen, state)


# What a user's own function may do wrong


def test_a_training_that_diverges_says_what_to_change() -> None:
    x, y = rows("exponential")
    with pytest.raises(DivergedError, match=r"^train\.learning_rate must be smaller .*got 50\)"):
        fitted("exponential", x, y, learning_rate=50.0, epochs=500)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, a: a * np.cbrt(x), "np.cbrt has no counterpart in torch"),
        (lambda x, a: a * np.stack([x, x])[0], "np.stack has no counterpart in torch"),
        (lambda x, a: np.where(x > a, 1.0, 0.0), "no gradient"),
        (lambda x, a: a * x[:, None] / 0 if x.ndim > 1 else a.item() * x, "no gradient"),
        (lambda x, a: a * x.nothing, "AttributeError"),
    ],
)
def test_a_function_that_torch_cannot_follow_is_refused_in_one_line(
    function: Callable[..., Any], words: str
) -> None:
    x = np.linspace(1.0, 2.0, 5)
    start = predictions.Start([1.0], [1.0])
    with pytest.raises(ParamsError, match=r"^model must have a function that torch can") as refused:
        descent.fit(
            [x], x, kind=Nonlinear(("x",), function, {"a": 1.0}), epochs=3, learning_rate=0.1,
            dtype="float64", device=CPU, scaling=start,
        )  # fmt: skip
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_start_where_y_is_not_finite_is_refused() -> None:
    x = np.linspace(1.0, 2.0, 5)
    model = Nonlinear(("x",), lambda x, a: np.log(a - x), {"a": 1.5})
    with pytest.raises(ParamsError, match=r"finite numbers where it starts \(got a = 1\.5\)$"):
        predictions.start_of(model, {"a": 1.5}, [x], x, scaled=True)
