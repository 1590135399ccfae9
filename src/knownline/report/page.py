"""Writes the report, a single HTML page: the verdict, then the reasons, then the inputs.

It has no script and loads nothing, so it can be read without a network, in print or by a screen
reader. The same numbers give the same bytes. Knows nothing of the files' paths.
"""

import math

import numpy as np
import numpy.typing as npt

from knownline.core.formatting import (
    counted,
    minus,
    significant,
    to_gap,
)
from knownline.core.kinds import Linear, Network
from knownline.evaluate import residuals
from knownline.evaluate.gate import as_metrics
from knownline.evaluate.residuals import SAMPLES, Residuals
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import Evaluation
from knownline.evaluate.verdict import verdict as describe
from knownline.params import Params
from knownline.report import epoch_charts, equations, fit_charts, html, inputs, tables, views
from knownline.report.epoch_charts import Chart, ShownEpochs
from knownline.report.svg import safe
from knownline.report.views import Reference, View

Array = npt.NDArray[np.float64]

_REPRODUCE = (
    "<p>In the workspace that made this page, <code>make repro</code> runs what changed and nothing"
    " else. A run that MLflow has is executed again, from its commit, its parameters and its data,"
    " and compared bit for bit, by:</p>\n"
    '<pre tabindex="0">samerun reproduce RUN</pre>\n'
    "<p>RUN is the run's name or id.</p>"
)

PARAMETERS_SHOWN = 6
"""The most parameters with a chart by epoch; the table has all."""

_SIGNS = {"none": "no sign of", "faint": "a faint sign of", "clear": "a clear sign of"}


def render(params: Params, results: Results) -> str:
    """Return the page as HTML."""
    verdict = f"Gate {describe(as_metrics(results.evaluation, results.gate))}"
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
    evaluation, data = results.evaluation, results.data
    kind, sample = data.model, (results.inputs, results.y)
    checks = residuals.examine(*sample, evaluation.fitted, data)
    names = views.names(params)
    view = View.of(data, *sample, evaluation.fitted, evaluation.truth, names)
    reference = views.reference(data)
    if isinstance(kind, Network):
        fitted = tables.network(evaluation, reference, names[1])
    else:
        fitted = tables.coefficients(evaluation, kind) + tables.rows_fitted(evaluation)
    errors = [_errors(params, results)] if _has_errors(evaluation) else []
    return [
        html.section("Fitted and true" if evaluation.truth else f"The fitted {view.noun}", fitted),
        *(html.section(chart.title, html.figures([chart], headed=True)) for chart in errors),
        html.section(
            "The fit and what it leaves",
            html.figures([*fit_charts.points(view, evaluation)])
            + _checks(checks, params, normal=_has_normal_noise(params)),
        ),
        html.section("How the training went", _training(params, results, reference)),
        html.section("From what", inputs.described(params, results)),
        html.section("Do it again", _REPRODUCE),
    ]


def _about(params: Params) -> str:
    settings, subject = params.generate, "A line"
    if not equations.is_line(params.kind):
        subject = f"The model {params.model}"
    if settings.table:
        return f"{subject} through {settings.table}"
    return f"{subject} through {settings.rows:,} points drawn from a known one"


def _training(params: Params, results: Results, reference: Reference) -> str:
    """Return the charts by epoch, and a table of some epochs."""
    epochs, evaluation = ShownEpochs.of(results.history), results.evaluation
    names, has_errors = evaluation.names, _has_errors(evaluation)
    start = None if isinstance(results.data.model, Linear) else results.data.start
    charts = html.figures(
        [
            _loss(epochs, params, results, reference),
            *([epoch_charts.distance(epochs, evaluation, start)] if has_errors else []),
            *(
                epoch_charts.coefficient(epochs, name, evaluation, start)
                for name in names[:PARAMETERS_SHOWN]
            ),
            *epoch_charts.path(epochs, results.data, evaluation),
        ]
    )
    if len(names) > PARAMETERS_SHOWN:
        charts += f"<p>The charts show the first {PARAMETERS_SHOWN} of {len(names)} parameters;"
        charts += " the table below has all.</p>\n"
    return charts + tables.epochs(results)


def _has_errors(evaluation: Evaluation) -> bool:
    """Return whether there are standard errors to measure by: not of a network."""
    return bool(evaluation.se) and all(map(math.isfinite, evaluation.se.values()))


def _errors(params: Params, results: Results) -> Chart:
    settings = params.generate
    shared = settings.table is None and settings.noise.kind == "shared-integer"
    return fit_charts.errors(
        results.evaluation, params.evaluate.z, results.convergence, shared=shared
    )


def _loss(epochs: ShownEpochs, params: Params, results: Results, reference: Reference) -> Chart:
    last = results.data.mean_squared_error(results.evaluation.fitted)
    caption = ""
    if inputs.batch_size(params, results.evaluation.rows):
        caption = "The loss of an epoch is the mean over its minibatches, each before its step."
    return epoch_charts.loss(
        epochs, last, reference if results.convergence.squared else None, caption
    )


def _has_normal_noise(params: Params) -> bool:
    """Return whether the points were drawn around the model with independent normal noise."""
    return params.generate.table is None and params.generate.noise.kind == "normal"


def _checks(residuals: Residuals, params: Params, *, normal: bool) -> str:
    """Return the checks of the residuals in words; normal: the noise is known to be normal."""
    kind, levels = params.kind, params.evaluate.residual_levels
    noun = equations.noun(kind)
    place = f"where {'the network' if isinstance(kind, Network) else 'least squares'} has y"
    if len(kind.inputs) == 1:
        place = "at x"
    parts = [
        "<h3>Do they look like noise?</h3>",
        f"<p>{counted(residuals.rows, 'point')} looked at; the farthest lies"
        f" {residuals.farthest:.1f} times their root mean square from the {noun}, {place} ="
        f" {minus(to_gap(residuals.farthest_x, residuals.gap))}.",
    ]
    if residuals.unchecked:
        return "\n".join([*parts, f"No more can be said: {residuals.unchecked}.</p>"])
    if any(check.of_the_fit for check in residuals.checks):
        parts[-1] += (
            f" The trend is the fitted {noun}'s own; the rest is asked of what least squares"
            " leaves, so that the optimiser's part is not taken for the noise's."
        )
    deciding = (
        f"The gate asks for {', '.join(levels)}." if levels else "None of this decides the gate."
    )
    parts[-1] += f" {deciding}"
    if normal and any(check.sign != "none" for check in residuals.checks):
        parts[-1] += (
            f" These points were drawn from a {noun} with normal noise, so a sign of anything"
            " else is chance."
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
