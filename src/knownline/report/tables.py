"""The tables of the report: the fitted parameters, the errors of a network, and some epochs.

Knows nothing of the page that shows them, nor of files.
"""

import math

import numpy as np

from knownline.core.formatting import (
    UNKNOWN,
    counted,
    minus,
    multiple,
    plain,
    r_squared,
    rounded,
    significant,
)
from knownline.core.kinds import Linear, Parametric
from knownline.evaluate.results import Results
from knownline.evaluate.statistics import Evaluation
from knownline.report import equations, html
from knownline.report.views import Reference


def coefficients(evaluation: Evaluation, kind: Parametric) -> str:
    """Return the table of fitted ± error, least squares and truth, with a row per parameter.

    Up to two have a column each instead: so the table fits on a phone, whatever the digits.
    """
    head = ["", "fitted", "± error", "least squares"]
    head += ["true", "errors away"] if evaluation.truth else []
    table = [head]
    for name in evaluation.names:
        se = evaluation.se[name]
        error = rounded(se, se) if math.isfinite(se) else UNKNOWN
        row = [name, rounded(evaluation.fitted[name], se), error]
        row.append(rounded(evaluation.ols[name], se))
        if evaluation.truth and evaluation.z:
            z = multiple(evaluation.z[name], signed=True)
            row += [plain(evaluation.truth[name]), z if math.isfinite(se) else UNKNOWN]
        table.append(row)
    if len(evaluation.names) <= 2:
        table = [list(row) for row in zip(*table, strict=True)]
    caption = "Errors are standard errors."
    if not isinstance(kind, Linear):
        caption = "Errors are standard errors of the model linearised at least squares."
    elif equations.is_line(kind):
        caption = f"{kind.varying[0]}: slope; {kind.constant}: value at x = 0; e{caption[1:]}"
    return html.table(caption, table[0], table[1:])


def rows_fitted(evaluation: Evaluation) -> str:
    """Return how many rows were fitted and held out, and the error on both, as a sentence."""
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


def network(evaluation: Evaluation, linear: Reference, target: str) -> str:
    """Return the table of a network's errors, and those of the linear model of its inputs.

    linear: on the training rows. target: what y is called.
    """
    columns = [
        ["", "rows", "RMSE", "R²", f"RMSE of {linear.article}{linear.name}"],
        [
            "training rows",
            f"{evaluation.rows:,}",
            significant(evaluation.train_rmse, 4),
            r_squared(evaluation.train_r2),
            significant(math.sqrt(linear.loss), 4),
        ],
    ]
    caption = f"RMSE: root mean squared error, in the units of {target}."
    if evaluation.holdout_rows:
        rmse = evaluation.linear.reference_rmse if evaluation.linear else None
        columns.append(
            [
                "held-out rows",
                f"{evaluation.holdout_rows:,}",
                significant(evaluation.holdout_rmse, 4),
                r_squared(evaluation.holdout_r2),
                significant(rmse, 4),
            ]
        )
    else:
        caption += " No row is held out."
    head, *rows = [list(row) for row in zip(*columns, strict=True)]
    return html.table(caption, head, rows)


def epochs(results: Results) -> str:
    """Return a table of some epochs, few enough to read."""
    history, last = results.history, results.history.epochs - 1
    shown = sorted({*range(min(last, 9)), *np.geomspace(1, last + 1, 12).astype(int) - 1, last})
    rows = [
        [
            f"{epoch:,}",
            *(
                minus(significant(float(values[epoch]), 6))
                for values in (history.loss, *history.values)
            ),
        ]
        for epoch in shown
    ]
    left = "line" if equations.is_line(results.data.model) else "parameters"
    caption = f"The loss an epoch began with, and the {left} it left."
    table = html.table(
        caption if history.names else "The loss of some epochs.",
        ["epoch", "loss", *history.names],
        rows,
        numbers=bool(history.names),  # a column beside its epochs is nearer to them on the left
    )
    return f"<details><summary>The curves as numbers</summary>\n{table}\n</details>"
