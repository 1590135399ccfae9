"""The loop against closed forms, and against itself written down in numpy."""

import math
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core import moments
from knownline.core.errors import DeviceError, DivergedError
from knownline.core.line import Line
from knownline.train import summation
from knownline.train.descent import (
    History,
    ResumePoint,
    Scaling,
    Step,
    choose_device,
    fit,
    row_bytes,
    stable_learning_rate,
)
from samerun.core.errors import UserError

Array = npt.NDArray[np.float64]

SRC = str(Path(moments.__file__).parents[1])
"""Where processes of our own find what is tested here."""

CPU = torch.device("cpu")
TRUTH = Line(20.0, 5.0)


def drawn(
    seed: int, *, rows: int = 60, low: float = 1.0, high: float = 99.0, noise: float = 1.5
) -> tuple[Array, Array]:
    draws = np.random.default_rng(seed)
    x = draws.uniform(low, high, rows)
    return x, TRUTH.at(x) + noise * draws.standard_normal(rows)


def fitted(
    x: Array, y: Array, *, epochs: int, rate: float, dtype: str = "float64", **more: Any
) -> History:
    return fit(x, y, epochs=epochs, learning_rate=rate, dtype=dtype, device=CPU, **more)


def descended(x: Array, y: Array, *, epochs: int, rate: float) -> tuple[Array, Array, Array]:
    """Return loss, w and b by epoch, the gradient written down by hand."""
    w = b = 0.0
    rows: list[tuple[float, float, float]] = []
    for _ in range(epochs):
        off = w * x + b - y
        loss = float(np.mean(off * off))
        w, b = w - rate * 2 * float(np.mean(off * x)), b - rate * 2 * float(np.mean(off))
        rows.append((loss, w, b))
    found = np.array(rows)
    return found[:, 0], found[:, 1], found[:, 2]


def bound(x: Array) -> float:
    """Return 2 / λmax of the Hessian of the mean squared error, by numpy."""
    design = np.column_stack([x, np.ones_like(x)])
    return 2 / float(np.linalg.eigvalsh(2 * design.T @ design / len(x))[-1])


def hex_of(history: History) -> list[str]:
    return [v.hex() for column in (history.loss, history.w, history.b) for v in column.tolist()]


# One step


@pytest.mark.parametrize("rate", [2.0**-10, 1e-4, 0.01])
def test_one_step_goes_down_the_closed_form_gradient(rate: float) -> None:
    x, y = drawn(1)
    exact_x, exact_y = [Fraction(v) for v in x.tolist()], [Fraction(v) for v in y.tolist()]
    rows = len(x)
    # At w = b = 0 the gradient of mean (w x + b - y)² is -2 mean(x y), -2 mean(y).
    xy = sum((p * q for p, q in zip(exact_x, exact_y, strict=True)), start=Fraction(0)) / rows
    mean_y = sum(exact_y, start=Fraction(0)) / rows
    yy = sum((q * q for q in exact_y), start=Fraction(0)) / rows
    history = fitted(x, y, epochs=1, rate=rate)
    assert history.loss[0] == pytest.approx(float(yy), rel=1e-14)
    assert history.w[0] == pytest.approx(float(2 * Fraction(rate) * xy), rel=1e-14)
    assert history.b[0] == pytest.approx(float(2 * Fraction(rate) * mean_y), rel=1e-14)


def test_a_step_from_a_line_follows_the_gradient_there() -> None:
    x, y = drawn(2)
    x = (x - x.mean()) / x.std()
    history = fitted(x, y, epochs=6, rate=0.1)
    for before, after in zip(range(5), range(1, 6), strict=True):
        w, b = history.w[before], history.b[before]
        off = w * x + b - y
        assert history.loss[after] == pytest.approx(np.mean(off**2), rel=1e-12)
        assert history.w[after] == pytest.approx(w - 0.1 * 2 * np.mean(off * x), rel=1e-12)
        assert history.b[after] == pytest.approx(b - 0.1 * 2 * np.mean(off), rel=1e-12)


def test_points_on_the_line_y_0_move_nothing() -> None:
    history = fitted(np.array([1.0, 2.0, 4.0]), np.zeros(3), epochs=5, rate=0.01)
    assert history.loss.tolist() == history.w.tolist() == history.b.tolist() == [0.0] * 5


# The way


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    epochs=st.integers(1, 40),
    share=st.floats(0.01, 0.95),
    centre=st.floats(-5, 5),
)
def test_the_way_is_that_of_plain_numpy(
    seed: int, epochs: int, share: float, centre: float
) -> None:
    x, y = drawn(seed, low=centre - 2, high=centre + 2)
    rate = share * bound(x)
    history = fitted(x, y, epochs=epochs, rate=rate)
    loss, w, b = descended(x, y, epochs=epochs, rate=rate)
    size = float(np.abs(y).max())
    np.testing.assert_allclose(history.loss, loss, rtol=1e-10)
    np.testing.assert_allclose(history.w, w, rtol=1e-10, atol=1e-12 * size)
    np.testing.assert_allclose(history.b, b, rtol=1e-10, atol=1e-12 * size)


def compared(x: Array, y: Array, *, rate: float, epochs: int, standardize: bool) -> None:
    """Assert that the three points go the way of all rows."""
    whole = moments.compress([(x, y)])
    scaling = Scaling(whole.mean_x, whole.sd_x) if standardize else Scaling()
    few_x, few_y = whole.three_points(standardize=standardize)
    few = fitted(few_x, few_y, epochs=epochs, rate=rate, scaling=scaling)
    rows = fitted((x - scaling.mean) / scaling.sd, y, epochs=epochs, rate=rate, scaling=scaling)
    # A distance from the line has the rounding of y, and the loss of few rows may be one of those.
    rounding = 16 * np.finfo(np.float64).eps * np.abs(y).max()
    allowed = 1e-9 * rows.loss + (2 * np.sqrt(rows.loss) + rounding) * rounding
    assert (np.abs(few.loss - rows.loss) <= allowed).all()
    # Where b crosses 0, its size is that of the way it went.
    np.testing.assert_allclose(few.w, rows.w, rtol=1e-9, atol=1e-10 * np.abs(rows.w).max())
    np.testing.assert_allclose(few.b, rows.b, rtol=1e-9, atol=1e-10 * np.abs(rows.b).max())


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    offset=st.floats(-100, 100),
    noise=st.floats(0.1, 100),
    rate=st.floats(0.01, 0.95),
    rows=st.integers(3, 200),
)
def test_standardised_the_three_points_go_the_way_of_all_rows(
    seed: int, offset: float, noise: float, rate: float, rows: int
) -> None:
    x, y = drawn(seed, rows=rows, low=offset, high=offset + 98, noise=noise)
    compared(x, y, rate=rate, epochs=40, standardize=True)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    offset=st.floats(-100, 100),
    noise=st.floats(0.1, 100),
    share=st.floats(0.01, 0.95),
    rows=st.integers(3, 200),
)
def test_raw_the_three_points_go_the_way_of_all_rows(
    seed: int, offset: float, noise: float, share: float, rows: int
) -> None:
    x, y = drawn(seed, rows=rows, low=offset, high=offset + 98, noise=noise)
    compared(x, y, rate=share * bound(x), epochs=40, standardize=False)


@pytest.mark.parametrize("seed", range(5))
def test_a_finished_fit_is_least_squares(seed: int) -> None:
    x, y = drawn(seed)
    whole = moments.compress([(x, y)])
    points = whole.three_points(standardize=True)
    line = fitted(*points, epochs=100, rate=0.25, scaling=Scaling(whole.mean_x, whole.sd_x)).line
    (w, b), *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    assert line.w == pytest.approx(w, rel=1e-12)
    assert line.b == pytest.approx(b, abs=1e-11)


def test_at_a_quarter_each_epoch_halves_the_distance_to_the_optimum() -> None:
    x, y = drawn(4)
    x = (x - x.mean()) / x.std()
    (w, b), *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    history = fitted(x, y, epochs=30, rate=0.25)
    left = 0.5 ** np.arange(1, 31)
    np.testing.assert_allclose(history.w, w * (1 - left), rtol=1e-12)
    np.testing.assert_allclose(history.b, b * (1 - left), rtol=1e-12)


def test_the_loss_of_an_epoch_is_the_one_it_began_with() -> None:
    x, y = drawn(6)
    history = fitted(x, y, epochs=3, rate=1e-5)
    assert history.loss[0] == pytest.approx(np.mean(y**2), rel=1e-14)
    assert history.loss[1] == pytest.approx(
        np.mean((history.w[0] * x + history.b[0] - y) ** 2), rel=1e-12
    )


def test_the_line_is_what_the_last_step_left() -> None:
    history = fitted(*drawn(7), epochs=4, rate=1e-5)
    assert history.line == Line(history.w[3], history.b[3])
    assert (history.loss.shape, history.w.shape, history.b.shape) == ((4,), (4,), (4,))


# The units of the data


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (50.0, 28.0), (-3.0, 0.25), (1e6, 2.0)])
@pytest.mark.parametrize(("w", "b"), [(0.0, 0.0), (3.0, -7.0), (-0.5, 1e3)])
def test_a_line_of_scaled_x_is_the_same_line_of_the_datas_x(
    mean: float, sd: float, w: float, b: float
) -> None:
    line = Scaling(mean, sd).in_data_units(w, b)
    for x in (mean - 3 * sd, mean, mean + 0.5 * sd, 0.0):
        size = abs(w * mean / sd) + abs(b) + 1
        assert line.at(x) == pytest.approx(w * (x - mean) / sd + b, abs=1e-14 * size)


def test_without_scaling_the_units_are_left_alone() -> None:
    assert Scaling().in_data_units(0.1, -0.7) == Line(0.1, -0.7)


def test_every_epoch_is_told_in_the_datas_units() -> None:
    x, y = drawn(8)
    plain = fitted((x - 50.0) / 28.0, y, epochs=5, rate=0.2)
    scaled = fitted((x - 50.0) / 28.0, y, epochs=5, rate=0.2, scaling=Scaling(50.0, 28.0))
    assert scaled.loss.tolist() == plain.loss.tolist()
    np.testing.assert_allclose(scaled.w, plain.w / 28.0, rtol=1e-15)
    np.testing.assert_allclose(scaled.b, plain.b - plain.w * 50.0 / 28.0, rtol=1e-13)


# The watcher


@pytest.mark.parametrize("epochs", [1, 2, 17])
def test_the_watcher_sees_every_epoch_once_in_order(epochs: int) -> None:
    seen: list[tuple[int, float, float, float]] = []
    history = fitted(
        *drawn(9),
        epochs=epochs,
        rate=1e-5,
        scaling=Scaling(2.0, 3.0),
        watch=lambda step: seen.append((step.epoch, step.loss, step.w, step.b)),
    )
    told = zip(history.loss.tolist(), history.w.tolist(), history.b.tolist(), strict=True)
    assert seen == [(epoch, *numbers) for epoch, numbers in enumerate(told)]


def test_the_watcher_is_told_while_the_fit_runs() -> None:
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


def test_a_watcher_changes_no_bit() -> None:
    x, y = drawn(9)
    watched = fitted(x, y, epochs=20, rate=1e-5, watch=lambda *_: None)
    assert hex_of(watched) == hex_of(fitted(x, y, epochs=20, rate=1e-5))


def test_a_fit_leaves_its_points_alone() -> None:
    x, y = drawn(9)
    before = x.tolist(), y.tolist()
    fitted(x, y, epochs=5, rate=1e-5)
    assert (x.tolist(), y.tolist()) == before


# Cut short and gone on with


def starts(x: Array, y: Array, **how: Any) -> list[ResumePoint]:
    """Return where the training stood after each epoch, as a checkpoint keeps it."""
    found: list[ResumePoint] = []

    def keep(step: Step) -> None:
        done = step.columns[:, : step.epoch + 1].copy()
        found.append(ResumePoint(step.raw_w, step.raw_b, done))

    fitted(x, y, watch=keep, **how)
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scaling", [Scaling(), Scaling(49.7, 28.3)], ids=["raw", "scaled"])
def test_a_training_that_goes_on_is_the_one_in_one_piece_bit_by_bit(
    dtype: str, scaling: Scaling
) -> None:
    x, y = drawn(20)
    x = (x - scaling.mean) / scaling.sd
    how: dict[str, Any] = {"rate": 0.3 * bound(x), "dtype": dtype, "scaling": scaling}
    whole = hex_of(fitted(x, y, epochs=12, **how))
    for start in starts(x, y, epochs=12, **how):
        assert hex_of(fitted(x, y, epochs=12, start=start, **how)) == whole


def test_a_training_that_goes_on_keeps_the_epochs_that_it_was_given() -> None:
    # Marked numbers: memory that is not written may hold those of an earlier fit.
    x, y = drawn(20)
    start = starts(x, y, epochs=12, rate=1e-5)[4]
    marked = np.arange(15.0).reshape(3, 5) - 1000.5
    history = fitted(x, y, epochs=12, rate=1e-5, start=start._replace(columns=marked))
    found = np.array([history.loss, history.w, history.b])
    assert np.array_equal(found[:, :5], marked)


def test_a_training_that_goes_on_tells_only_the_epochs_that_were_left() -> None:
    x, y = drawn(20)
    start = starts(x, y, epochs=12, rate=1e-5)[4]
    seen: list[int] = []
    fitted(x, y, epochs=12, rate=1e-5, start=start, watch=lambda step: seen.append(step.epoch))
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


@pytest.mark.parametrize("x", X.values(), ids=X)
def test_the_bound_is_2_over_the_largest_eigenvalue_of_the_hessian(x: Array) -> None:
    assert stable_learning_rate(x) == pytest.approx(bound(x), rel=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_bound_is_that_of_eigvalsh_for_any_x(values: list[float]) -> None:
    x = np.array(values)
    assert stable_learning_rate(x) == pytest.approx(bound(x), rel=1e-9)


@pytest.mark.parametrize("x", X.values(), ids=X)
def test_a_learning_rate_just_below_the_bound_does_not_diverge(x: Array) -> None:
    y = 3.0 * x - 2.0 + np.random.default_rng(0).standard_normal(len(x))
    history = fitted(x, y, epochs=3000, rate=0.99 * bound(x))
    assert history.loss[-1] < history.loss[0]
    assert history.loss.max() == history.loss[0]


@pytest.mark.parametrize("x", X.values(), ids=X)
def test_a_learning_rate_just_above_the_bound_diverges_and_is_told_the_bound(x: Array) -> None:
    y = 3.0 * x - 2.0 + np.random.default_rng(0).standard_normal(len(x))
    rate = 1.05 * bound(x)
    seen: list[int] = []
    with pytest.raises(
        DivergedError, match=r"^train\.learning_rate must be less than .* for this data \(got .*\)"
    ) as raised:
        fitted(x, y, epochs=5000, rate=rate, watch=lambda step: seen.append(step.epoch))
    told = re.fullmatch(
        r"train\.learning_rate must be less than (\S+) for this data \(got (\S+)\):"
        r" the loss left the finite numbers at epoch (\d+)",
        str(raised.value),
    )
    assert told
    assert float(told[1]) == pytest.approx(bound(x), rel=1e-5)
    assert float(told[2]) == pytest.approx(rate, rel=1e-5)
    assert seen == list(range(int(told[3])))


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
    told = re.search(r"learning_rate must be less than (\S+) .*\(got (\S+)\)", str(raised.value))
    assert told is None or float(told[2]) >= float(told[1])


# Types


def test_float32_numbers_are_float32_numbers() -> None:
    x, y = drawn(10)
    x = (x - x.mean()) / x.std()
    history = fitted(x, y, epochs=30, rate=0.2, dtype="float32")
    for column in (history.loss, history.w, history.b):
        assert column.dtype == np.float64
        assert np.array_equal(column, column.astype(np.float32))


def test_float64_numbers_need_float64() -> None:
    x, y = drawn(10)
    x = (x - x.mean()) / x.std()
    history = fitted(x, y, epochs=30, rate=0.2)
    for column in (history.loss, history.w, history.b):
        assert not np.any(column == column.astype(np.float32))


@pytest.mark.parametrize("rate", [0.25, 0.1])
def test_float32_goes_the_same_way_as_far_as_it_can(rate: float) -> None:
    x, y = drawn(10)
    x = (x - x.mean()) / x.std()
    single = fitted(x, y, epochs=60, rate=rate, dtype="float32")
    double = fitted(x, y, epochs=60, rate=rate)
    # 2^-24 of y in every prediction, and never as good as float64.
    np.testing.assert_allclose(single.w, double.w, rtol=2e-6)
    np.testing.assert_allclose(single.b, double.b, rtol=2e-6)
    assert abs(single.line.w - double.line.w) > 1e-12 * abs(double.line.w)


def test_one_float32_step_rounds_as_numpys_float32_does() -> None:
    # Whole numbers and powers of two: every sum is exact, only the product by the rate rounds.
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 5.0, 7.0, 9.0])
    history = fitted(x, y, epochs=1, rate=0.1, dtype="float32")
    assert history.loss[0] == 41.0
    assert history.w[0] == float(np.float32(0.1) * np.float32(35.0))
    assert history.b[0] == float(np.float32(0.1) * np.float32(12.0))


# Bits

BITS = """
import sys
import numpy as np, torch
from knownline import compression, training
torch.set_num_threads(int(sys.argv[1]))
draws = np.random.default_rng(3)
x = draws.uniform(1, 99, 5000)
whole = compression.compress([(x, 20 * x + 5 + 1.5 * draws.standard_normal(5000))])
for standardize, rate in ((True, 0.25), (False, 1e-4)):
    for dtype in ("float64", "float32"):
        history = training.fit(*whole.three_points(standardize=standardize), epochs=100,
            learning_rate=rate, dtype=dtype, device=torch.device("cpu"))
        print(*[v.hex() for c in (history.loss, history.w, history.b) for v in c.tolist()])
"""


def bits(threads: int, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BITS, str(threads)],
        env={**os.environ, "PYTHONPATH": SRC, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def default_bits() -> str:
    return bits(1)


def test_a_compressed_fit_gives_the_same_bits_on_1_and_2_threads(default_bits: str) -> None:
    assert default_bits.count("\n") == 4
    assert bits(2) == default_bits


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_a_compressed_fit_gives_the_same_bits_on_less_simd(
    capability: str, default_bits: str
) -> None:
    assert bits(1, ATEN_CPU_CAPABILITY=capability) == default_bits


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_fit_does_not_depend_on_what_ran_before(dtype: str) -> None:
    points = drawn(12, rows=3)
    first = hex_of(fitted(*points, epochs=20, rate=1e-5, dtype=dtype))
    torch.manual_seed(99)
    torch.rand(7)
    assert hex_of(fitted(*points, epochs=20, rate=1e-5, dtype=dtype)) == first


# Devices


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Make torch say that this machine has the accelerator named, "" for none."""
    kind: str = request.param
    found = torch.device(kind) if kind else None
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *_, **__: bool(kind))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: found)
    return kind


@pytest.mark.parametrize(
    ("machine", "name", "dtype", "device"),
    [
        ("", "auto", "float64", "cpu"),
        ("", "auto", "float32", "cpu"),
        ("", "cpu", "float64", "cpu"),
        ("cuda", "auto", "float64", "cuda"),
        ("cuda", "auto", "float32", "cuda"),
        ("cuda", "cuda", "float64", "cuda"),
        ("cuda", "cpu", "float64", "cpu"),
        ("mps", "auto", "float64", "cpu"),
        ("mps", "auto", "float32", "mps"),
        ("mps", "mps", "float32", "mps"),
        ("mps", "cpu", "float32", "cpu"),
        ("xpu", "auto", "float64", "xpu"),
        ("xpu", "xpu", "float32", "xpu"),
    ],
    indirect=["machine"],
)
def test_the_device_is_the_named_one_or_the_accelerator_that_has_the_dtype(
    machine: str, name: str, dtype: str, device: str
) -> None:
    assert choose_device(name, dtype).type == device


@pytest.mark.parametrize(
    ("machine", "name", "here"),
    [
        ("", "cuda", "only cpu"),
        ("", "mps", "only cpu"),
        ("", "xpu", "only cpu"),
        ("cuda", "mps", "cpu and cuda"),
        ("mps", "cuda", "cpu and mps"),
        ("cuda", "xpu", "cpu and cuda"),
    ],
    indirect=["machine"],
)
def test_a_device_that_is_not_here_is_one_line_that_says_what_is(
    machine: str, name: str, here: str
) -> None:
    with pytest.raises(
        DeviceError, match=rf"^train\.device must be available here: {here} \(got {name}\)$"
    ):
        choose_device(name, "float32")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_auto_is_the_cpu_where_there_is_nothing_else() -> None:
    assert choose_device("auto", "float64") == CPU
    with pytest.raises(DeviceError, match=r"must be available here: only cpu \(got cuda\)"):
        choose_device("cuda", "float64")


# Many rows: sums by halving

ROWS_HEX = """
import numpy as np, torch
from knownline.train.descent import fit
draws = np.random.default_rng(5)
for dtype in ("float64", "float32"):
    x = draws.standard_normal(150_001)
    found = fit(x, 20 * x + 5 + draws.standard_normal(len(x)), epochs=5, learning_rate=0.25,
                dtype=dtype, device=torch.device("cpu"), halving=True)
    print(*[v.hex() for c in (found.loss, found.w, found.b) for v in c.tolist()])
"""


def test_rows_give_the_same_bits_on_any_threads_and_simd() -> None:
    def bits(**env: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", ROWS_HEX],
            env={**os.environ, "PYTHONPATH": SRC, **env},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    default = bits(OMP_NUM_THREADS="2")
    assert len(default.split()) == 30
    assert bits(OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="default") == default
    assert bits(OMP_NUM_THREADS="3", ATEN_CPU_CAPABILITY="avx2") == default


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9, 1000])
def test_halving_changes_no_more_than_rounding(rows: int) -> None:
    x, y = drawn(1, rows=rows)
    x = (x - x.mean()) / (x.std() or 1.0)
    halved = fitted(x, y, epochs=30, rate=0.25, halving=True)
    plain = fitted(x, y, epochs=30, rate=0.25)
    for one, other in zip(
        (halved.loss, halved.w, halved.b), (plain.loss, plain.w, plain.b), strict=True
    ):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(20))
def test_three_points_on_an_accelerator_are_summed_as_on_the_cpu(
    dtype: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs there, run here: each step is elementwise, so the device does not matter."""
    x, y = drawn(seed, rows=3, noise=40.0)
    x = (x - x.mean()) / x.std()
    plain = fitted(x, y, epochs=60, rate=0.2, dtype=dtype)

    def elsewhere(inputs: torch.Tensor, *, halving: bool) -> tuple[summation.Sum, summation.Sum]:
        sums = summation.InOrder(inputs)
        return sums.shared, sums.mean

    monkeypatch.setattr(summation, "of", elsewhere)
    found = fitted(x, y, epochs=60, rate=0.2, dtype=dtype)
    for name in ("loss", "w", "b"):
        assert getattr(found, name).tobytes() == getattr(plain, name).tobytes()


def test_a_row_takes_memory_where_it_lies() -> None:
    cuda = torch.device("cuda")
    assert row_bytes("float64", CPU) == {CPU: 176}
    assert row_bytes("float32", cuda) == {CPU: 16, cuda: 48}
