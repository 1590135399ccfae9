"""The report: what it says is what was found, and nothing on it comes from elsewhere."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from knownline.report.style import SHEET
from scipy import special

from knownline.core.formatting import minus
from knownline.core.line import Line
from knownline.core.moments import compress
from knownline.evaluate.residuals import examine
from knownline.evaluate.statistics import Way, assess, judge
from knownline.params import Params
from knownline.report import page
from knownline.report.charts import EPOCHS_SHOWN, LONG, ShownEpochs
from knownline.report.page import Subject, render
from tests.conftest import ROOT

Array = npt.NDArray[np.float64]
DEFAULTS = (ROOT / "params.yaml").read_text()
TRUTH = Line(20.0, 5.0)


def params() -> Params:
    return Params.parse(DEFAULTS)


def own_table(x: str = "x", y: str = "y", table: str = "data/own/t.csv") -> Params:
    whole = params().model_dump()
    whole["truth"] = None
    whole["generate"] |= {"table": table, "columns": {"x": x, "y": y}}
    return Params.model_validate(whole)


def subject(
    wanted: Params | None = None,
    *,
    truth: Line | None = TRUTH,
    noise: float = 1.5,
    epochs: int = 100,
    left: float = 0.5,
    shift: float = 0.0,
) -> Subject:
    """Return what a fit leads to whose distance from least squares shrinks by `left` an epoch."""
    wanted = wanted or params()
    x = np.linspace(1.0, 99.0, 79)
    y = TRUTH.at(x) + shift + noise * np.random.default_rng(1).standard_normal(79)
    rows = compress([(x, y)])
    ols = rows.least_squares()
    share = 1 - left ** np.arange(0.0, epochs + 1)
    loss = np.array([rows.mean_squared_error(Line(ols.w * s, ols.b * s)) for s in share[:-1]])
    w, b = ols.w * share[1:], ols.b * share[1:]
    line = Line(float(w[-1]), float(b[-1]))
    way = Way.of(loss, w, b, rows=rows)
    found = assess(line, train=rows, holdout=None, truth=truth, last_loss=float(loss[-1]))
    return Subject(
        found=found,
        gate=judge(found, wanted.evaluate, wanted.train, way),
        params=wanted,
        x=x,
        y=y,
        rows=rows,
        way=way,
        loss=loss,
        w=w,
        b=b,
        residuals=examine(x, y, line, rows=rows),
        data_sha256="d" * 64,
        fingerprint="f" * 64,
    )


class Page(HTMLParser):
    """The elements of a page, and its text; every element must be closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_verdict_is_the_first_heading_and_its_reasons_follow() -> None:
    of = subject()
    shown = Page(render(of)).text
    assert of.gate.passed
    start = shown.index("Gate passed A line") if "Gate passed A line" in shown else 0
    at = [shown.index(minus(reason), start) for reason in of.gate.reasons]
    assert at == sorted(at)
    assert at[-1] < shown.index("Fitted and true")


def test_a_refusal_says_so_and_who_left_the_error() -> None:
    shown = Page(render(subject(epochs=3))).text
    assert "Gate refused" in shown
    assert "Gate passed" not in shown
    assert "The optimiser's part is still larger than a tenth of a standard error." in shown


def test_the_table_has_fitted_error_least_squares_and_truth() -> None:
    of = subject()
    shown = Page(render(of)).text
    found = of.found
    assert found.z
    line, se, ols, z = found.line, found.se, found.ols, found.z
    rows = f"w b fitted {line.w:.4f} {line.b:.2f} ± error {se.w:.4f} {se.b:.2f}"
    rows += f" least squares {ols.w:.4f} {ols.b:.2f} true 20 5 errors away {z.w:+.2f} {z.b:+.2f}"
    assert rows.replace("-", "−") in shown


@pytest.mark.parametrize("name", ["w", "b"])
def test_the_two_parts_of_the_error_are_what_they_are_called(name: str) -> None:
    of = subject(epochs=6)
    known = (of.found.line, of.found.ols, TRUTH, of.found.se)
    fitted, ols, true, se = (getattr(part, name) for part in known)
    html = render(of)
    assert f"{name}: the sample left {abs(ols - true) / se:.2f} standard errors" in html
    assert f"{name}: the optimiser left {abs(fitted - ols) / se:.2f} standard errors" in html


def test_without_a_truth_nothing_claims_one() -> None:
    html = render(subject(own_table(), truth=None))
    shown = Page(html).text
    assert "A line through data/own/t.csv" in shown
    assert "The sample's part cannot be known without a truth" in shown
    assert ">true: " not in html
    assert "errors away" not in shown
    assert 'class="true"' not in html
    assert 'class="goal"' not in html


def test_it_says_from_which_epoch_on_the_sample_is_what_is_left() -> None:
    of = subject()
    far = np.maximum(
        np.abs(of.w - of.found.ols.w) / of.found.se.w, np.abs(of.b - of.found.ols.b) / of.found.se.b
    )
    first = int(np.flatnonzero(far > 0.1)[-1]) + 1
    assert f"From epoch {first} on the optimiser's part is" in Page(render(of)).text


def test_a_curve_that_leaves_its_picture_is_told_of() -> None:
    words = "Where a curve leaves the picture, less than 10⁻⁹ standard errors are left."
    assert words in Page(render(subject())).text
    assert words not in Page(render(subject(epochs=20))).text


@pytest.mark.parametrize(("rows", "over"), [(79, True), (2000, False)])
def test_points_hide_no_line_and_are_hidden_by_none(rows: int, over: bool) -> None:
    """A few lie over the lines, of which enough is seen between them; many lie under these."""
    of = subject()
    x = np.linspace(1.0, 99.0, rows)
    html = render(replace(of, x=x, y=of.found.line.at(x)))
    for title in ("The fit", "What the line leaves"):
        drawn = html[html.index(f"<figcaption>{title}<") :].partition("</svg>")[0]
        dots, line = drawn.index('<path class="points'), drawn.index('<polyline class="fitted')
        assert (dots > line) == over


def test_what_the_holdout_says_has_digits_that_mean_something() -> None:
    of = subject()
    for r2, said in (
        (0.99999428, "R² = 0.9999943."),
        (1 - 2**-40, "R² = 1 − 9.1e−13."),
        (0.8712, "R² = 0.87."),
        (None, "there 1.4."),
    ):
        found = replace(of.found, holdout_rows=20, holdout_rmse=1.4, holdout_r2=r2)
        shown = Page(render(replace(of, found=found))).text.replace("\u00a0", " ")
        assert said in shown


def test_what_went_in_is_on_the_page() -> None:
    shown = Page(render(subject())).text
    assert "99 drawn from y = 20 x + 5 + normal noise (standard deviation 1.5)" in shown
    assert "seed 20200910" in shown
    assert "d" * 64 in shown
    assert f"tags.fingerprint = '{'f' * 64}'" in shown
    for key, value in params().flat().items():
        said = re.search(rf"{re.escape(key)} (\S+)", shown[shown.index("parameter value") :])
        assert said
        assert yaml.safe_load(said[1]) == value


def test_the_residuals_are_described_in_words() -> None:
    of = subject()
    shown = Page(render(of)).text
    for check in of.residuals.checks:
        assert f"sign of {check.about}: " in shown
        assert (
            f"{format(check.as_much, ',') if check.as_much else 'none'} of 1,000 samples" in shown
        )
        assert f"({check.name} = " in shown
    assert "None of this decides the gate." in shown
    signs = any(check.sign != "none" for check in of.residuals.checks)
    assert ("drawn from a line with normal noise" in shown) == signs
    silent = Page(render(subject(noise=0.0))).text
    assert "No more can be said: there is nothing but rounding in them." in silent


def test_the_farthest_point_can_be_found_by_what_is_said() -> None:
    of = subject()
    t: Array = 1_700_000_000 + 3600 * np.arange(79.0)
    y = of.y.copy()
    y[30] += 60
    rows = compress([(t, y)])
    ols = rows.least_squares()
    residuals = examine(t, y, ols, rows=rows)
    html = render(replace(of, x=t, y=y, rows=rows, residuals=residuals))
    assert f"from the line, at x = {1_700_000_000 + 3600 * 30}." in html


def test_a_line_that_has_not_arrived_is_told_apart_from_the_noise() -> None:
    words = "the rest is asked of what least squares leaves"
    assert words in Page(render(subject(epochs=3))).text
    assert words not in Page(render(subject())).text


def huber(of: Subject, delta: float) -> Subject:
    """Return the same training with scipy's Huber loss written down as its own."""
    before = [Line(0.0, 0.0), *(Line(*at) for at in zip(of.w[:-1], of.b[:-1], strict=True))]
    loss = np.array([special.huber(delta, of.y - line.at(of.x)).mean() for line in before])
    return replace(of, loss=loss, way=Way.of(loss, of.w, of.b, rows=of.rows))


def test_a_loss_of_ones_own_is_never_called_the_squared_one() -> None:
    of = huber(subject(), 0.2)
    assert not of.way.squared
    html = render(of)
    said = re.search(r'aria-label="(The loss that the training had .*?)"', html)
    assert said
    assert said[1] == (
        f"The loss that the training had goes from {of.loss[0]:.4g} to {of.loss[-1]:.4g} in 100"
        " epochs; it is not the mean squared error."
    )
    assert ">mean squared error<" not in html
    assert "the training's loss is another than least squares', so it need not" in Page(html).text
    drawn = html[html.index("The loss by epoch") : html.index("part by epoch</")]
    assert "least squares" not in drawn
    assert 'class="least"' not in drawn


def test_charts_count_epochs_as_history_csv_does() -> None:
    for epochs in (5, LONG + 1):
        html = render(subject(epochs=epochs))
        drawn = html[html.index("The loss by epoch") : html.index("part by epoch</")]
        under = re.findall(r'class="under" x="(.*?)" .*?>(.*?)<', drawn)
        points = re.search(r'class="fitted" points="(\S+),', drawn)
        assert points
        assert under[0][1] == "0"
        assert points[1] == "0"
        assert "the first is" not in html


# Nothing from elsewhere


def test_nothing_is_loaded_and_nothing_runs() -> None:
    html = render(subject())
    found = Page(html)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in found.found}
    assert not re.search(r"https?:|//|@import|url\(|\bon\w+=|javascript:", html)
    (policy,) = (m for m in found.all("meta") if "http-equiv" in m)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a\"b'c&d", "x\u202ey", "\x00\x1b[2J"]
)
def test_a_columns_name_is_text_and_nothing_else(name: str) -> None:
    html = render(subject(own_table(x=name, table=f"data/own/{name.replace('/', '')}.csv")))
    found = Page(html)
    assert "script" not in {tag for tag, _ in found.found}
    assert not re.search("[\u202a-\u202e\x00\x1b]", html)


# To be read by everyone


def test_headings_go_down_one_step_at_a_time() -> None:
    levels = [
        int(tag[1]) for tag, _ in Page(render(subject())).found if re.fullmatch("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_question_the_page_answers_is_a_heading() -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", render(subject()))
    assert heads == [
        "Fitted and true",
        "Who left the error",
        "The fit and what it leaves",
        "How the training went",
        "From what",
        "Do it again",
    ]


def test_every_picture_says_what_it_shows() -> None:
    found = Page(render(subject()))
    drawn = [svg for svg in found.all("svg") if svg.get("viewbox") and "aria-hidden" not in svg]
    assert len(drawn) == 8
    for picture in drawn:
        assert picture["role"] == "img"
        assert len(picture["aria-label"] or "") > 40


def test_tables_name_their_rows_and_columns() -> None:
    found = Page(render(subject()))
    assert len(found.all("caption")) == len(found.all("table")) == 3
    assert {cell["scope"] for cell in found.all("th")} == {"row", "col"}
    assert all(box["tabindex"] == "0" for box in found.all("div") if box.get("role") == "region")


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def mixed(over: str, ground: str, opacity: float) -> str:
    """Return the colour that one of some opacity makes on another."""
    pairs = [(int(over[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", SHEET, flags=re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[scheme == "dark"]))

    def contrast(one: str, other: str) -> float:
        a, b = sorted((luminance(colours[one]), luminance(colours[other])))
        return (b + 0.05) / (a + 0.05)

    for ground in ("ground", "panel"):
        for words in ("ink", "soft", "passed", "refused"):
            assert contrast(words, ground) >= 4.5, words
    opacity = float(re.search(r"\.true \{.*?opacity: ([.\d]+)", SHEET)[1])  # type: ignore[index]
    colours["true"] = mixed(colours["true"], colours["ground"], opacity)
    for mark in ("fitted", "true", "least", "points", "dots", "other", "contour"):
        assert contrast(mark, "ground") >= 3, mark
    assert contrast("dots", "true") >= 3  # it lies on the other


# The same bytes


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {root!r})
from tests.test_page import subject, render
print(hashlib.sha256(render(subject()).encode()).hexdigest())
"""


def made(cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(root=str(ROOT))],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_page_is_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    simd = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    first = made(tmp_path, PYTHONHASHSEED="1")
    env: dict[str, Any] = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    assert made(tmp_path, **env, NPY_DISABLE_CPU_FEATURES=" ".join(simd)) == first


def test_a_long_training_makes_no_long_page() -> None:
    course = ShownEpochs.of(*(np.arange(1.0, 1_000_001.0),) * 3)
    assert len(course.shown) <= EPOCHS_SHOWN
    assert (course.shown[0], course.shown[-1]) == (0, 999_999)
    assert course.loss.tolist() == (course.shown + 1).tolist()
    assert len(render(subject(epochs=5 * LONG))) < 200_000


@pytest.mark.parametrize("epochs", [1, 2, LONG, LONG + 1])
@pytest.mark.parametrize("noise", [0.0, 1.5, 1e-12, 1e150])
def test_odd_numbers_give_a_page_too(epochs: int, noise: float) -> None:
    html = render(subject(epochs=epochs, noise=noise))
    Page(html)
    assert not re.search(r"[\d \"(,-](nan|inf)\b", html)


def test_the_module_names_no_file() -> None:
    assert "open(" not in Path(page.__file__).read_text()


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (subject(left=0.5, epochs=10), "more epochs make it smaller, unless the learning rate"),
        (subject(left=1.0), "it has stopped getting smaller"),
        (subject(left=1.0, epochs=3000), "it has stopped getting smaller"),
        (subject(left=1.1, epochs=50), "it grows, as it does where the learning rate is too large"),
        (subject(left=0.9999), "more epochs make it smaller, unless the learning rate is too"),
        (subject(left=0.1), "what is left of it is float64's rounding"),
        (subject(epochs=1), "more epochs make it smaller, unless the learning rate is too large"),
    ],
)
def test_what_makes_the_optimisers_part_smaller_is_true(of: Subject, words: str) -> None:
    assert f"fit − least squares: {words}" in Page(render(of)).text
