"""The report shows what was found, agrees with the gate, loads nothing, and is for everyone."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from scipy import special

from knownline import model
from knownline.core import yaml_text
from knownline.core.formatting import minus, multiple
from knownline.core.kinds import Linear
from knownline.evaluate.gate import Convergence
from knownline.evaluate.residuals import examine
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import optimiser_error
from knownline.model import LINE
from knownline.params import Params
from knownline.report import page
from knownline.report.epoch_charts import EPOCHS_SHOWN, LONG, Course
from tests.conftest import ROOT
from tests.report.fits import (
    PARAMS,
    TRUTH,
    Array,
    compressed,
    drawn,
    own_table,
    plane,
    results,
)
from tests.report.parsed import Page, text

STYLE = (ROOT / "src/knownline/report/page.css").read_text()
FIT = results()
HTML = page.render(PARAMS, FIT)
PAGE = Page(HTML)


def shown(fit: Results, params: Params = PARAMS) -> Page:
    return Page(page.render(params, fit))


def judged_by(params: Params = PARAMS, **rules: Any) -> Params:
    whole = params.model_dump()
    whole["evaluate"] |= rules
    return Params.model_validate(whole)


def bent() -> Results:
    """Return the fit of a line to a parabola."""
    params = own_table()
    x = np.linspace(1.0, 30.0, 79)
    y = 0.3 * x**2 + np.random.default_rng(1).standard_normal(79)
    fit = results(params)
    data = compressed(LINE, [x], y)
    found = replace(fit.evaluation, fitted=data.solution, ols=data.solution)
    return replace(fit, evaluation=found, inputs=[x], y=y, data=data)


# The verdict


def test_the_verdict_is_first_and_its_reasons_follow() -> None:
    assert FIT.gate.passed
    (heading,) = PAGE.all("h1")
    assert text(heading) == "Gate passed"
    assert text(PAGE.all("header")[0]).startswith(
        "Gate passed The optimiser has converged, and both parameters are within 4 standard errors"
        " of the truth. "
    )
    assert [text(item) for item in PAGE.all("header")[0].iter("li")] == [
        minus(reason) for reason in FIT.gate.reasons
    ]


@pytest.mark.parametrize(
    ("fit", "params", "words"),
    [
        (results(epochs=30), PARAMS, "The optimiser has not converged."),
        (
            results(epochs=3),
            PARAMS,
            "The optimiser has not converged, and parameter w is more than 4 standard errors from"
            " the truth.",
        ),
        (results(judged_by(z=0.5)), judged_by(z=0.5), "Parameter w is more than 0.5 standard"),
        (
            results(judged_by(min_r2=0.9999999, max_rmse=0.1)),
            judged_by(min_r2=0.9999999, max_rmse=0.1),
            "The fit breaks 2 rules of the gate.",
        ),
    ],
    ids=["optimiser", "both", "truth", "quality"],
)
def test_a_failure_is_explained_in_one_sentence(fit: Results, params: Params, words: str) -> None:
    assert not fit.gate.passed
    header = text(shown(fit, params).all("header")[0])
    assert header.startswith(f"Gate failed {words}")
    assert "passed" not in header


def test_a_fit_that_nothing_judged_is_not_praised() -> None:
    params = own_table()
    header = text(shown(results(params), params).all("header")[0])
    assert "The optimiser has converged, and no rule judges the quality of the fit." in header


# Sources of error


@pytest.mark.parametrize("epochs", [3, 30, 100])
def test_the_optimiser_error_is_drawn_beside_the_tolerance(epochs: int) -> None:
    fit = results(epochs=epochs)
    chart = shown(fit).charts()["optimiser"]
    ((_, tolerance), _), *_ = chart.points("limit")
    *_, (_, last) = chart.points("fitted")[0]
    converged = optimiser_error(fit.evaluation.fitted, fit.data) <= 1e-9
    assert (last > tolerance) == converged  # y grows downwards
    assert chart.caption.startswith("Converged" if converged else "Not converged")
    assert "tolerance: 1e−9" in chart.key


@pytest.mark.parametrize(("epochs", "limit"), [(100, 4.0), (100, 0.4), (12, 4.0), (3, 4.0)])
def test_the_distance_from_the_truth_is_drawn_beside_the_limit(epochs: int, limit: float) -> None:
    params = judged_by(z=limit)
    fit = results(params, epochs=epochs)
    z, found = fit.evaluation.z, fit.evaluation
    assert z
    chart = shown(fit, params).charts()["from-truth"]
    low, high = sorted(x for ((x, _), _) in chart.points("limit"))
    (zero,) = (x for ((x, _), _) in chart.points("true"))
    unit = (high - zero) / limit
    assert zero - low == pytest.approx(high - zero, abs=0.2)
    dots = [x for ((x, _),) in chart.points("fit")]
    rings = [x for ((x, _),) in chart.points("ring")]
    inside = [name for name in ("w", "b") if abs(z[name]) <= 2 * limit]
    assert dots == pytest.approx([zero + z[name] * unit for name in inside], abs=0.3)
    least = [(found.ols[name] - TRUTH[name]) / found.se[name] for name in ("w", "b")]
    least = [each for each in least if abs(each) <= 2 * limit]
    assert rings == pytest.approx([zero + each * unit for each in least], abs=0.3)
    for name in ("w", "b"):  # what is off the chart is an arrow and a number
        value = minus(multiple(z[name], signed=True))
        assert (f"{name} at {value}" in chart.caption) == (name not in inside)
        assert f"{name} {value} (of which sampling" in chart.description
    arrows = [mark for mark in chart.marks if mark.get("class") == "arrow fit"]
    assert len(arrows) == 2 - len(inside)
    for arrow, name in zip(arrows, (each for each in z if each not in inside), strict=True):
        assert ("l-9 " in arrow.get("d", "")) == (z[name] > 0)  # its point is at the right end
    far = [name for name in ("w", "b") if abs(z[name]) > limit]
    assert chart.caption.startswith(
        f"More than {limit:g} standard errors from the truth: {' and '.join(far)}."
        if far
        else f"Both parameters are within {limit:g} standard errors of the truth."
    )


def test_a_failure_that_no_chart_shows_is_given_in_words_beside_them() -> None:
    params = judged_by(max_rmse=0.1)
    fit = results(params)
    section = shown(fit, params).section("Sources of error")
    assert f"The limits drawn here are met. The gate failed by: {fit.gate.reasons[0]}." in section
    assert "The limits drawn here" not in PAGE.section("Sources of error")
    assert "The limits drawn here" not in shown(results(epochs=3)).section("Sources of error")


def test_without_a_truth_nothing_claims_one() -> None:
    params = own_table()
    found = shown(results(params), params)
    assert "A line fitted to data/own/t.csv" in found.text
    assert "Unknown without the true values" in found.section("Sources of error")
    assert "from-truth" not in found.charts()
    assert found.headings()[0] == "Fitted parameters"
    assert list(found.table("name")[0]) == ["name", "fitted", "standard error", "least squares"]
    assert not [mark for mark in found.root.iter() if mark.get("class") in ("true", "goal")]


def test_of_many_parameters_the_farthest_are_drawn() -> None:
    fit = results(plane(14))
    z = fit.evaluation.z
    assert z
    chart = shown(fit, plane(14)).charts()["from-truth"]
    farthest = sorted(z, key=lambda name: -abs(z[name]))[:10]
    assert set(chart.texts("beside")) == set(farthest)
    assert "The chart has the 10 farthest of 15." in chart.caption


def test_the_page_names_the_epoch_from_which_only_sampling_matters() -> None:
    ols, se = FIT.evaluation.ols, FIT.evaluation.se
    states = [{"w": 0.0, "b": 0.0}, *map(FIT.history.parameters, range(100))]
    away = [max(abs(each[name] - ols[name]) / se[name] for name in each) for each in states]
    first = next(epoch for epoch in range(100) if max(away[epoch:]) <= 0.1)
    section = PAGE.section("Sources of error")
    assert f"From epoch {first} on, every parameter is within 0.1 standard errors of" in section
    still = shown(results(epochs=3)).section("Sources of error")
    assert "A parameter is still more than 0.1 standard errors from" in still


@pytest.mark.parametrize(
    ("factor", "epochs", "words"),
    [
        (0.5, 10, "More epochs make it smaller, unless the learning rate"),
        (1.0, 100, "It has stopped getting smaller."),
        (1.1, 50, "It grows, as it does if the learning rate is too large."),
        (0.1, 100, "Only float64's rounding is left of it."),
    ],
)
def test_the_page_says_what_makes_the_optimiser_error_smaller(
    factor: float, epochs: int, words: str
) -> None:
    section = shown(results(factor=factor, epochs=epochs)).section("Sources of error")
    assert f"Fit − least squares. {words}" in section


# Values


@pytest.mark.parametrize("params", [PARAMS, plane(3)], ids=lambda each: each.model)
def test_a_value_has_the_same_digits_in_table_legend_and_curves(params: Params) -> None:
    found = shown(results(params, epochs=30), params)
    last = found.table("epoch")[-1]
    for number, row in enumerate(found.table("name")):
        name = row["name"]
        assert last[name] == row["fitted"]
        chart = found.charts()[f"parameter-{number}"]
        start = found.table("epoch")[0][name]
        assert f"{name}: from {start} to {row['fitted']}" in chart.key
        assert f"least squares: {row['least squares']}" in chart.key
        assert f"true: {row['true']}" in chart.key
        if params is PARAMS:
            assert row["fitted"] in found.charts()["fit"].key[1]
    assert f"mean squared error: {last['loss']} at the end" in found.charts()["loss"].key


def test_standard_errors_are_qualified_where_the_residuals_say_that_the_model_is_wrong() -> None:
    params, fit = own_table(), bent()
    words = "These standard errors assume that the model is right. The residuals say"
    found = shown(fit, params)
    assert words in found.section("Fitted parameters")
    assert "; but the residuals show a bend that the model does not follow." in found.text
    assert words not in shown(results(params), params).text
    assert words not in shown(fit).text  # drawn from the model: chance
    assert "The residuals do not look like noise." in found.section("Fit and residuals")


def test_residuals_are_described_in_proportion() -> None:
    section = PAGE.section("Fit and residuals")
    checks = examine(FIT.inputs, FIT.y, FIT.evaluation.fitted, FIT.data).checks
    rows = PAGE.table("test for")
    assert [row["test for"] for row in rows] == [check.about for check in checks]
    for row, check in zip(rows, checks, strict=True):
        assert float(row["p"]) == pytest.approx((check.as_much + 1) / 1001, rel=0.05)
    assert "The residuals look like noise." in section
    assert "The gate does not judge these tests." in section
    odd = replace(FIT, y=FIT.y + 9 * (np.arange(79) == 40))
    assert "so small p-values here are chance." in shown(odd).section("Fit and residuals")
    own = shown(odd, own_table()).section("Fit and residuals")
    assert re.search(r"The residuals (may )?show a shape other than the normal's bell", own)
    levels = judged_by(bend=0.01)
    words = "The gate fails a fit with a p-value for bend below 0.01."
    assert words in shown(results(levels), levels).text
    noiseless = shown(results(noise=0.0)).text
    assert "The residuals were not tested: there is nothing but rounding in them." in noiseless


def test_the_farthest_point_is_named_by_an_x_that_can_be_looked_up() -> None:
    x: Array = 1_700_000_000 + 3600 * np.arange(79.0)
    y = FIT.y.copy()
    y[30] += 60
    data = compressed(LINE, [x], y)
    found = replace(FIT.evaluation, fitted=data.solution)
    far = shown(replace(FIT, evaluation=found, inputs=[x], y=y, data=data))
    assert f"from the line, at x = {1_700_000_000 + 3600 * 30}." in far.text


@pytest.mark.parametrize(
    ("r2", "words"),
    [(0.99999428, "0.9999943"), (1 - 2**-40, "1 − 9.1e−13"), (0.8712, "0.87"), (None, "–")],
)
def test_the_r2_of_the_holdout_has_as_many_digits_as_matter(r2: float | None, words: str) -> None:
    found = replace(FIT.evaluation, holdout_rows=20, holdout_rmse=1.4, holdout_r2=r2)
    row = shown(replace(FIT, evaluation=found)).table("rows")[1]
    assert row == {"rows": "held out", "count": "20", "RMSE": "1.4", "R²": words}


def test_every_input_is_on_the_page() -> None:
    section = PAGE.section("Inputs")
    assert "99 drawn from y = 20 x + 5 + normal noise (standard deviation 1.5)" in section
    assert "seed 20200910" in section
    assert FIT.data_sha256 in section
    values = {row["key"]: row["value"] for row in PAGE.table("key")}
    assert values.keys() == PARAMS.flat().keys()
    for key, value in PARAMS.flat().items():
        assert (values[key] if isinstance(value, str) else yaml_text.load(values[key])) == value


# Epochs


@pytest.mark.parametrize("epochs", [1, 5, LONG + 1])
def test_every_chart_and_table_by_epoch_begins_with_the_start(epochs: int) -> None:
    fit = results(epochs=epochs)
    found = shown(fit)
    rows = found.table("epoch")
    assert [rows[0][name] for name in ("epoch", "w", "b")] == ["0", "0.0000", "0.00"]
    assert rows[0]["loss"] == f"{fit.history.loss[0]:.4g}".replace("e+0", "e")
    assert rows[-1]["epoch"] == f"{epochs:,}"
    assert [float(row["loss"]) for row in rows][-1] == pytest.approx(
        fit.data.mean_squared_error(fit.evaluation.fitted), rel=1e-3
    )
    for name in ("loss", "optimiser", "parameter-0", "parameter-1"):
        chart = found.charts()[name]
        curve = chart.points("fitted")[0]
        assert chart.texts("under")[0] == "0"
        assert [curve[0][0], curve[-1][0]] == pytest.approx([0, chart.width], abs=0.2)
    ((start,),) = found.charts()["path"].points("start")
    assert start == found.charts()["path"].points("fitted")[0][0]


def test_the_course_pairs_each_loss_with_its_parameters() -> None:
    course = Course.of(FIT)
    for state, loss in zip(course.parameters(), course.loss, strict=True):
        assert loss == pytest.approx(FIT.data.mean_squared_error(state), rel=1e-9)


def test_a_long_training_makes_no_long_page() -> None:
    course = Course.of(results(epochs=5 * LONG))
    assert len(course.shown) <= EPOCHS_SHOWN + 20
    assert course.shown[[0, 1, 2, 3, -1]].tolist() == [0, 1, 2, 3, 5 * LONG]
    assert {50, 500, 1000, 2000} <= set(course.shown)
    assert len(page.render(PARAMS, results(epochs=5 * LONG))) < 120_000


def test_another_loss_is_never_called_the_mean_squared_error() -> None:
    lines = [{"w": 0.0, "b": 0.0}, *map(FIT.history.parameters, range(99))]
    loss = np.array(
        [special.huber(0.2, FIT.y - LINE.at(line, FIT.inputs)).mean() for line in lines]
    )
    history = replace(FIT.history, loss=loss)
    convergence = Convergence.of(history, FIT.data)
    assert not convergence.squared
    found = shown(replace(FIT, history=history, convergence=convergence))
    chart = found.charts()["loss"]
    assert "It is not the mean squared error." in chart.description
    assert chart.texts("name first") == ["training loss"]
    assert chart.points("least") == []
    assert len(chart.key) == 1
    assert found.table("epoch")[-1]["loss"] == "–"
    assert "The training loss is not that of least squares" in found.text


# Other models

LONG_NAME = "temperature_at_two_metres_height"
QUADRATIC = drawn("quadratic", {"c": 0.1, "w": -3.0, "b": 5.0})
MODELS = {"line": PARAMS, "quadratic": QUADRATIC, "plane of 3": plane(3), "plane of 10": plane(10)}


@pytest.mark.parametrize("params", MODELS.values(), ids=MODELS)
def test_the_table_of_any_model_has_the_numbers_of_numpys_least_squares(params: Params) -> None:
    fit = results(params)
    first = fit.inputs[0]
    columns = [first**2, first] if params.model == "quadratic" else fit.inputs
    terms = np.stack([*columns, np.ones(79)], axis=1)
    solution, (squares,), *_ = np.linalg.lstsq(terms, fit.y, rcond=None)
    variance = squares / (79 - terms.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(terms.T @ terms)))
    assert params.true_parameters
    rows = shown(fit, params).table("name")
    for row, (name, true), value, error in zip(
        rows, params.true_parameters.items(), solution, errors, strict=True
    ):
        fitted, shown_error, ols, shown_true, z = (
            float(cell.replace("−", "-")) for cell in list(row.values())[1:]
        )
        assert (row["name"], shown_true) == (name, true)
        assert shown_error == pytest.approx(error, rel=0.05)
        assert fitted == ols == pytest.approx(value, abs=0.06 * error)
        assert z == pytest.approx((value - true) / error, abs=0.006)


@pytest.mark.parametrize("params", MODELS.values(), ids=MODELS)
def test_every_chart_of_any_model_has_words_and_marks(params: Params) -> None:
    found = shown(results(params, epochs=20), params)
    count, charts = len(params.kind.names), found.charts()
    parameters = [f"parameter-{number}" for number in range(min(count, 5))]
    expected = ["from-truth", "optimiser", "fit", "residuals", "loss", *parameters]
    assert list(charts) == expected + ["path"] * (params is PARAMS)
    for svg in (figure.find("svg") for figure in found.all("figure")):
        assert svg is not None
        assert svg.get("role") == "img"
        named = {each.get("id") for each in svg if each.tag in ("title", "desc")}
        assert named == {svg.get("aria-labelledby"), svg.get("aria-describedby")}
    for chart in charts.values():
        assert chart.title
        assert len(chart.description) > 25
        assert len(chart.key) >= 2
        assert [mark for mark in chart.marks if mark.get("points") or mark.get("d")]
    note = f"{count - 5} more parameters have no chart; the table has them all."
    assert (note in found.text) == (count > 5)
    assert list(found.table("epoch")[0]) == ["epoch", "loss", *params.kind.names]
    if params is not PARAMS:
        assert not re.search(r"\b(a|the|fitted|true) line\b", found.text)


def test_the_curve_of_a_quadratic_is_drawn_through_its_points() -> None:
    chart = shown(results(QUADRATIC, noise=0.0), QUADRATIC).charts()["fit"]
    assert "true: c = 0.1, w = −3, b = 5" in chart.key
    (curve,), (dots,) = (np.array(chart.points(kind)) for kind in ("fitted", "points"))
    assert (len(curve), len(dots)) == (200, 79)
    # Coordinates have one decimal; the slope is a few at most.
    assert np.abs(np.interp(dots[:, 0], *curve.T) - dots[:, 1]).max() < 0.5


def test_a_plane_is_drawn_as_observed_against_fitted() -> None:
    charts = shown(results(plane(3)), plane(3)).charts()
    assert "79 points, observed y against fitted y, with the fitted model" in (
        charts["fit"].description
    )
    assert [charts[name].texts("name") for name in ("fit", "residuals")] == [["fitted y"]] * 2


@pytest.mark.parametrize(("rows", "on_top"), [(79, True), (2000, False)])
def test_a_few_points_lie_over_the_lines_and_many_under_them(rows: int, on_top: bool) -> None:
    """So points hide no line, and no line hides all points."""
    x = np.linspace(1.0, 99.0, rows)
    charts = shown(replace(FIT, inputs=[x], y=LINE.at(FIT.evaluation.fitted, [x]))).charts()
    for chart in (charts["fit"], charts["residuals"]):
        kinds = [mark.get("class", "").split()[0] for mark in chart.marks]
        assert sorted(kinds) == ["fitted", "points", "true"]
        assert (kinds.index("points") > kinds.index("fitted")) == on_top


def test_inputs_that_lie_alike_are_listed_together() -> None:
    whole = plane(3).model_dump(mode="json")
    each = {"spacing": "uniform", "low": 0.0, "high": 9.0}
    whole["generate"]["x"] = {"x1": {**each, "spacing": "grid"}, "x2": each, "x3": each}
    section = shown(results(plane(3)), Params.model_validate(whole)).section("Inputs")
    assert (
        "99 drawn from the model plane (w_x1 = 0.5, w_x2 = 1.5, w_x3 = 2.5, b = 5) + normal noise"
        " (standard deviation 1.5), x1 evenly spaced from 0 to 9, x2, x3 at random from 0 to 9,"
    ) in section
    assert "terms standardised, on 5 points that have the same loss as all rows" in section


def test_a_model_without_a_constant_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Linear(("x",), {"w": lambda x: x})
    monkeypatch.setattr(model, "RAY", ray, raising=False)
    params = drawn("ray", {"w": 20.0})
    found = shown(results(params), params)
    assert "The model ray fitted to 99 points drawn around a known one" in found.text
    assert "Parameter w is within 4 standard errors of the truth." in found.text
    assert "path" not in found.charts()


# Nothing from elsewhere


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    assert HTML.startswith("<!DOCTYPE html>\n<html")
    assert not {"script", "link", "img", "iframe", "object"} & set(PAGE.tags)
    assert not re.search(r"https?:|//|@import|url\(|\bon\w+=|javascript:", HTML)
    (policy,) = (meta for meta in PAGE.all("meta") if "http-equiv" in meta.attrib)
    assert policy.get("content") == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\"b'c&d", "x\u202ey", "\x00\x1b[2J"]
)
def test_a_columns_name_is_only_text(name: str) -> None:
    params = own_table(x=name, y=f"{name} y", table=f"data/own/{name.replace('/', '')}.csv")
    html = page.render(params, results(params))
    found = Page(html)
    assert set(found.tags) == set(PAGE.tags)
    assert not re.search("[\u202a-\u202e\x00\x1b]", html)
    plain = re.sub("[\u202a-\u202e\x00\x1b]", "\ufffd", name)
    assert found.charts()["fit"].texts("name")[0] == plain
    assert f"{plain} y against {plain}" in found.section("Inputs")


def test_a_name_that_the_template_has_and_the_content_has_not_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = page._content(PARAMS, FIT)
    monkeypatch.setattr(page, "_content", lambda *_: {**content, "facts": [], "about": "<b>"})
    assert "&lt;b&gt;" in page.render(PARAMS, FIT)
    del content["headline"]
    with pytest.raises(UndefinedError, match="headline"):
        page.render(PARAMS, FIT)


# Readable by everyone


def test_headings_are_in_order() -> None:
    levels = [int(tag[1]) for tag in PAGE.tags if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, 2, 2, 2, 2, 2]
    assert PAGE.headings() == [
        "Fitted and true",
        "Sources of error",
        "Fit and residuals",
        "Optimisation path",
        "Inputs",
    ]


def test_tables_name_their_rows_and_columns_and_scroll_by_keyboard() -> None:
    tables = PAGE.all("table")
    assert len(tables) == 5
    assert all(text(table.find("caption")) for table in tables)
    assert {cell.get("scope") for cell in PAGE.all("th")} == {"row", "col"}
    for table in tables:
        assert all(cell.get("scope") == "row" for cell in table.iterfind("tbody/tr/th"))
        assert all(row[0].tag == "th" for row in table.iter("tr"))
    boxes = [box for box in PAGE.all("div") if box.get("role") == "region"]
    assert [box.get("tabindex") for box in boxes] == ["0"] * 5
    assert all(text(box.find("table/caption")) == box.get("aria-label") for box in boxes)
    ids = [element.get("id") for element in PAGE.root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) == 2 * len(PAGE.charts())


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def mixed(top: str, ground: str, opacity: float) -> str:
    """Return the colour that a translucent one makes on another."""
    pairs = [(int(top[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag(scheme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[scheme == "dark"]))

    def contrast(one: str, other: str) -> float:
        a, b = sorted((luminance(colours[one]), luminance(colours[other])))
        return (b + 0.05) / (a + 0.05)

    for ground in ("ground", "panel"):
        for words in ("ink", "soft", "passed", "failed"):
            assert contrast(words, ground) >= 4.5, words
    opacity = float(re.search(r"\.true \{.*?opacity: ([.\d]+)", STYLE)[1])  # type: ignore[index]
    colours["true"] = mixed(colours["true"], colours["ground"], opacity)
    for mark in ("fitted", "true", "least", "points", "dots", "other", "contour"):
        assert contrast(mark, "ground") >= 3, mark
    assert contrast("dots", "true") >= 3  # dots lie on the true line


def test_every_mark_and_every_class_has_a_style() -> None:
    found = shown(results(epochs=3))
    used = {name for each in found.root.iter() for name in each.get("class", "").split()}
    styled = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"/\*.*?\*/", "", STYLE, flags=re.DOTALL)))
    assert used - styled <= {"of2-1", "texts"}


# Extreme numbers


@pytest.mark.parametrize("epochs", [1, 2, LONG + 1])
@pytest.mark.parametrize("noise", [0.0, 1.5, 1e-12, 1e150])
@pytest.mark.parametrize("params", [PARAMS, QUADRATIC, plane(3)], ids=lambda each: each.model)
def test_extreme_numbers_give_a_page_without_nan(params: Params, epochs: int, noise: float) -> None:
    html = page.render(params, results(params, epochs=epochs, noise=noise))
    Page(html)
    assert not re.search(r"[\d \"(,-](nan|inf)\b", html)


def test_a_training_that_grows_beyond_all_bounds_has_a_page() -> None:
    found = shown(results(factor=-7.0, epochs=300))
    assert not re.search(r"\b(nan|inf)\b", found.text)
    assert text(found.all("h1")[0]) == "Gate failed"
    assert (
        len([m for m in found.charts()["from-truth"].marks if m.get("class") == "arrow fit"]) == 2
    )
