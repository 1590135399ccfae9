"""The report: one page in one file, for people. Verdict first, then why, then from what.

No script and no address in it: what it shows is there when it is read without a network, in print,
or by a screen reader. The same numbers give the same bytes. Knows nothing of files' places.
"""

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import (
    counted,
    minus,
    multiple,
    plain,
    r_squared,
    rounded,
    significant,
    to_gap,
)
from knownline.core.line import Line
from knownline.core.yaml_text import in_yaml
from knownline.evaluate import residuals
from knownline.evaluate.residuals import SAMPLES, Residuals
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import Evaluation
from knownline.params import Params
from knownline.report import charts, equations, html
from knownline.report.charts import Chart, ShownEpochs
from knownline.report.svg import safe

Array = npt.NDArray[np.float64]

_HASHES = ("Data, SHA-256", "Fingerprint")

_SIGNS = {"none": "no sign of", "faint": "a faint sign of", "clear": "a clear sign of"}


def render(params: Params, of: Results) -> str:
    """Return the page as HTML."""
    found, course = of.found, ShownEpochs.of(of.loss, of.w, of.b)
    checks = residuals.examine(of.x, of.y, found.line, rows=of.rows)
    verdict = f"Gate {'passed' if of.gate.passed else 'refused'}"
    left_by = _errors(params, of)
    fit, left = charts.points(of.x, of.y, found=found, names=_names(params))
    body = [
        f'<header class="{"passed" if of.gate.passed else "refused"}">',
        f"<p>{safe(_about(params))}</p>",
        f"<h1>{verdict}</h1>",
        html.bullets([minus(reason) for reason in of.gate.reasons]),
        "</header>",
        html.section(
            "Fitted and true" if found.truth else "The fitted line",
            _coefficients(found) + _rest(found),
        ),
        html.section(left_by.title, html.figures([left_by], headed=True)),
        html.section(
            "The fit and what it leaves",
            html.figures([fit, left]) + _checks(checks, normal=_drawn_normal(params)),
        ),
        html.section(
            "How the training went",
            html.figures(
                [
                    _loss(course, of),
                    charts.distance(course, found),
                    charts.coefficient(course, "w", found),
                    charts.coefficient(course, "b", found),
                    charts.path(course, of.rows, found),
                ]
            )
            + _epochs(of),
        ),
        html.section("From what", _provenance(params, of)),
        html.section("Do it again", _again(of)),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f"<title>{verdict}: {safe(_about(params))}</title>",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            # Nothing may be loaded, whoever serves the page: only the style sheet below is.
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<style>\n{html.STYLE.read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _about(params: Params) -> str:
    wanted = params.generate
    if wanted.table:
        return f"A line through {wanted.table}"
    return f"A line through {wanted.rows:,} points drawn from a known one"


def _names(params: Params) -> tuple[str, str]:
    return params.generate.columns.short if params.generate.table else ("x", "y")


def _errors(params: Params, of: Results) -> Chart:
    wanted = params.generate
    shared = wanted.table is None and wanted.noise.kind == "shared-integer"
    return charts.errors(of.found, params.evaluate.z, of.convergence, shared=shared)


def _loss(course: ShownEpochs, of: Results) -> Chart:
    last, least = map(of.rows.mean_squared_error, (of.found.line, of.found.ols))
    return charts.loss(course, last, least if of.convergence.squared else None)


def _coefficients(found: Evaluation) -> str:
    """Return the table of fitted ± error, least squares and truth; a column each for w and b.

    So it is as wide on a telephone, whatever their digits.
    """
    heads = ["fitted", "± error", "least squares"]
    heads += ["true", "errors away"] if found.truth else []
    columns = []
    for name in ("w", "b"):
        fitted, ols, se = (getattr(part, name) for part in (found.line, found.ols, found.se))
        column = [rounded(fitted, se), rounded(se, se), rounded(ols, se)]
        if found.truth and found.z:
            z = getattr(found.z, name)
            column += [plain(getattr(found.truth, name)), multiple(z, signed=True)]
        columns.append(column)
    rows = [list(row) for row in zip(heads, *columns, strict=True)]
    caption = "w: slope; b: value at x = 0; errors are standard errors."
    return html.table(caption, ["", "w", "b"], rows)


def _rest(found: Evaluation) -> str:
    words = f"{counted(found.rows, 'row')} fitted, root mean squared error"
    words += f" {significant(found.train_rmse, 4)}."
    if found.holdout_rmse is None:
        words += " None held out."
    else:
        words += f" {found.holdout_rows:,} held out,"
        words += f" error there {significant(found.holdout_rmse, 4)}"
        if found.holdout_r2 is not None:
            words += f", R²\u00a0=\u00a0{r_squared(found.holdout_r2)}".replace(
                " − ", "\u00a0−\u00a0"
            )
        words += "."
    return f"<p>{minus(words)}</p>"


def _drawn_normal(params: Params) -> bool:
    """Whether the points are a line's with independent normal noise, as this project drew them."""
    return params.generate.table is None and params.generate.noise.kind == "normal"


def _checks(residuals: Residuals, *, normal: bool) -> str:
    """Return what the residuals look like, in words; normal: it is known that the noise is."""
    parts = [
        "<h3>Do they look like noise?</h3>",
        f"<p>{counted(residuals.rows, 'point')} looked at; the farthest lies"
        f" {residuals.farthest:.1f} times their root mean square from the line, at x ="
        f" {minus(to_gap(residuals.farthest_x, residuals.gap))}.",
    ]
    if residuals.unchecked:
        return "\n".join([*parts, f"No more can be said: {residuals.unchecked}.</p>"])
    if any(check.of_the_fit for check in residuals.checks):
        parts[-1] += (
            " The trend is the fitted line's own; the rest is asked of what least squares leaves,"
            " so that the optimiser's part is not taken for the noise's."
        )
    parts[-1] += " None of this decides the gate."
    if normal and any(check.sign != "none" for check in residuals.checks):
        parts[-1] += (
            " These points were drawn from a line with normal noise, so a sign of anything else"
            " is chance."
        )
    parts[-1] += "</p>"
    said = []
    for check in residuals.checks:
        often = f"{check.as_much:,}" if check.as_much else "none"
        said.append(
            f"{_SIGNS[check.sign]} {check.about}: {often} of {SAMPLES:,} samples of pure noise show"
            f" as much ({check.name} = {minus(significant(check.value, 3))})"
        )
    return "\n".join([*parts, html.bullets([words[0].upper() + words[1:] for words in said])])


def _epochs(of: Results) -> str:
    """Return the numbers behind the curves, few enough to be read."""
    last = len(of.loss) - 1
    places = sorted({*range(min(last, 9)), *np.geomspace(1, last + 1, 12).astype(int) - 1, last})
    rows = [
        [f"{n:,}", *(significant(float(part[n]), 6) for part in (of.loss, of.w, of.b))]
        for n in places
    ]
    table = html.table(
        "The loss an epoch began with, and the line it left.", ["epoch", "loss", "w", "b"], rows
    )
    return f"<details><summary>The curves as numbers</summary>\n{table}\n</details>"


def _provenance(params: Params, of: Results) -> str:
    train = params.train
    facts = [
        ("Points", _points(params)),
        ("Rows", f"{of.found.rows:,} to fit, {of.found.holdout_rows:,} held out"),
        (
            "Training",
            f"{counted(train.epochs, 'epoch')} of gradient descent at learning rate"
            f" {plain(train.learning_rate)}, {train.dtype},"
            f" x {'standardised' if train.standardize else 'as it is'}, on"
            f" {'three points that have the loss of all rows' if train.compress else 'all rows'}",
        ),
        ("Data, SHA-256", of.identity.data),
        ("Fingerprint", of.identity.fingerprint),
    ]
    terms = "\n".join(
        f"<div><dt>{name}</dt><dd>{html.code(text) if name in _HASHES else safe(text)}</dd></div>"
        for name, text in facts
    )
    flat = params.flat().items()
    rows = [[key, v if isinstance(v, str) else in_yaml(v)] for key, v in flat]
    table = html.table("As params.yaml had them.", ["parameter", "value"], rows, numbers=False)
    return (
        f"<dl>\n{terms}\n</dl>\n<p>The fingerprint is the SHA-256 over the data, the parameters"
        " and the code. The same inputs give the same page, so no time, machine or commit is on it:"
        " MLflow has them with the run.</p>\n"
        f"<details><summary>Every parameter</summary>\n{table}\n</details>"
    )


def _points(params: Params) -> str:
    wanted = params.generate
    if wanted.table:
        return f"{wanted.table}, {wanted.columns.y} against {wanted.columns.x}"
    noise, spaced = wanted.noise, wanted.x
    assert params.truth  # drawn points have one
    line = equations.of_truth(Line(params.truth.w, params.truth.b))
    kinds = {
        "normal": "standard deviation",
        "integer": "up to",
        "shared-integer": "one for all, up to",
    }
    where = "evenly spaced" if spaced.spacing == "grid" else "at random"
    return (
        f"{wanted.rows:,} drawn from {line} + {noise.kind} noise"
        f" ({kinds[noise.kind]} {plain(noise.scale)}), x {where} from {plain(spaced.low)} to"
        f" {plain(spaced.high)},"
        f" seed {wanted.seed}"
    )


def _again(of: Results) -> str:
    return (
        "<p>In the workspace this page was made in, <code>make repro</code> does what changed and"
        " nothing else. A recorded run is found in MLflow by its tag:</p>\n"
        f"<pre tabindex=\"0\">tags.fingerprint = '{of.identity.fingerprint}'</pre>\n"
        "<p>and proved, from its commit, its parameters and its data, bit for bit:</p>\n"
        '<pre tabindex="0">knownline reproduce RUN_ID</pre>'
    )
