"""Gradient descent against closed forms, and against the same loop written in numpy."""

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core.errors import DeviceError, DivergedError
from knownline.core.history import History
from knownline.core.kinds import Linear
from knownline.core.least_squares import Scaling
from knownline.model import LINE
from knownline.train.descent import (
    ResumePoint,
    Step,
    choose_device,
    fit,
    row_bytes,
    stable_learning_rate,
)
from samerun.core.errors import UserError
from tests.models import at, data_of, line, scaling_of

Array = npt.NDArray[np.float64]

CPU = torch.device("cpu")
TRUTH = line(20.0, 5.0)


def drawn(
    seed: int, *, rows: int = 60, low: float = 1.0, high: float = 99.0, noise: float = 1.5
) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    x = generator.uniform(low, high, rows)
    return x, at(TRUTH, x) + noise * generator.standard_normal(rows)


def standardised(seed: int, **more: Any) -> tuple[Array, Array]:
    x, y = drawn(seed, **more)
    return (x - x.mean()) / (x.std() or 1.0), y


def fitted(
    x: Array | list[Array],
    y: Array,
    *,
    epochs: int,
    rate: float,
    kind: Linear = LINE,
    dtype: str = "float64",
    **more: Any,
) -> History:
    """Fit a line, or another kind on its columns, on the CPU."""
    columns = x if isinstance(x, list) else [x]
    how: dict[str, Any] = {"epochs": epochs, "learning_rate": rate, "dtype": dtype}
    return fit(columns, y, kind=kind, device=CPU, **how, **more)


def descended(x: Array, y: Array, *, epochs: int, rate: float) -> Array:
    """Return loss, w and b by epoch, (3, epochs), by a gradient written out in numpy."""
    w = b = 0.0
    steps: list[tuple[float, float, float]] = []
    for _ in range(epochs):
        residual = w * x + b - y
        loss = float(np.mean(residual * residual))
        w, b = w - rate * 2 * float(np.mean(residual * x)), b - rate * 2 * float(np.mean(residual))
        steps.append((loss, w, b))
    return np.array(steps).T


def least_squares(x: Array, y: Array) -> tuple[float, float]:
    (w, b), *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    return float(w), float(b)


def bound(x: Array) -> float:
    """Return 2 / λmax of the Hessian of the mean squared error, by numpy."""
    design = np.column_stack([x, np.ones_like(x)])
    return 2 / float(np.linalg.eigvalsh(2 * design.T @ design / len(x))[-1])


def bits(history: History) -> bytes:
    return history.loss.tobytes() + history.values.tobytes()


# The steps


@pytest.mark.parametrize("rate", [2.0**-10, 1e-4, 0.01])
def test_one_step_goes_down_the_closed_form_gradient(rate: float) -> None:
    x, y = drawn(1)
    exact_x, exact_y = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
    rows = len(x)
    # At w = b = 0 the gradient of mean (w x + b - y)² is -2 mean(x y), -2 mean(y).
    mean_xy = sum((p * q for p, q in zip(exact_x, exact_y, strict=True)), start=Fraction(0)) / rows
    mean_y = sum(exact_y, start=Fraction(0)) / rows
    mean_yy = sum((q * q for q in exact_y), start=Fraction(0)) / rows
    history = fitted(x, y, epochs=1, rate=rate)
    assert history.loss[0] == pytest.approx(float(mean_yy), rel=1e-14)
    assert history.of("w")[0] == pytest.approx(float(2 * Fraction(rate) * mean_xy), rel=1e-14)
    assert history.of("b")[0] == pytest.approx(float(2 * Fraction(rate) * mean_y), rel=1e-14)


@pytest.mark.parametrize("seed", range(10))
def test_every_epoch_is_that_of_plain_numpy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    centre, share = generator.uniform(-5, 5), generator.uniform(0.01, 0.95)
    x, y = drawn(seed, low=centre - 2, high=centre + 2)
    epochs, rate = 1 + 4 * seed, share * bound(x)
    history = fitted(x, y, epochs=epochs, rate=rate)
    loss, w, b = descended(x, y, epochs=epochs, rate=rate)
    size = 1e-12 * float(np.abs(y).max())
    np.testing.assert_allclose(history.loss, loss, rtol=1e-10)
    np.testing.assert_allclose(history.of("w"), w, rtol=1e-10, atol=size)
    np.testing.assert_allclose(history.of("b"), b, rtol=1e-10, atol=size)
    assert history.parameters() == {"w": history.of("w")[-1], "b": history.of("b")[-1]}


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_three_points_follow_the_path_of_all_rows(seed: int, standardize: bool) -> None:
    generator = np.random.default_rng(seed)
    offset, noise = generator.uniform(-100, 100), 10 ** generator.uniform(-1, 2)
    rows = [3, 4, 7, 60, 200][seed % 5]
    x, y = drawn(seed, rows=rows, low=offset, high=offset + 98, noise=noise)
    whole = data_of(x, y)
    scaling = whole.scaling if standardize else Scaling(LINE)
    (scaled,) = scaling.columns([x])
    rate = generator.uniform(0.01, 0.95) * bound(scaled)
    points = whole.points(standardize=standardize)
    three = fitted(*points, epochs=40, rate=rate, scaling=scaling)
    every = fitted(scaled, y, epochs=40, rate=rate, scaling=scaling)
    # A residual carries the rounding of y, and the loss of three rows may be that rounding.
    rounding = 16 * np.finfo(np.float64).eps * np.abs(y).max()
    allowed = 1e-9 * every.loss + (2 * np.sqrt(every.loss) + rounding) * rounding
    assert (np.abs(three.loss - every.loss) <= allowed).all()
    # Where b crosses 0, its error is relative to the largest b of the path.
    for one, other in zip(three.values, every.values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize("seed", range(3))
def test_a_finished_fit_is_least_squares(seed: int) -> None:
    x, y = drawn(seed)
    whole = data_of(x, y)
    points = whole.points(standardize=True)
    found = fitted(*points, epochs=100, rate=0.25, scaling=whole.scaling).parameters()
    w, b = least_squares(x, y)
    assert found["w"] == pytest.approx(w, rel=1e-12)
    assert found["b"] == pytest.approx(b, abs=1e-11)


def test_at_a_quarter_each_epoch_halves_the_distance_to_the_optimum() -> None:
    x, y = standardised(4)
    w, b = least_squares(x, y)
    history = fitted(x, y, epochs=30, rate=0.25)
    covered = 1 - 0.5 ** np.arange(1, 31)
    np.testing.assert_allclose(history.of("w"), w * covered, rtol=1e-12)
    np.testing.assert_allclose(history.of("b"), b * covered, rtol=1e-12)


# The units of the data


def test_every_epoch_is_reported_in_the_units_of_the_data() -> None:
    x, y = drawn(8)
    plain = fitted((x - 50.0) / 28.0, y, epochs=5, rate=0.2)
    scaled = fitted((x - 50.0) / 28.0, y, epochs=5, rate=0.2, scaling=scaling_of(50.0, 28.0))
    assert scaled.loss.tolist() == plain.loss.tolist()
    (plain_w, plain_b), (w, b) = plain.values, scaled.values
    np.testing.assert_allclose(w, plain_w / 28.0, rtol=1e-15)
    np.testing.assert_allclose(b, plain_b - plain_w * 50.0 / 28.0, rtol=1e-13)


# The watcher


@pytest.mark.parametrize("epochs", [1, 17])
def test_the_watcher_sees_every_epoch_once_in_order(epochs: int) -> None:
    seen: list[tuple[float, ...]] = []
    history = fitted(
        *drawn(9),
        epochs=epochs,
        rate=1e-5,
        scaling=scaling_of(2.0, 3.0),
        watch=lambda step: seen.append((step.epoch, step.loss, *step.values)),
    )
    kept = zip(range(epochs), history.loss, *history.values, strict=True)
    assert seen == list(kept)


def test_the_watcher_is_called_while_the_fit_runs_and_can_stop_it() -> None:
    class EnoughError(Exception):
        pass

    seen: list[int] = []

    def stop(step: Step) -> None:
        seen.append(step.epoch)
        if step.epoch == 3:
            raise EnoughError

    with pytest.raises(EnoughError):
        fitted(*drawn(9), epochs=1000, rate=1e-5, watch=stop)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_neither_a_watcher_nor_earlier_work_changes_a_bit(dtype: str) -> None:
    x, y = drawn(9)
    before = x.tolist(), y.tolist()
    first = bits(fitted(x, y, epochs=20, rate=1e-5, dtype=dtype))
    torch.manual_seed(99)
    torch.rand(7)
    watched = fitted(x, y, epochs=20, rate=1e-5, dtype=dtype, watch=lambda _: None)
    assert bits(watched) == first
    assert (x.tolist(), y.tolist()) == before


# Interrupted and resumed


def checkpoints(x: Array, y: Array, **how: Any) -> list[ResumePoint]:
    """Return where the training stood after each epoch, as a checkpoint keeps it."""
    kept: list[ResumePoint] = []

    def keep(step: Step) -> None:
        kept.append(step.resume_point)

    fitted(x, y, watch=keep, **how)
    return kept


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scaling", [Scaling(LINE), scaling_of(49.7, 28.3)], ids=["raw", "scaled"])
def test_a_resumed_training_is_bit_identical_to_an_uninterrupted_one(
    dtype: str, scaling: Scaling
) -> None:
    x, y = drawn(20)
    (x,) = scaling.columns([x])
    how: dict[str, Any] = {"rate": 0.3 * bound(x), "dtype": dtype, "scaling": scaling}
    uninterrupted = bits(fitted(x, y, epochs=12, **how))
    for start in checkpoints(x, y, epochs=12, **how):
        assert bits(fitted(x, y, epochs=12, start=start, **how)) == uninterrupted


def test_a_resumed_training_keeps_earlier_epochs_and_reports_only_new_ones() -> None:
    x, y = drawn(20)
    start = checkpoints(x, y, epochs=12, rate=1e-5)[4]
    # Numbers that no fit computes: memory that is not written may hold those of an earlier fit.
    marked = np.arange(15.0).reshape(3, 5) - 1000.5
    seen: list[int] = []
    history = fitted(
        x, y, epochs=12, rate=1e-5, start=start._replace(history=marked),
        watch=lambda step: seen.append(step.epoch),
    )  # fmt: skip
    assert np.array_equal(np.vstack([history.loss, history.values])[:, :5], marked)
    assert seen == list(range(5, 12))


# Divergence

X = {
    "standardised": np.array([0.0, -math.sqrt(1.5), math.sqrt(1.5)]),
    "raw": np.arange(1.0, 100.0),
    "far": np.linspace(1e6, 1e6 + 98, 50),
    "small": np.linspace(-1e-3, 2e-3, 20),
    "large": np.linspace(-3e9, 1e9, 20),
    "uncentred": np.linspace(-1.0, 7.0, 33),
}


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_bound_is_that_of_eigvalsh_for_any_x(values: list[float]) -> None:
    x = np.array(values)
    assert stable_learning_rate([x], 1.0) == pytest.approx(bound(x), rel=1e-9)


@pytest.mark.parametrize("x", X.values(), ids=X)
def test_a_learning_rate_just_below_the_bound_does_not_diverge(x: Array) -> None:
    y = 3.0 * x - 2.0 + np.random.default_rng(0).standard_normal(len(x))
    history = fitted(x, y, epochs=500, rate=0.99 * bound(x))
    assert history.loss[-1] < history.loss[0]
    assert history.loss.max() == history.loss[0]


@pytest.mark.parametrize("x", X.values(), ids=X)
def test_a_learning_rate_above_the_bound_diverges_and_the_error_names_the_bound(x: Array) -> None:
    y = 3.0 * x - 2.0 + np.random.default_rng(0).standard_normal(len(x))
    rate = 1.1 * bound(x)
    seen: list[int] = []
    with pytest.raises(DivergedError) as raised:
        fitted(x, y, epochs=5000, rate=rate, watch=lambda step: seen.append(step.epoch))
    numbers = re.fullmatch(
        r"train\.learning_rate must be less than (\S+) .*\(got (\S+)\).* at epoch (\d+)",
        str(raised.value),
    )
    assert numbers
    assert float(numbers[1]) == pytest.approx(bound(x), rel=1e-5)
    assert float(numbers[2]) == pytest.approx(rate, rel=1e-5)
    assert seen == list(range(int(numbers[3])))


def test_the_epoch_of_divergence_is_the_first_without_a_finite_loss() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    with np.errstate(all="ignore"):
        loss, *_ = descended(x, y, epochs=400, rate=1.0)
    first = int(np.argmin(np.isfinite(loss)))
    assert first > 0
    with pytest.raises(DivergedError, match=rf"at epoch {first}$"):
        fitted(x, y, epochs=400, rate=1.0)


@pytest.mark.parametrize("scale", [1e19, 1e30])
def test_a_y_past_float32_is_not_blamed_on_a_learning_rate_below_the_bound(scale: float) -> None:
    x = X["standardised"]
    with pytest.raises(UserError) as raised:
        fitted(x, scale * (x + 1), epochs=3, rate=0.25, dtype="float32")
    assert "learning_rate" not in str(raised.value)
    assert str(raised.value).startswith("train.dtype ")


# Types


def test_a_fit_computes_in_the_type_it_is_given() -> None:
    x, y = standardised(10)
    for dtype, is_float32 in (("float32", True), ("float64", False)):
        history = fitted(x, y, epochs=30, rate=0.2, dtype=dtype)
        for column in (history.loss, *history.values):
            assert column.dtype == np.float64
            assert np.all((column == column.astype(np.float32)) == is_float32)


def test_float32_follows_float64_to_within_its_rounding() -> None:
    x, y = standardised(10)
    single = fitted(x, y, epochs=60, rate=0.1, dtype="float32")
    double = fitted(x, y, epochs=60, rate=0.1)
    # 2^-24 of y in every prediction.
    np.testing.assert_allclose(single.values, double.values, rtol=2e-6)


def test_one_float32_step_rounds_as_numpys_float32_does() -> None:
    # Whole numbers and powers of two: every sum is exact, only the product by the rate rounds.
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 5.0, 7.0, 9.0])
    history = fitted(x, y, epochs=1, rate=0.1, dtype="float32")
    assert history.loss[0] == 41.0
    assert history.of("w")[0] == float(np.float32(0.1) * np.float32(35.0))
    assert history.of("b")[0] == float(np.float32(0.1) * np.float32(12.0))


# Devices


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Make torch report that this machine has the accelerator named, "" for none."""
    kind: str = request.param
    device = torch.device(kind) if kind else None
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *_, **__: bool(kind))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: device)
    return kind


@pytest.mark.parametrize(
    ("machine", "name", "dtype", "device"),
    [
        ("", "auto", "float64", "cpu"),
        ("", "cpu", "float64", "cpu"),
        ("cuda", "auto", "float64", "cuda"),
        ("cuda", "cuda", "float64", "cuda"),
        ("cuda", "cpu", "float64", "cpu"),
        ("mps", "auto", "float64", "cpu"),
        ("mps", "auto", "float32", "mps"),
        ("mps", "mps", "float32", "mps"),
        ("xpu", "auto", "float64", "xpu"),
    ],
    indirect=["machine"],
)
def test_the_device_is_the_named_one_or_the_accelerator_that_has_the_dtype(
    machine: str, name: str, dtype: str, device: str
) -> None:
    assert choose_device(name, dtype).type == device


@pytest.mark.parametrize(
    ("machine", "name", "available"),
    [("", "cuda", "only cpu"), ("cuda", "mps", "cpu and cuda"), ("mps", "xpu", "cpu and mps")],
    indirect=["machine"],
)
def test_a_device_that_is_not_available_is_refused_with_those_that_are(
    machine: str, name: str, available: str
) -> None:
    with pytest.raises(DeviceError, match=rf"^train\.device must .*{available} \(got {name}\)$"):
        choose_device(name, "float32")


def test_the_memory_of_a_row_is_counted_on_the_device_that_holds_it() -> None:
    cuda = torch.device("cuda")
    assert row_bytes(1, "float64", CPU) == {CPU: 176}
    assert row_bytes(1, "float32", cuda) == {CPU: 16, cuda: 48}
    assert row_bytes(3, "float32", cuda) == {CPU: 32, cuda: 96}
