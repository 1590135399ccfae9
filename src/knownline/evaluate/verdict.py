"""Describes the result of a fit in Markdown: reports/verdict.md, shown with the run in MLflow."""

from collections.abc import Mapping
from typing import Any

from knownline.core.formatting import UNKNOWN, r_squared, rounded, significant


def description(metrics: Mapping[str, Any]) -> str:
    """Return the content of metrics.json in words: the verdict with its reasons, then the table."""
    gate, holdout = metrics["gate"], metrics["holdout"]
    lines = [f"**Gate {verdict(metrics)}**", ""]
    lines += [f"- {reason}" for reason in gate["reasons"]]
    if metrics["se"]:
        lines += ["", "| | fitted | ± | true | standard errors away |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {_fitted(metrics[name], metrics['se'][name])}"
        f" | {significant(metrics['se'][name], 2)}"
        f" | {significant(metrics['truth'][name], 15)} | {significant(metrics['z'][name], 2)} |"
        for name in metrics["se"]
    ]
    lines += [
        "",
        f"{metrics['rows']:,} rows fitted, {holdout['rows']:,} held out;"
        f" holdout RMSE {significant(holdout['rmse'], 4)}, R² = {r_squared(holdout['r2'])}."
        f"{_optimiser(metrics)}",
        "",
    ]
    return "\n".join(lines)


def _optimiser(metrics: Mapping[str, Any]) -> str:
    if not metrics["se"]:  # a network
        return ""
    return f" Optimiser error {significant(metrics['optimiser_error'], 2)}."


def verdict(metrics: Mapping[str, Any]) -> str:
    """Return the gate's verdict, as metrics.json has it, in words."""
    gate, is_network = metrics["gate"], not metrics["se"]
    if not gate["passed"]:
        return "refused"
    if "quality" not in gate:
        return "passed"
    return f"passed ({'' if is_network else 'converged; '}quality not judged)"


def _fitted(value: float | None, error: float | None) -> str:
    return UNKNOWN if value is None else rounded(value, error or 0.0)
