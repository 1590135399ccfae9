"""The report of a model that is not linear in its parameters, and of a network."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
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
from knownline.report.equations import of_fit
from knownline.report.views import CURVE, View
from tests.report.fits import ROWS, Array, curve, drawn, network_results, own_table, results
from tests.report.test_page import Page, text_of
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


def chart(html: str, title: str) -> str:
    """Return the figure with a title."""
    return html[html.index(f"<figcaption>{title}</figcaption>") :].partition("</figure>")[0]


# A model that is not linear


def test_the_table_of_a_curve_has_the_numbers_of_scipys_curve_fit() -> None:
    found, covariance = optimize.curve_fit(
        decay, FIT.inputs[0], FIT.y, p0=[15.0, 0.1, 1.0], xtol=1e-14, ftol=1e-14
    )
    errors = np.sqrt(np.diag(covariance))
    text = text_of(FIT, DECAY)
    caption = "Errors are standard errors of the model linearised at least squares. fitted ± error"
    table = text[text.index(caption) :].replace("−", "-")
    for (name, true), value, error in zip(TRUE.items(), found, errors, strict=True):
        row = re.search(rf" {name} (\S+) (\S+) (\S+) (\S+) (\S+) ", table)
        assert row
        fitted, shown_error, ols, shown_true, away = map(float, row.groups())
        assert shown_error == pytest.approx(error, rel=0.05)
        assert fitted == ols == pytest.approx(value, abs=0.06 * error)
        assert shown_true == true
        assert away == pytest.approx((value - true) / error, abs=0.006)
        assert f" {name}: the sample left " in text


@pytest.mark.parametrize("noise", [0.0, 0.01, 1.5])
def test_the_parameters_of_a_curve_are_as_precise_as_the_noise(noise: float) -> None:
    fit = results(DECAY, noise=noise)
    fitted = fit.evaluation.fitted
    text = of_fit(fit.data, fit.inputs, fit.y, fitted)
    assert re.fullmatch(r"a = \S+, k = \S+, c = \S+", text)
    exact = decay(fit.inputs[0], **fitted)
    difference = np.max(np.abs(decay(fit.inputs[0], *numbers(text)) - exact))
    assert difference <= max(0.1 * np.std(fit.y - exact), 1e-4 * np.std(fit.y))


def test_a_curve_is_drawn_at_200_points_beside_the_true_one() -> None:
    fitted = FIT.evaluation.fitted
    view = View.of(FIT.data, FIT.inputs, FIT.y, fitted, TRUE)
    assert len(view.at) == CURVE == 200
    assert view.curves["fitted"] == pytest.approx(decay(view.at, **fitted), rel=1e-12)
    assert view.curves["true"] == pytest.approx(decay(view.at, **TRUE), rel=1e-12)
    assert view.residuals == pytest.approx(FIT.y - decay(FIT.inputs[0], **fitted), abs=1e-9)
    assert view.labels["true"] == "true: a = 20, k = 0.05, c = 5"
    assert len(pixels(plots.fit(view, ROWS)))


def test_a_curve_has_the_charts_of_a_line_without_the_path() -> None:
    html = page.render(DECAY, FIT)
    titles = re.findall("<figcaption>(.*?)</figcaption>", html)
    assert titles == [
        "The fit",
        "What the model leaves",
        "The loss by epoch",
        "The optimiser&#x27;s part by epoch",
        *(f"{name} by epoch" for name in TRUE),
    ]
    assert "<h2>Who left the error</h2>" in html
    assert "The model exponential through 99 points drawn from a known one" in html
    assert "the model exponential (a = 20, k = 0.05, c = 5) + normal noise" in html
    assert plots.path(FIT.history, FIT.data, TRUE) is None


def test_the_page_of_a_curve_says_where_its_training_started() -> None:
    rates = np.outer([1, -1], np.geomspace(0.1, 100, 61)).ravel() / np.ptp(FIT.inputs[0])
    lines = []
    for rate in rates:  # of each, the line through exp(-k (x - 1)) that numpy fits
        part = np.exp(-rate * (FIT.inputs[0] - 1))
        design = np.column_stack([part / np.max(part), np.ones_like(part)])
        (slope, level), left, *_ = np.linalg.lstsq(design, FIT.y, rcond=None)
        lines.append((float(left[0]), slope / np.max(part) * np.exp(rate), rate, level))
    starts = dict(zip(TRUE, min(lines)[1:], strict=True))
    text = text_of(FIT, DECAY)
    found = FIT.evaluation
    away = []
    for name, start in starts.items():
        shown = re.search(rf"The training starts from {name} = (\S+)\. ", text)
        assert shown
        assert numbers(shown[1]) == pytest.approx([start], abs=0.06 * found.se[name])
        away.append(abs(start - found.ols[name]) / found.se[name])
    words = f"The training starts {max(away):.2f} standard errors away from least squares, in the"
    assert words in text


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (NEWTON, "20 epochs of L-BFGS at learning rate 1, float64, parameters scaled, on all rows"),
        (
            {"optimizer": "adam", "standardize": False, "dtype": "float32", "epochs": 1},
            "1 epoch of Adam at learning rate 0.25, float32, parameters as they are, on all rows",
        ),
    ],
)
def test_the_page_of_a_curve_says_how_it_was_trained(train: dict[str, object], words: str) -> None:
    whole = DECAY.model_dump()
    whole["train"] |= train
    assert f"Training {words} Data" in text_of(FIT, Params.model_validate(whole))


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
    html = page.render(params, replace(FIT, evaluation=found, data=data, y=y))
    text = Page(html).text
    assert "± error least squares a 0 – 0 k " in text
    assert "Who left the error" not in text
    assert "optimiser's part by epoch" not in text
    assert not re.search(r"\b(nan|inf)\b", text)


# A network


def waves(inputs: Sequence[Array]) -> Array:
    y: Array = 3 * np.sin(inputs[0]) + sum(inputs[1:], 2.0 * inputs[0])
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
    text = text_of(fit, mlp(count))
    table = re.search(
        r"in the units of price\. training rows held-out rows rows (\S+) (\S+) RMSE (\S+) (\S+)"
        r" R² (\S+) (\S+) RMSE of the linear model of the inputs (\S+) (\S+) ",
        text,
    )
    assert table
    shown = np.reshape([float(each) for each in table.groups()], (4, 2)).T
    for rows, column in zip((slice(ROWS), slice(ROWS, None)), shown, strict=True):
        own = [each[rows] for each in inputs]
        squares = np.mean((waves(own) - y[rows]) ** 2)
        expected = [
            len(y[rows]),
            np.sqrt(squares),
            1 - squares / np.var(y[rows]),
            np.sqrt(np.mean(linear_errors(fit, own, y[rows]) ** 2)),
        ]
        assert column == pytest.approx(expected, rel=1e-3, abs=0.006)


@pytest.mark.parametrize("count", [1, 4])
def test_the_words_about_a_network_fit_a_network(count: int) -> None:
    params = mlp(count)
    html = page.render(params, network_results(params, waves))
    text = Page(html).text.partition("Every parameter")[0]
    for words in ("least squares", "standard error", "optimiser", "parameter", "a line ", "truth"):
        assert words not in text.lower()
    assert text.count("The model mlp through data/own/t.csv") == 2
    headings = re.findall("<h2>(.*?)</h2>", html)
    assert headings == [
        "The fitted network",
        "The fit and what it leaves",
        "How the training went",
        "From what",
        "Do it again",
    ]
    assert len(re.findall('<svg viewBox[^>]* aria-label="(.{40,})"', html)) == 3
    assert re.search(r"from the network, (at x|where the network has y) = \d", text)
    assert "The loss of some epochs. epoch loss 0 " in text
    levels = [int(tag[1]) for tag in Page(html).tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_network_of_one_input_is_a_curve_and_of_several_is_seen_against_what_was_observed() -> (
    None
):
    fit = network_results(mlp(1), waves)
    view = View.of(fit.data, fit.inputs, fit.y, {}, None, ("size", "price"))
    assert view.curves["fitted"] == pytest.approx(waves([view.at]))
    assert (len(view.at), view.labels, view.x_name) == (200, {"fitted": "network"}, "size")
    assert len(pixels(plots.fit(view, ROWS)))
    html = page.render(mlp(1), fit)
    assert "price against x1, with the fitted network." in html
    fit = network_results(mlp(4), waves)
    view = View.of(fit.data, fit.inputs, fit.y, {}, None, ("x1", "price"))
    assert view.x == pytest.approx(waves(fit.inputs))
    assert view.residuals == pytest.approx(fit.y - waves(fit.inputs))
    assert (view.x_name, view.y_name) == ("fitted price", "observed price")
    html = page.render(mlp(4), fit)
    words = "observed price against fitted price, with the fitted network; observed = fitted."
    assert words in html


def test_the_loss_of_a_network_is_beside_that_of_the_linear_model(figures: list[Figure]) -> None:
    fit = network_results(mlp(4), waves)
    level = np.mean(linear_errors(fit, fit.inputs, fit.y) ** 2)
    reference = views.reference(fit.data)
    assert reference.loss == pytest.approx(level)
    words = f"linear model of the inputs: {level:.4g}"
    assert f"</svg>{words}</li>" in chart(page.render(mlp(4), fit), "The loss by epoch")
    last = np.mean((waves(fit.inputs) - fit.y) ** 2)
    sentence = f"goes from {fit.history.loss[0]:.4g} to {last:.4g} in 30 epochs; the linear model"
    assert sentence in page.render(mlp(4), fit)
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
    text = text_of(network_results(params, waves), params)
    assert f"Training {words} Data" in text
    batches = "The loss of an epoch is the mean over its minibatches, each before its step."
    assert (batches in text) == ("minibatches of" in words)


def test_a_network_without_held_out_rows_has_a_page() -> None:
    text = text_of(network_results(mlp(4), waves, held_out=0), mlp(4))
    assert "in the units of price. No row is held out. training rows rows 79 RMSE " in text
    text = text_of(network_results(mlp(4), waves, held_out=1), mlp(4))
    assert re.search(r"rows 79 1 RMSE \S+ \S+ R² \S+ – RMSE of the linear \D+ \S+ – ", text)


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
