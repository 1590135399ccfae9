"""The report of a model that is not linear in its parameters, and of a network."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import optimize

from knownline.core.kinds import Nonlinear
from knownline.core.network import Predictor
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.report import page, plots, views
from knownline.report.views import CURVE, View
from tests.report.fits import ROWS, Array, curve, drawn, network_results, own_table, results
from tests.report.parsed import Page, text
from tests.report.test_page import shown
from tests.report.test_plots import figures, pixels

__all__ = ["figures"]

NEWTON = {"optimizer": "lbfgs", "learning_rate": 1.0, "epochs": 20}
TRUE = {"a": 20.0, "k": 0.05, "c": 5.0}
DECAY = drawn("exponential", TRUE)
FIT = results(DECAY)


def decay(x: Array, a: float, k: float, c: float) -> Array:
    """Return y as docs say it of the model exponential."""
    y: Array = a * np.exp(-k * x) + c
    return y


def numbers(text: str) -> list[float]:
    """Return the numbers of a text."""
    return [float(each) for each in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", text.replace("−", "-"))]


# A model that is not linear


def test_the_table_of_a_curve_has_the_numbers_of_scipys_curve_fit() -> None:
    found, covariance = optimize.curve_fit(
        decay, FIT.inputs[0], FIT.y, p0=[15.0, 0.1, 1.0], xtol=1e-14, ftol=1e-14
    )
    errors = np.sqrt(np.diag(covariance))
    rows = shown(FIT, DECAY).table("name")
    for row, (name, true), value, error in zip(rows, TRUE.items(), found, errors, strict=True):
        fitted, shown_error, ols, shown_true, z = numbers(" ".join(list(row.values())[1:]))
        assert (row["name"], shown_true) == (name, true)
        assert shown_error == pytest.approx(error, rel=0.05)
        assert fitted == ols == pytest.approx(value, abs=0.06 * error)
        assert z == pytest.approx((value - true) / error, abs=0.006)


def test_a_curve_is_drawn_at_200_points_beside_the_true_one() -> None:
    fitted = FIT.evaluation.fitted
    view = View.of(FIT.data, FIT.inputs, FIT.y, fitted, TRUE, FIT.evaluation.se)
    assert len(view.at) == CURVE == 200
    assert view.curves["fitted"] == pytest.approx(decay(view.at, **fitted), rel=1e-12)
    assert view.curves["true"] == pytest.approx(decay(view.at, **TRUE), rel=1e-12)
    assert view.residuals == pytest.approx(FIT.y - decay(FIT.inputs[0], **fitted), abs=1e-9)
    assert view.labels["true"] == "true: a = 20, k = 0.05, c = 5"
    assert len(pixels(plots.fit(view, ROWS)))


def test_a_curve_has_the_charts_of_a_line_without_the_path() -> None:
    found = shown(FIT, DECAY)
    parameters = [f"{name} by epoch" for name in TRUE]
    assert [chart.title for chart in found.charts().values()] == [
        "Distance from the truth",
        "Optimiser error by epoch",
        "Fitted model",
        "Residuals",
        "Loss by epoch",
        *parameters,
    ]
    assert "The model exponential fitted to 99 points drawn around a known one" in found.text
    assert "the model exponential (a = 20, k = 0.05, c = 5) + normal noise" in found.text
    assert "the model linearised at least squares" in found.section("Fitted and true")
    assert plots.path(FIT.history, FIT.data, TRUE) is None


def test_the_charts_of_a_curve_begin_where_its_training_started() -> None:
    rates = np.outer([1, -1], np.geomspace(0.1, 100, 61)).ravel() / np.ptp(FIT.inputs[0])
    lines = []
    for rate in rates:  # of each, the line through exp(-k (x - 1)) that numpy fits
        part = np.exp(-rate * (FIT.inputs[0] - 1))
        design = np.column_stack([part / np.max(part), np.ones_like(part)])
        (slope, level), left, *_ = np.linalg.lstsq(design, FIT.y, rcond=None)
        lines.append((float(left[0]), slope / np.max(part) * np.exp(rate), rate, level))
    best = min(lines)
    found, se = shown(FIT, DECAY), FIT.evaluation.se
    first = found.table("epoch")[0]
    assert first["epoch"] == "0"
    assert numbers(first["loss"]) == pytest.approx([best[0] / ROWS], rel=1e-3)
    for name, start in zip(TRUE, best[1:], strict=True):
        assert numbers(first[name]) == pytest.approx([start], abs=0.06 * se[name])


def test_a_training_that_converges_in_one_epoch_is_seen_to_do_so() -> None:
    """As L-BFGS does: every later epoch changes nothing, and the losses differ by little."""
    fit = results(DECAY, factor=0.0, epochs=20)
    charts = shown(fit, DECAY).charts()
    for name in ("loss", "optimiser", "parameter-0"):
        curve = charts[name].points("fitted")[0]
        heights = [y for _, y in curve]
        assert len(curve) == 21
        assert abs(heights[0] - heights[1]) > 10
        assert len(set(heights[1:])) == 1
        dots = charts[name].points("fitted")[1]  # each epoch is seen
        assert dots == curve


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (NEWTON, "20 epochs of L-BFGS at learning rate 1, float64, parameters scaled, on all rows"),
        (
            {"optimizer": "adam", "standardize": False, "dtype": "float32", "epochs": 1},
            "1 epoch of Adam at learning rate 0.25, float32, parameters not scaled, on all rows",
        ),
    ],
)
def test_the_page_of_a_curve_says_how_it_was_trained(train: dict[str, object], words: str) -> None:
    whole = DECAY.model_dump()
    whole["train"] |= train
    assert f"Training {words} SHA-256" in shown(FIT, Params.model_validate(whole)).text


def test_without_standard_errors_nothing_is_measured_by_them() -> None:
    """If all y are equal, k can be anything: its standard error is infinite."""
    params = own_table(model="exponential")
    (x,), y = FIT.inputs, np.full(ROWS, 5.0)
    kind = params.kind
    assert isinstance(kind, Nonlinear)
    data = curve(kind, [x], y)
    found = replace(
        FIT.evaluation,
        fitted=data.solution,
        ols=data.solution,
        truth=None,
        z=None,
        se=data.standard_errors(1.0),
    )
    assert set(found.se.values()) == {np.inf}
    page_of = shown(replace(FIT, evaluation=found, data=data, y=y), params)
    assert {row["standard error"] for row in page_of.table("name")} == {"–"}
    assert next(iter(page_of.charts())) == "optimiser"
    assert not re.search(r"\b(nan|inf)\b", page_of.text)


# A network


def waves(inputs: Sequence[Array]) -> Array:
    y: Array = 3 * np.sin(inputs[0]) + sum(inputs[1:], 2.0 * inputs[0])
    return y


def line(inputs: Sequence[Array]) -> Array:
    y: Array = 2.0 * inputs[0]
    return y


def mlp(count: int, **train: Any) -> Params:
    names = [f"x{number}" for number in range(1, count + 1)]
    return own_table(names, "price", model="mlp", **train)


def linear_errors(fit: Results, inputs: Sequence[Array], y: Array) -> Array:
    """Return the errors of numpy's least squares on the training rows, linear in the inputs."""
    trained, asked = (np.stack([*each, np.ones(len(each[0]))], 1) for each in (fit.inputs, inputs))
    errors: Array = asked @ np.linalg.lstsq(trained, fit.y, rcond=None)[0] - y
    return errors


@pytest.mark.parametrize("count", [1, 4])
def test_the_table_of_a_network_has_its_errors_and_those_of_the_linear_model(count: int) -> None:
    fit = network_results(mlp(count), waves, held_out=20)
    random = np.random.default_rng(1)  # as network_results draws
    inputs = [random.uniform(1.0, 9.0, ROWS + 20) for _ in range(count)]
    y = waves(inputs) + random.standard_normal(ROWS + 20)
    found = shown(fit, mlp(count))
    assert "in the units of price." in found.section("Fitted network")
    table = found.table("rows")
    assert [row["rows"] for row in table] == ["training", "held out"]
    for rows, row in zip((slice(ROWS), slice(ROWS, None)), table, strict=True):
        own = [each[rows] for each in inputs]
        squares = np.mean((waves(own) - y[rows]) ** 2)
        expected = [
            len(y[rows]),
            np.sqrt(squares),
            1 - squares / np.var(y[rows]),
            np.sqrt(np.mean(linear_errors(fit, own, y[rows]) ** 2)),
        ]
        assert numbers(" ".join(list(row.values())[1:])) == pytest.approx(
            expected, rel=1e-3, abs=0.006
        )


@pytest.mark.parametrize("count", [1, 4])
def test_the_words_about_a_network_fit_a_network(count: int) -> None:
    params = mlp(count)
    found = shown(network_results(params, waves), params)
    words = found.text.partition("Every parameter")[0].lower()
    for word in ("least squares", "standard error", "optimiser", "parameter", "a line ", "truth"):
        assert word not in words
    assert words.count("the model mlp fitted to data/own/t.csv") == 1
    assert found.headings() == [
        "Fitted network",
        "Fit and residuals",
        "Optimisation path",
        "Inputs",
    ]
    assert list(found.charts()) == ["fit", "residuals", "loss"]
    assert re.search(r"from the network, (at x|where the network has y) = \d", found.text)
    assert found.table("epoch")[0].keys() == {"epoch", "loss"}
    assert found.table("epoch")[0]["epoch"] == found.charts()["loss"].texts("under")[0] == "0"


@pytest.mark.parametrize(("noise", "passed"), [(0.1, True), (1.0, False)])
def test_the_verdict_of_a_network_is_in_one_sentence(noise: float, passed: bool) -> None:
    """Against a truth that is linear, a network cannot be better."""
    fit = network_results(mlp(1), waves if passed else line, noise=noise)
    assert fit.gate.passed == passed
    words = "Gate passed The network is better than the linear model of its inputs."
    words = words if passed else "Gate failed The fit breaks 1 rule of the gate."
    assert text(shown(fit, mlp(1)).all("header")[0]).startswith(words)


def test_a_network_of_one_input_is_a_curve_and_of_several_is_seen_against_what_was_observed() -> (
    None
):
    fit = network_results(mlp(1), waves)
    view = View.of(fit.data, fit.inputs, fit.y, {}, None, {}, ("size", "price"))
    assert view.curves["fitted"] == pytest.approx(waves([view.at]))
    assert (len(view.at), view.labels, view.x_name) == (200, {"fitted": "network"}, "size")
    assert len(pixels(plots.fit(view, ROWS)))
    words = shown(fit, mlp(1)).charts()["fit"].description
    assert words.endswith("price against x1, with the fitted network.")
    fit = network_results(mlp(4), waves)
    view = View.of(fit.data, fit.inputs, fit.y, {}, None, {}, ("x1", "price"))
    assert view.x == pytest.approx(waves(fit.inputs))
    assert view.residuals == pytest.approx(fit.y - waves(fit.inputs))
    assert (view.x_name, view.y_name) == ("fitted price", "observed price")
    words = "observed price against fitted price, with the fitted network; observed = fitted."
    assert words in shown(fit, mlp(4)).charts()["fit"].description


def test_the_loss_of_a_network_is_beside_that_of_the_linear_model(figures: list[Figure]) -> None:
    fit = network_results(mlp(4), waves)
    level = np.mean(linear_errors(fit, fit.inputs, fit.y) ** 2)
    reference = views.reference(fit.data)
    assert reference.loss == pytest.approx(level)
    words = f"linear model of the inputs: {level:.4g}"
    chart = shown(fit, mlp(4)).charts()["loss"]
    assert words in chart.key
    ends = f"From {fit.history.loss[0]:.4g} to {fit.history.loss[-1]:.4g} in 29 epochs."
    assert chart.description == f"{ends} The linear model of the inputs has {level:.4g}."
    assert len(pixels(plots.loss(fit.history.loss, reference)))
    (axes,) = figures[0].axes
    curve, line = axes.lines
    assert np.array_equal(np.asarray(curve.get_ydata()), fit.history.loss)
    assert line.get_label() == words
    assert np.asarray(line.get_ydata()) == pytest.approx([level, level])


@pytest.mark.parametrize("losses", [[5.0, 1.0, 0.1], [9.0, 1.0, 0.5], [0.1, 1.0, 6.0]])
@pytest.mark.parametrize("level", [0.05, 1.0, 4.5, 40.0])
def test_the_key_of_the_loss_does_not_hide_the_level(
    losses: list[float], level: float, figures: list[Figure]
) -> None:
    plots.loss(np.array(losses), views.Reference("linear model of the inputs", level))
    (axes,) = figures[0].axes
    key = axes.get_legend()
    assert key
    box = key.get_window_extent()
    _, height = axes.transData.transform((0.0, level))
    assert not box.y0 <= height <= box.y1


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (
            {"optimizer": "adam", "batch_size": 32, "learning_rate": 0.005, "epochs": 60},
            "60 epochs of Adam at learning rate 0.005, float64, inputs and y standardised, on"
            " minibatches of 32 rows",
        ),
        (
            {"optimizer": "lbfgs", "batch_size": ROWS, "dtype": "float32"},
            "100 epochs of L-BFGS at learning rate 0.25, float32, inputs and y standardised, on"
            " all rows",
        ),
        (
            {"epochs": 1},
            "1 epoch of gradient descent at learning rate 0.25, float64, inputs and y"
            " standardised, on all rows",
        ),
    ],
)
def test_the_page_of_a_network_says_how_it_was_trained(
    train: dict[str, object], words: str
) -> None:
    params = mlp(4, **train)
    found = shown(network_results(params, waves), params)
    assert f"Training {words} SHA-256" in found.text
    batches = "The loss of an epoch is the mean over its minibatches, each before its step."
    assert (batches in found.section("Optimisation path")) == ("minibatches of" in words)


def test_a_network_without_held_out_rows_has_a_page() -> None:
    found = shown(network_results(mlp(4), waves, held_out=0), mlp(4))
    assert "No rows are held out." in found.section("Fitted network")
    assert len(found.table("rows")) == 1
    row = shown(network_results(mlp(4), waves, held_out=1), mlp(4)).table("rows")[1]
    assert (row["count"], row["R²"], row["RMSE of the linear model"]) == ("1", "–", "–")


def nothing(inputs: Sequence[Array]) -> Array:
    return np.zeros(len(inputs[0]))


@pytest.mark.parametrize("epochs", [1, 1001])
@pytest.mark.parametrize("noise", [0.0, 1e-12, 1.0, 1e60])
@pytest.mark.parametrize(("predictor", "count"), [(waves, 1), (nothing, 3)])
def test_extreme_numbers_of_a_network_give_a_page_without_nan(
    predictor: Predictor, count: int, noise: float, epochs: int
) -> None:
    fit = network_results(mlp(count), predictor, noise=noise, epochs=epochs)
    html = page.render(mlp(count), fit)
    Page(html)
    assert not re.search(r"[\d \"(,-](nan|inf)\b", html)
    reference = views.reference(fit.data)
    assert len(pixels(plots.loss(fit.history.loss, reference)))


@pytest.mark.parametrize("epochs", [1, 1001])
@pytest.mark.parametrize("noise", [0.0, 1e-12, 1.5, 1e60])
def test_extreme_numbers_of_a_curve_give_a_page_without_nan(noise: float, epochs: int) -> None:
    html = page.render(DECAY, results(DECAY, epochs=epochs, noise=noise))
    Page(html)
    assert not re.search(r"[\d \"(,-](nan|inf)\b", html)
