"""The tables of the report: parameters, errors on rows, epochs, and every input.

Knows nothing of the page that shows them, nor of files.
"""

import math
from dataclasses import dataclass

import numpy as np

from knownline.core.formatting import UNKNOWN, minus, multiple, plain
from knownline.core.kinds import Linear, Parametric
from knownline.core.yaml_text import in_yaml
from knownline.evaluate.statistics import Evaluation
from knownline.params import Params
from knownline.report import equations
from knownline.report.epoch_charts import Course, tabulated
from knownline.report.values import determination, measured, number
from knownline.report.views import Reference


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows. kind: its class in the style sheet."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    kind: str = "numbers"


def parameters(evaluation: Evaluation, kind: Parametric) -> Table:
    """Return the table of the fitted parameters beside least squares and the truth."""
    columns = ["name", "fitted", "standard error", "least squares"]
    columns += ["true", "z"] if evaluation.truth else []
    rows = []
    for name in evaluation.names:
        se = evaluation.se[name]
        known = math.isfinite(se)
        row = [name, measured(evaluation.fitted[name], se)]
        row += [measured(se, se) if known else UNKNOWN, measured(evaluation.ols[name], se)]
        if evaluation.truth and evaluation.z:
            z = minus(multiple(evaluation.z[name], signed=True))
            row += [minus(plain(evaluation.truth[name])), z if known else UNKNOWN]
        rows.append(row)
    caption = "Values are rounded by their standard error; models/model.json has every digit."
    if evaluation.truth:
        caption += " z is the distance from the truth in standard errors."
    if not isinstance(kind, Linear):
        caption += " The standard errors are those of the model linearised at least squares."
    elif equations.is_line(kind):
        caption = f"{kind.varying[0]} is the slope, {kind.constant} the intercept. {caption}"
    return Table(caption, columns, rows)


def errors(evaluation: Evaluation, target: str, linear: Reference | None) -> Table:
    """Return the table of the errors on the training rows and on the held-out rows.

    target: what y is called. linear: for a network, the linear model on the training rows.
    """
    rows = [["training", f"{evaluation.rows:,}"], ["held out", f"{evaluation.holdout_rows:,}"]]
    rows[0] += [number(evaluation.train_rmse), determination(evaluation.train_r2)]
    rows[1] += [number(evaluation.holdout_rmse), determination(evaluation.holdout_r2)]
    columns = ["rows", "count", "RMSE", "R²"]
    if linear:
        columns.append("RMSE of the linear model")
        beside = evaluation.linear.reference_rmse if evaluation.linear else None
        rows[0].append(number(math.sqrt(linear.loss)))
        rows[1].append(number(beside))
    caption = f"RMSE: root mean squared error, in the units of {target}."
    if not evaluation.holdout_rows:
        rows.pop()
        caption += " No rows are held out."
    return Table(caption, columns, rows)


def epochs(course: Course, evaluation: Evaluation) -> Table:
    """Return the table of the loss and the parameters after some numbers of epochs."""
    rows = []
    for epoch in tabulated(course.last):
        index = int(np.searchsorted(course.shown, epoch))
        row = [f"{epoch:,}", number(float(course.loss[index]))]
        for name, values in course.values.items():
            row.append(measured(float(values[index]), evaluation.se[name]))
        rows.append(row)
    caption = "The loss of some epochs, counted from 0."
    if course.values:
        caption = "Loss and parameters after some numbers of epochs; 0 is the start."
    return Table(caption, ["epoch", "loss", *course.values], rows)


def every_parameter(params: Params) -> Table:
    """Return the table of params.yaml."""
    rows = [
        [key, value if isinstance(value, str) else in_yaml(value)]
        for key, value in params.flat().items()
    ]
    return Table("The values in params.yaml.", ["key", "value"], rows, "texts")
