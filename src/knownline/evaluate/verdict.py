"""Describes the result of a fit in Markdown: reports/verdict.md, shown with the run in MLflow."""

from collections.abc import Mapping
from typing import Any

from knownline.core.formatting import UNKNOWN, r_squared, rounded, significant


def description(metrics: Mapping[str, Any]) -> str:
    """Return the content of metrics.json in words: the verdict with its reasons, then the table."""
    gate, holdout = metrics["gate"], metrics["holdout"]
    lines = [f"**Gate {verdict(gate)}**", ""]
    lines += [f"- {reason}" for reason in gate["reasons"]]
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
        f" Optimiser error {significant(metrics['optimiser_error'], 2)}.",
        "",
    ]
    return "\n".join(lines)


def verdict(gate: Mapping[str, Any]) -> str:
    """Return the gate's verdict, as metrics.json has it, in words."""
    if not gate["passed"]:
        return "refused"
    return "passed (converged; quality not judged)" if "quality" in gate else "passed"


def _fitted(value: float | None, error: float | None) -> str:
    return UNKNOWN if value is None else rounded(value, error or 0.0)
