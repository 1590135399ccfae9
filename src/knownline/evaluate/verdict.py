"""Writes the result of a fit in Markdown: reports/verdict.md, shown with the run in MLflow."""

from collections.abc import Mapping
from typing import Any

from knownline.core.formatting import UNKNOWN, counted, r_squared, rounded, significant


def description(metrics: Mapping[str, Any]) -> str:
    """Return the content of metrics.json in words: the verdict with its reasons, then the table."""
    gate = metrics["gate"]
    lines = [f"**Gate {verdict(metrics)}**", ""]
    lines += [f"- {reason}" for reason in gate["reasons"]]
    if metrics["se"]:
        lines += [
            "",
            "| | fitted | ± standard error | true | distance in standard errors |",
            "|---|---:|---:|---:|---:|",
        ]
    lines += [
        f"| {name} | {_fitted(metrics[name], metrics['se'][name])}"
        f" | {significant(metrics['se'][name], 2)}"
        f" | {significant(metrics['truth'][name], 15)} | {significant(metrics['z'][name], 2)} |"
        for name in metrics["se"]
    ]
    lines += [
        "",
        rows(metrics),
        "",
    ]
    if metrics["se"]:  # not a network
        lines[-2] += f" Optimiser error {significant(metrics['optimiser_error'], 2)}."
    return "\n".join(lines)


def rows(metrics: Mapping[str, Any]) -> str:
    """Return the number of rows and the errors on held-out ones in a sentence."""
    holdout = metrics["holdout"]
    text = f"Fitted on {metrics['rows']:,} rows; "
    if holdout["rmse"] is None:
        return text + f"{counted(holdout['rows'], 'row')} held out."
    r2 = "" if holdout["r2"] is None else f", R² {r_squared(holdout['r2'])}"
    held_out = f"{holdout['rows']:,} held-out row{'s' * (holdout['rows'] != 1)}"
    return text + f"RMSE {significant(holdout['rmse'], 4)}{r2} on {held_out}."


def verdict(metrics: Mapping[str, Any]) -> str:
    """Return the gate's verdict in words. metrics: the content of metrics.json."""
    gate, is_network = metrics["gate"], not metrics["se"]
    if not gate["passed"]:
        return "failed"
    if "quality" not in gate:
        return "passed"
    return f"passed ({'' if is_network else 'converged; '}quality not judged)"


def _fitted(value: float | None, error: float | None) -> str:
    return UNKNOWN if value is None else rounded(value, error or 0.0)
