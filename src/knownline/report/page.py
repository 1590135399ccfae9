"""Writes the report, a single HTML page: the verdict, then the reasons, then the inputs.

page.html says how it looks; here is what it shows. The page has no script and loads nothing, so it
can be read without a network, in print or by a screen reader. The same numbers give the same bytes.
Knows nothing of the paths of the files it describes.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from knownline.core.formatting import minus
from knownline.core.kinds import Network
from knownline.evaluate import residuals
from knownline.evaluate.results import Results
from knownline.params import Params
from knownline.report import (
    epoch_charts,
    error_charts,
    findings,
    fit_charts,
    inputs,
    svg,
    tables,
    views,
)
from knownline.report.epoch_charts import Course
from knownline.report.svg import Chart
from knownline.report.views import View

FOLDER = Path(__file__).parent
"""Where page.html and page.css are."""

PARAMETERS_SHOWN = 5
"""The most parameters with a chart by epoch: with the loss, two full rows. The table has all."""

_LINEAR = "The dashed line is the loss of the linear model of the inputs on the training rows."

_BATCHES = "The loss of an epoch is the mean over its minibatches, each before its step."


def render(params: Params, results: Results) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: svg.without_controls(value) if type(value) is str else value,
    )
    return environment.get_template("page.html").render(_content(params, results))


def _content(params: Params, results: Results) -> dict[str, Any]:
    """Return what page.html shows, by the names it has there."""
    found, data = results.evaluation, results.data
    kind, sample = data.model, (results.inputs, results.y)
    checked = residuals.examine(*sample, found.fitted, data)
    names, reference, course = views.names(params), views.reference(data), Course.of(results)
    view = View.of(data, *sample, found.fitted, found.truth, found.se, names)
    is_network = isinstance(kind, Network)
    return {
        "viewbox": f"0 0 {svg.WIDTH:g} {svg.HEIGHT:g}",
        "passed": results.gate.passed,
        "verdict": findings.verdict(results),
        "headline": findings.headline(params, results, checked.checks),
        "reasons": [minus(reason) for reason in results.gate.reasons],
        "about": inputs.about(params),
        "noun": view.noun,
        "has_truth": found.truth is not None,
        "parameters": None if isinstance(kind, Network) else tables.parameters(found, kind),
        "wrong": findings.contradicting(checked.checks, params),
        "errors": tables.errors(found, inputs.target(params), reference if is_network else None),
        "error_charts": _error_charts(params, results),
        "sources": [] if is_network else findings.sources(params, results, course),
        "fit_charts": fit_charts.points(view, found),
        "residual_words": findings.residual_words(checked, params),
        "residual_tests": findings.residual_tests(checked.checks) if checked.checks else None,
        "epoch_charts": _epoch_charts(results, course, reference),
        "left_out": max(len(found.names) - PARAMETERS_SHOWN, 0),
        "epochs": tables.epochs(course, found),
        "notes": _notes(params, results),
        "facts": inputs.facts(params, results),
        "sha256": results.data_sha256,
        "every_parameter": tables.every_parameter(params),
    }


def _error_charts(params: Params, results: Results) -> list[Chart]:
    found, rules = results.evaluation, params.evaluate
    if found.is_network:
        return []
    charts = [error_charts.from_truth(found, rules), error_charts.optimiser(results, rules)]
    return [chart for chart in charts if chart]


def _notes(params: Params, results: Results) -> list[str]:
    """Return what there is to say of the loss of a network."""
    if not results.evaluation.is_network:
        return []
    batches = inputs.batch_size(params, results.evaluation.rows)
    return [_LINEAR, _BATCHES] if batches else [_LINEAR]


def _epoch_charts(results: Results, course: Course, reference: views.Reference) -> list[Chart]:
    found = results.evaluation
    return [
        epoch_charts.loss(course, results.convergence.squared, reference),
        *(
            epoch_charts.parameter(course, number, found)
            for number in range(min(len(found.names), PARAMETERS_SHOWN))
        ),
        *epoch_charts.path(course, results.data, found),
    ]
