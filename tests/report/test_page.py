"""The report shows what was found, loads nothing, and can be read by everyone."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from scipy import special

from knownline import model
from knownline.core import yaml_text
from knownline.core.formatting import minus
from knownline.core.history import History
from knownline.core.kinds import Linear
from knownline.evaluate.gate import Convergence
from knownline.evaluate.residuals import examine
from knownline.evaluate.results import Results
from knownline.model import LINE
from knownline.params import Params
from knownline.report import page
from knownline.report.epoch_charts import EPOCHS_SHOWN, LONG, ShownEpochs
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

STYLE = (ROOT / "src/knownline/report/page.css").read_text()
FIT = results()
HTML = page.render(PARAMS, FIT)


class Page(HTMLParser):
    """The elements of a page, and its text; every element must be closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def text_of(fit: Results, params: Params = PARAMS) -> str:
    return Page(page.render(params, fit)).text


TEXT = Page(HTML).text


def test_the_verdict_is_the_first_heading_and_its_reasons_follow() -> None:
    assert FIT.gate.passed
    heading = TEXT.rindex("Gate passed")
    places = [TEXT.index(minus(reason), heading) for reason in FIT.gate.reasons]
    assert places == sorted(places)
    assert places[-1] < TEXT.index("Fitted and true")


def test_a_refusal_says_so_and_names_the_source_of_the_error() -> None:
    text = text_of(results(epochs=3))
    assert "Gate refused" in text
    assert "Gate passed" not in text
    assert "The optimiser's part is still larger than a tenth of a standard error." in text


def test_the_table_has_the_fit_its_error_least_squares_and_the_truth() -> None:
    found = FIT.evaluation
    assert found.z
    (w, b), (se_w, se_b) = found.fitted.values(), found.se.values()
    (ols_w, ols_b), (z_w, z_b) = found.ols.values(), found.z.values()
    rows = f"w b fitted {w:.4f} {b:.2f} ± error {se_w:.4f} {se_b:.2f}"
    rows += f" least squares {ols_w:.4f} {ols_b:.2f} true 20 5 errors away {z_w:+.2f} {z_b:+.2f}"
    assert rows.replace("-", "−") in TEXT


@pytest.mark.parametrize("name", ["w", "b"])
def test_the_error_is_split_between_the_sample_and_the_optimiser(name: str) -> None:
    fit = results(epochs=6)
    found = fit.evaluation
    fitted, ols, true, se = (each[name] for each in (found.fitted, found.ols, TRUTH, found.se))
    html = page.render(PARAMS, fit)
    assert f"{name}: the sample left {abs(ols - true) / se:.2f} standard errors" in html
    assert f"{name}: the optimiser left {abs(fitted - ols) / se:.2f} standard errors" in html


def test_without_a_truth_nothing_claims_one() -> None:
    params = own_table()
    html = page.render(params, results(params))
    text = Page(html).text
    assert "A line through data/own/t.csv" in text
    assert "The sample's part cannot be known without a truth" in text
    assert "errors away" not in text
    for claim in (">true: ", 'class="true"', 'class="goal"'):
        assert claim not in html


def test_the_page_names_the_epoch_from_which_only_the_sample_matters() -> None:
    ols, se = FIT.evaluation.ols, FIT.evaluation.se
    by_name = [np.abs(FIT.history.of(name) - ols[name]) / se[name] for name in ("w", "b")]
    distance = np.maximum(*by_name)
    first = int(np.flatnonzero(distance > 0.1)[-1]) + 1
    assert f"From epoch {first} on the optimiser's part is" in TEXT


def test_a_curve_that_leaves_its_chart_is_explained() -> None:
    words = "Where a curve leaves the picture, less than 10⁻⁹ standard errors are left."
    assert words in TEXT
    assert words not in text_of(results(epochs=20))


@pytest.mark.parametrize(
    ("factor", "epochs", "words"),
    [
        (0.5, 10, "more epochs make it smaller, unless the learning rate"),
        (1.0, 100, "it has stopped getting smaller"),
        (1.0, 3000, "it has stopped getting smaller"),
        (1.1, 50, "it grows, as it does where the learning rate is too large"),
        (0.9999, 100, "more epochs make it smaller, unless the learning rate is too"),
        (0.1, 100, "what is left of it is float64's rounding"),
        (0.5, 1, "more epochs make it smaller, unless the learning rate is too large"),
    ],
)
def test_the_page_says_what_makes_the_optimisers_part_smaller(
    factor: float, epochs: int, words: str
) -> None:
    text = text_of(results(factor=factor, epochs=epochs))
    assert f"fit − least squares: {words}" in text


@pytest.mark.parametrize(("rows", "on_top"), [(79, True), (2000, False)])
def test_a_few_points_lie_over_the_lines_and_many_under_them(rows: int, on_top: bool) -> None:
    """So points hide no line, and no line hides all points."""
    x = np.linspace(1.0, 99.0, rows)
    y = LINE.at(FIT.evaluation.fitted, [x])
    html = page.render(PARAMS, replace(FIT, inputs=[x], y=y))
    drawings = [figure.partition("<ul")[0] for figure in html.split("<figure")]  # without the key
    charts = [drawing for drawing in drawings if '<path class="points' in drawing]
    for chart in charts:
        assert chart.count('<path class="points') == 1
        dots, line = chart.index('<path class="points'), chart.index('<polyline class="fitted')
        assert (dots > line) == on_top
    assert len(charts) == 2


@pytest.mark.parametrize(
    ("r2", "shown"),
    [
        (0.99999428, "R² = 0.9999943."),
        (1 - 2**-40, "R² = 1 − 9.1e−13."),
        (0.8712, "R² = 0.87."),
        (None, "there 1.4."),
    ],
)
def test_the_r2_of_the_holdout_has_as_many_digits_as_matter(r2: float | None, shown: str) -> None:
    found = replace(FIT.evaluation, holdout_rows=20, holdout_rmse=1.4, holdout_r2=r2)
    assert shown in text_of(replace(FIT, evaluation=found)).replace("\u00a0", " ")


def test_every_input_is_on_the_page() -> None:
    assert "99 drawn from y = 20 x + 5 + normal noise (standard deviation 1.5)" in TEXT
    assert "seed 20200910" in TEXT
    assert "Data, SHA-256" in TEXT
    assert FIT.data_sha256 in TEXT
    table = TEXT[TEXT.index("parameter value") :]
    for key, value in PARAMS.flat().items():
        shown = re.search(rf"{re.escape(key)} (\S+)", table)
        assert shown
        assert (shown[1] if isinstance(value, str) else yaml_text.load(shown[1])) == value


def test_the_residuals_are_described_in_words() -> None:
    checks = examine(FIT.inputs, FIT.y, FIT.evaluation.fitted, FIT.data).checks
    for check in checks:
        assert f"sign of {check.about}: " in TEXT
        assert f"{check.as_much or 'none'} of 1,000 samples" in TEXT
        assert f"({check.name} = " in TEXT
    assert "None of this decides the gate." in TEXT
    assert "drawn from a line with normal noise" not in TEXT  # no sign needs this explanation
    assert {check.sign for check in checks} == {"none"}
    noiseless = text_of(results(noise=0.0))
    assert "No more can be said: there is nothing but rounding in them." in noiseless


def test_the_farthest_point_is_named_by_an_x_that_can_be_looked_up() -> None:
    x: Array = 1_700_000_000 + 3600 * np.arange(79.0)
    y = FIT.y.copy()
    y[30] += 60
    data = compressed(LINE, [x], y)
    found = replace(FIT.evaluation, fitted=data.solution)
    html = page.render(PARAMS, replace(FIT, evaluation=found, inputs=[x], y=y, data=data))
    assert f"from the line, at x = {1_700_000_000 + 3600 * 30}." in html


def test_the_noise_of_a_line_that_has_not_converged_is_judged_around_least_squares() -> None:
    words = "the rest is asked of what least squares leaves"
    assert words in text_of(results(epochs=3))
    assert words not in TEXT


def test_another_loss_is_never_called_the_mean_squared_error() -> None:
    lines = [{"w": 0.0, "b": 0.0}, *map(FIT.history.parameters, range(99))]
    loss = np.array(
        [special.huber(0.2, FIT.y - LINE.at(line, FIT.inputs)).mean() for line in lines]
    )
    history = replace(FIT.history, loss=loss)
    convergence = Convergence.of(history, FIT.data)
    assert not convergence.squared
    html = page.render(PARAMS, replace(FIT, history=history, convergence=convergence))
    assert (
        f"The loss that the training had goes from {loss[0]:.4g} to {loss[-1]:.4g} in 100"
        " epochs; it is not the mean squared error." in html
    )
    assert ">mean squared error<" not in html
    assert "the training's loss is another than least squares', so it need not" in Page(html).text
    chart = html[html.index("The loss by epoch") : html.index("part by epoch</")]
    assert "least squares" not in chart
    assert 'class="least"' not in chart


def test_charts_count_epochs_from_0_as_history_csv_does() -> None:
    for epochs in (5, LONG + 1):
        html = page.render(PARAMS, results(epochs=epochs))
        chart = html[html.index("The loss by epoch") : html.index("part by epoch</")]
        under = re.findall(r'class="under" x="(.*?)" .*?>(.*?)<', chart)
        first = re.search(r'class="fitted" points="(\S+),', chart)
        assert first
        assert (under[0][1], first[1]) == ("0", "0")


# Other models

LONG_NAME = "temperature_at_two_metres_height"
QUADRATIC = drawn("quadratic", {"c": 0.1, "w": -3.0, "b": 5.0})
MODELS = {"quadratic": QUADRATIC, "plane of 3": plane(3), "plane of 10": plane(10)}


@pytest.mark.parametrize("params", MODELS.values(), ids=MODELS)
def test_the_table_of_any_model_has_the_numbers_of_numpys_least_squares(params: Params) -> None:
    fit = results(params)
    first = fit.inputs[0]
    columns = [first**2, first] if params.model == "quadratic" else fit.inputs
    terms = np.stack([*columns, np.ones(79)], axis=1)
    solution, (squares,), *_ = np.linalg.lstsq(terms, fit.y, rcond=None)
    variance = squares / (79 - terms.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(terms.T @ terms)))
    text = text_of(fit, params)
    text = text[text.index("fitted ± error least squares true errors away") :]
    assert params.true_parameters
    table = zip(params.true_parameters.items(), solution, errors, strict=True)
    for (name, true), value, error in table:
        row = re.search(rf" {name} (\S+) (\S+) (\S+) (\S+) (\S+) ", text.replace("−", "-"))
        assert row
        fitted, shown_error, ols, shown_true, away = map(float, row.groups())
        assert shown_true == true
        assert shown_error == pytest.approx(error, rel=0.05)
        assert fitted == ols == pytest.approx(value, abs=0.06 * error)
        assert away == pytest.approx((value - true) / error, abs=0.006)
        assert f" {name}: the sample left " in text


@pytest.mark.parametrize("params", MODELS.values(), ids=MODELS)
def test_every_chart_of_any_model_has_a_description_and_a_mark(params: Params) -> None:
    fit = results(params, epochs=20)
    html = page.render(params, fit)
    drawings = re.findall(r"<figure.*?(<svg viewBox.*?</svg>)\n<ul", html, flags=re.DOTALL)
    count = len(params.kind.names)
    assert len(drawings) == html.count("<figure") == 5 + min(count, 6)
    for drawing in drawings:
        assert len(re.findall('aria-label="(.{40,})"', drawing)) == 1
        assert re.search(r"<(polyline|rect) [^>]*(points=\"\S|width=\"[1-9])", drawing)
    assert "The way over the loss" not in html
    note = f"The charts show the first 6 of {count} parameters; the table below has all."
    assert (note in html) == (count > 6)
    assert re.search(f"epoch loss {' '.join(params.kind.names)} 0 ", Page(html).text)
    assert not re.search(r"\b(a|the|fitted|true) line\b", Page(html).text)


def test_the_curve_of_a_quadratic_is_drawn_through_its_points() -> None:
    fit = results(QUADRATIC, noise=0.0)
    html = page.render(QUADRATIC, fit)
    assert "true: c = 0.1, w = −3, b = 5<" in html
    chart = html[html.index("<figcaption>The fit<") :]
    curve, dots = (
        np.array(re.findall(rf"{number}[ ,]{number}", marks), dtype=float)
        for number in [r"(-?[\d.]+)"]
        for marks in re.findall('class="(?:fitted|points)" (?:points|d)="(.*?)"', chart)[:2]
    )
    assert (len(curve), len(dots)) == (200, 79)
    # Coordinates have one decimal; the slope is a few at most.
    assert np.abs(np.interp(dots[:, 0], *curve.T) - dots[:, 1]).max() < 0.5


def test_a_plane_is_drawn_as_observed_against_fitted() -> None:
    html = page.render(plane(3), results(plane(3)))
    assert "79 points, observed y against fitted y, with the fitted model" in html
    assert html.count(">fitted y<") == 2
    assert "where least squares has y = " in html


def test_more_than_three_parameters_have_one_curve_of_their_distance() -> None:
    for params, curves in ((PARAMS, 2), (QUADRATIC, 3), (plane(3), 1), (plane(10), 1)):
        html = page.render(params, results(params))
        title = "The optimiser&#x27;s part by epoch</figcaption>"
        chart = html[html.index(title) :].partition("</figure>")[0]
        drawing, _, key = chart.partition("<ul")
        assert drawing.count("<polyline") == 1 + curves
        assert ("the parameter that is farthest from least squares. From epoch" in key) == (
            curves == 1
        )


def test_a_long_name_leaves_room_for_the_numbers_over_a_bar() -> None:
    params = drawn("plane", {"w_temperature_at_two_metres_height": 2.0, "b": 5.0}, [LONG_NAME])
    fit = results(params, epochs=6)
    assert fit.evaluation.z
    html = page.render(params, fit)
    labels = re.findall(r'class="above" x="12".*?>(.*?)<', html)
    assert len(labels) == 4
    assert labels[0].startswith("w_temperature_at_two_me…: sample ")
    assert all(len(label) <= 43 for label in labels)
    assert f"w_{LONG_NAME}: the sample left " in html  # in words


def test_inputs_that_lie_alike_are_listed_together() -> None:
    whole = plane(3).model_dump(mode="json")
    each = {"spacing": "uniform", "low": 0.0, "high": 9.0}
    whole["generate"]["x"] = {"x1": {**each, "spacing": "grid"}, "x2": each, "x3": each}
    text = text_of(results(plane(3)), Params.model_validate(whole))
    assert (
        "99 drawn from the model plane (w_x1 = 0.5, w_x2 = 1.5, w_x3 = 2.5, b = 5) + normal noise"
        " (standard deviation 1.5), x1 evenly spaced from 0 to 9, x2, x3 at random from 0 to 9,"
    ) in text
    assert "terms standardised, on 5 points that have the loss of all rows" in text
    assert "generate.columns.x [x1, x2, x3]" in text


def test_a_model_without_a_constant_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Linear(("x",), {"w": lambda x: x})
    monkeypatch.setattr(model, "RAY", ray, raising=False)
    params = drawn("ray", {"w": 20.0})
    text = text_of(results(params), params)
    assert "The model ray through 99 points drawn from a known one" in text
    assert "on 2 points that have the loss of all rows" in text
    assert "The way over the loss" not in text


# Nothing from elsewhere


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    shown = Page(HTML)
    assert not {"script", "link", "img", "iframe", "object"} & set(shown.tags)
    assert not re.search(r"https?:|//|@import|url\(|\bon\w+=|javascript:", HTML)
    (policy,) = (meta for meta in shown.all("meta") if "http-equiv" in meta)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\"b'c&d", "x\u202ey", "\x00\x1b[2J"]
)
def test_a_columns_name_is_only_text(name: str) -> None:
    params = own_table(x=name, table=f"data/own/{name.replace('/', '')}.csv")
    html = page.render(params, results(params))
    assert "script" not in Page(html).tags
    assert not re.search("[\u202a-\u202e\x00\x1b]", html)


# Readable by everyone


def test_headings_go_down_one_level_at_a_time() -> None:
    levels = [int(tag[1]) for tag in Page(HTML).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert levels.count(2) == 6
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_chart_describes_itself() -> None:
    charts = [
        svg for svg in Page(HTML).all("svg") if svg.get("viewbox") and "aria-hidden" not in svg
    ]
    assert len(charts) == 8
    for chart in charts:
        assert chart["role"] == "img"
        assert len(chart["aria-label"] or "") > 40


def test_tables_name_their_rows_and_columns_and_scroll_by_keyboard() -> None:
    shown = Page(HTML)
    assert len(shown.all("caption")) == len(shown.all("table")) == 3
    assert {cell["scope"] for cell in shown.all("th")} == {"row", "col"}
    assert all(box["tabindex"] == "0" for box in shown.all("div") if box.get("role") == "region")


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
        for words in ("ink", "soft", "passed", "refused"):
            assert contrast(words, ground) >= 4.5, words
    opacity = float(re.search(r"\.true \{.*?opacity: ([.\d]+)", STYLE)[1])  # type: ignore[index]
    colours["true"] = mixed(colours["true"], colours["ground"], opacity)
    for mark in ("fitted", "true", "least", "points", "dots", "other", "contour"):
        assert contrast(mark, "ground") >= 3, mark
    assert contrast("dots", "true") >= 3  # dots lie on the true line


# Extreme numbers


def test_a_long_training_makes_no_long_page() -> None:
    numbers = np.arange(1.0, 1_000_001.0)
    shown = ShownEpochs.of(History(("w",), numbers, numbers[None]))
    assert len(shown.shown) <= EPOCHS_SHOWN
    assert shown.shown[[0, 1, 2, 3, -1]].tolist() == [0, 1, 2, 3, 999_999]
    assert shown.loss.tolist() == (shown.shown + 1).tolist()
    assert len(page.render(PARAMS, results(epochs=5 * LONG))) < 200_000


@pytest.mark.parametrize("epochs", [1, 2, LONG, LONG + 1])
@pytest.mark.parametrize("noise", [0.0, 1.5, 1e-12, 1e150])
@pytest.mark.parametrize("params", [PARAMS, QUADRATIC, plane(3)], ids=lambda each: each.model)
def test_extreme_numbers_give_a_page_without_nan(params: Params, epochs: int, noise: float) -> None:
    html = page.render(params, results(params, epochs=epochs, noise=noise))
    Page(html)
    assert not re.search(r"[\d \"(,-](nan|inf)\b", html)
