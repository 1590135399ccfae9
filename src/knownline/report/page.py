"""Writes the report, a single HTML page: the verdict, then the reasons, then the inputs.

It has no script and loads nothing, so it can be read without a network, in print or by a screen
reader. The same numbers give the same bytes. Knows nothing of the files' paths.
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
from knownline.report import epoch_charts, equations, fit_charts, html
from knownline.report.epoch_charts import Chart, ShownEpochs
from knownline.report.svg import safe

Array = npt.NDArray[np.float64]

_DATA = "Data, SHA-256"

_REPRODUCE = (
    "<p>In the workspace that made this page, <code>make repro</code> runs what changed and nothing"
    " else. A run that MLflow has is executed again, from its commit, its parameters and its data,"
    " and compared bit for bit, by:</p>\n"
    '<pre tabindex="0">samerun reproduce RUN</pre>\n'
    "<p>RUN is the run's name or id.</p>"
)

_SIGNS = {"none": "no sign of", "faint": "a faint sign of", "clear": "a clear sign of"}


def render(params: Params, results: Results) -> str:
    """Return the page as HTML."""
    verdict = f"Gate {'passed' if results.gate.passed else 'refused'}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f"<title>{verdict}: {safe(_about(params))}</title>",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            # Whoever serves the page, a browser may load nothing but the style sheet below.
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<style>\n{html.STYLE.read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            "<main>",
            f'<header class="{"passed" if results.gate.passed else "refused"}">',
            f"<p>{safe(_about(params))}</p>",
            f"<h1>{verdict}</h1>",
            html.bullets([minus(reason) for reason in results.gate.reasons]),
            "</header>",
            *_sections(params, results),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _sections(params: Params, results: Results) -> list[str]:
    """Return the sections of the page below its header."""
    evaluation = results.evaluation
    epochs = ShownEpochs.of(results.loss, results.w, results.b)
    checks = residuals.examine(results.x, results.y, evaluation.line, rows=results.rows)
    errors = _errors(params, results)
    names = _names(params)
    fit, fit_residuals = fit_charts.points(results.x, results.y, evaluation=evaluation, names=names)
    return [
        html.section(
            "Fitted and true" if evaluation.truth else "The fitted line",
            _coefficients(evaluation) + _rows_fitted(evaluation),
        ),
        html.section(errors.title, html.figures([errors], headed=True)),
        html.section(
            "The fit and what it leaves",
            html.figures([fit, fit_residuals]) + _checks(checks, normal=_has_normal_noise(params)),
        ),
        html.section(
            "How the training went",
            html.figures(
                [
                    _loss(epochs, results),
                    epoch_charts.distance(epochs, evaluation),
                    epoch_charts.coefficient(epochs, "w", evaluation),
                    epoch_charts.coefficient(epochs, "b", evaluation),
                    epoch_charts.path(epochs, results.rows, evaluation),
                ]
            )
            + _table_of_epochs(results),
        ),
        html.section("From what", _provenance(params, results)),
        html.section("Do it again", _REPRODUCE),
    ]


def _about(params: Params) -> str:
    settings = params.generate
    if settings.table:
        return f"A line through {settings.table}"
    return f"A line through {settings.rows:,} points drawn from a known one"


def _names(params: Params) -> tuple[str, str]:
    return params.generate.columns.short if params.generate.table else ("x", "y")


def _errors(params: Params, results: Results) -> Chart:
    settings = params.generate
    shared = settings.table is None and settings.noise.kind == "shared-integer"
    return fit_charts.errors(
        results.evaluation, params.evaluate.z, results.convergence, shared=shared
    )


def _loss(epochs: ShownEpochs, results: Results) -> Chart:
    last, least = map(
        results.rows.mean_squared_error, (results.evaluation.line, results.evaluation.ols)
    )
    return epoch_charts.loss(epochs, last, least if results.convergence.squared else None)


def _coefficients(evaluation: Evaluation) -> str:
    """Return the table of fitted ± error, least squares and truth, with a column each for w and b.

    With only two columns it fits on a phone, whatever the digits.
    """
    row_names = ["fitted", "± error", "least squares"]
    row_names += ["true", "errors away"] if evaluation.truth else []
    columns = []
    for name in ("w", "b"):
        fitted, ols, se = (
            getattr(part, name) for part in (evaluation.line, evaluation.ols, evaluation.se)
        )
        column = [rounded(fitted, se), rounded(se, se), rounded(ols, se)]
        if evaluation.truth and evaluation.z:
            z = getattr(evaluation.z, name)
            column += [plain(getattr(evaluation.truth, name)), multiple(z, signed=True)]
        columns.append(column)
    rows = [list(row) for row in zip(row_names, *columns, strict=True)]
    caption = "w: slope; b: value at x = 0; errors are standard errors."
    return html.table(caption, ["", "w", "b"], rows)


def _rows_fitted(evaluation: Evaluation) -> str:
    sentence = f"{counted(evaluation.rows, 'row')} fitted, root mean squared error"
    sentence += f" {significant(evaluation.train_rmse, 4)}."
    if evaluation.holdout_rmse is None:
        sentence += " None held out."
    else:
        sentence += f" {evaluation.holdout_rows:,} held out,"
        sentence += f" error there {significant(evaluation.holdout_rmse, 4)}"
        if evaluation.holdout_r2 is not None:
            sentence += f", R²\u00a0=\u00a0{r_squared(evaluation.holdout_r2)}".replace(
                " − ", "\u00a0−\u00a0"
            )
        sentence += "."
    return f"<p>{minus(sentence)}</p>"


def _has_normal_noise(params: Params) -> bool:
    """Return whether the points were drawn around a line with independent normal noise."""
    return params.generate.table is None and params.generate.noise.kind == "normal"


def _checks(residuals: Residuals, *, normal: bool) -> str:
    """Return the checks of the residuals in words; normal: the noise is known to be normal."""
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
    findings = []
    for check in residuals.checks:
        count = f"{check.as_much:,}" if check.as_much else "none"
        findings.append(
            f"{_SIGNS[check.sign]} {check.about}: {count} of {SAMPLES:,} samples of pure noise show"
            f" as much ({check.name} = {minus(significant(check.value, 3))})"
        )
    return "\n".join(
        [*parts, html.bullets([finding[0].upper() + finding[1:] for finding in findings])]
    )


def _table_of_epochs(results: Results) -> str:
    """Return a table of some epochs, few enough to read."""
    last = len(results.loss) - 1
    epochs = sorted({*range(min(last, 9)), *np.geomspace(1, last + 1, 12).astype(int) - 1, last})
    rows = [
        [
            f"{epoch:,}",
            *(
                significant(float(values[epoch]), 6)
                for values in (results.loss, results.w, results.b)
            ),
        ]
        for epoch in epochs
    ]
    table = html.table(
        "The loss an epoch began with, and the line it left.", ["epoch", "loss", "w", "b"], rows
    )
    return f"<details><summary>The curves as numbers</summary>\n{table}\n</details>"


def _provenance(params: Params, results: Results) -> str:
    train = params.train
    facts = [
        ("Points", _points(params)),
        (
            "Rows",
            f"{results.evaluation.rows:,} to fit, {results.evaluation.holdout_rows:,} held out",
        ),
        (
            "Training",
            f"{counted(train.epochs, 'epoch')} of gradient descent at learning rate"
            f" {plain(train.learning_rate)}, {train.dtype},"
            f" x {'standardised' if train.standardize else 'as it is'}, on"
            f" {'three points that have the loss of all rows' if train.compress else 'all rows'}",
        ),
        (_DATA, results.data_sha256),
    ]
    terms = "\n".join(
        f"<div><dt>{name}</dt><dd>{html.code(text) if name == _DATA else safe(text)}</dd></div>"
        for name, text in facts
    )
    parameters = params.flat().items()
    rows = [[key, value if isinstance(value, str) else in_yaml(value)] for key, value in parameters]
    table = html.table("As params.yaml had them.", ["parameter", "value"], rows, numbers=False)
    return (
        f"<dl>\n{terms}\n</dl>\n<p>The SHA-256 is that of data/SHA256SUMS, which lists every data"
        " file. The same inputs give the same page, so no time, machine or commit is on it: MLflow"
        " has them with the run.</p>\n"
        f"<details><summary>Every parameter</summary>\n{table}\n</details>"
    )


def _points(params: Params) -> str:
    settings = params.generate
    if settings.table:
        return f"{settings.table}, {settings.columns.y} against {settings.columns.x}"
    noise, x = settings.noise, settings.x
    assert params.truth  # drawn points have one
    line = equations.of_truth(Line(params.truth.w, params.truth.b))
    meanings = {
        "normal": "standard deviation",
        "integer": "up to",
        "shared-integer": "one for all, up to",
    }
    spacing = "evenly spaced" if x.spacing == "grid" else "at random"
    return (
        f"{settings.rows:,} drawn from {line} + {noise.kind} noise"
        f" ({meanings[noise.kind]} {plain(noise.scale)}), x {spacing} from {plain(x.low)} to"
        f" {plain(x.high)},"
        f" seed {settings.seed}"
    )
