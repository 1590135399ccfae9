"""What a recorded run shows: its name, its description, its tags, parameters and numbers.

Knows nothing of MLflow's calls, only of what a reader of its pages wants to see.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knownline.core.formatting import UNKNOWN, r_squared, rounded, significant
from knownline.params import Params
from samerun.core.flatten import flat
from samerun.execution.receipts import Receipt
from samerun.working_tree import Commit

VIEW = "knownline"
"""The saved view of the runs table that `experiment_tags` makes."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that went into a run: a name, where it lies, its rows, and its whole SHA-256."""

    name: str
    context: str
    source: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RunContent:
    """All that is written into a run but its files.

    execution: names what is recorded; recording the same again completes it, never doubles it.
    start_ms, end_ms: when the training ran, milliseconds since 1970.
    history: loss, w and b by epoch.
    """

    execution: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    start_ms: int
    end_ms: int = 0
    description: str = "Training."
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    datasets: list[Dataset] = field(default_factory=list)


def experiment_tags() -> dict[str, str]:
    """Return what makes MLflow's page of the experiment one of trainings, with a view of its own.

    A view is a tag whose value MLflow's page reads: which columns it shows, in which order. Without
    one the table has neither a metric nor a tag. There is no API for it; a test in a browser sees
    whether it is still read.
    """
    columns = ["tags.`gate`", "metrics.`z.w`", "metrics.`z.b`", "metrics.`optimiser_error`",
               "attributes.`Dataset`"]  # fmt: skip
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict(zip(columns, (75, 100, 100, 130, 300), strict=True)),
        "runsHiddenMode": "FIRST_10_RUNS",
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": VIEW, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "mlflow.note.content": (
            "Lines fitted to points whose true line is known. `gate`: whether a fit may be used;"
            " `z.w`, `z.b`: how many standard errors it lies from the truth; `optimiser_error`: how"
            " far from closed-form least squares. A run's `report.html` says it in pictures."
        ),
    }


def description(metrics: dict[str, Any], commit: Commit) -> str:
    """Return the result in Markdown: verdict first, then the table, then where it came from."""
    gate = metrics["gate"]
    lines = [f"**Gate {'passed' if gate['passed'] else 'refused'}**", ""]
    lines += [f"- {reason}" for reason in gate["reasons"]]
    lines += ["", "| | fitted | ± | true | standard errors away |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {_fitted(metrics[name], metrics['se'][name])}"
        f" | {significant(metrics['se'][name], 2)}"
        f" | {significant(metrics['truth'][name], 15)} | {significant(metrics['z'][name], 2)} |"
        for name in ("w", "b")
    ]
    held = metrics["holdout"]
    lines += [
        "",
        f"{metrics['rows']:,} rows fitted, {held['rows']:,} held out;"
        f" holdout RMSE {significant(held['rmse'], 4)}, R² = {r_squared(held['r2'])}."
        f" Optimiser error {significant(metrics['optimiser_error'], 2)}.",
        "",
        f"Commit `{commit.sha or 'none'}`"
        f"{' with uncommitted changes (`changes.patch`)' if commit.dirty else ''}.",
    ]
    return "\n".join(lines)


def tags(
    *,
    fingerprint: str,
    data_sha256: str,
    commit: Commit,
    metrics: dict[str, Any],
    device: str,
    experiment: str | None,
    backfilled: bool,
    by_hand: bool,
    facts: dict[str, str],
) -> dict[str, str]:
    """Return the tags of the contract, and on what machine the run was made."""
    found = {
        "fingerprint": fingerprint,
        "data_sha256": data_sha256,
        **tags_of(commit),
        "device": device,
        "gate": "passed" if metrics["gate"]["passed"] else "failed",
        **facts,
    }
    if experiment:
        found["dvc_exp_name"] = experiment
    if backfilled:
        found["backfilled"] = "true"
    if by_hand:
        found["by_hand"] = "true"
    return found


def tags_of(commit: Commit) -> dict[str, str]:
    """Return the tags that say where a run's code stands in git."""
    return {"git_commit": commit.sha or "none", "git_dirty": str(commit.dirty).lower()}


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return every number of metrics.json by its dotted name; what is null there has none."""
    return {
        name: float(value)
        for name, value in flat(metrics).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def varying_first(numbers: dict[str, float]) -> list[tuple[str, float]]:
    """Return the numbers, what differs from run to run first and what is constant last.

    MLflow's page that compares runs draws the first metric that was logged.
    """
    order = ("z.", "optimiser_error", "holdout.", "train.", "se.", "ols.", "rows", "truth.")
    return sorted(
        numbers.items(),
        key=lambda item: next((i for i, k in enumerate(order) if item[0].startswith(k)), -1),
    )


def datasets(params: Params, metrics: dict[str, Any], data_sha256: str) -> list[Dataset]:
    """Return the two halves of the data, each with the hash of the whole.

    Their names differ, since the store keeps one dataset of a name and a digest.
    """
    wanted = params.generate
    name = Path(wanted.table).name if wanted.table else f"line, seed {wanted.seed}"
    rows = {"train": metrics["rows"], "holdout": metrics["holdout"]["rows"]}
    return [
        Dataset(f"{name}, {context}", context, f"data/{context}", count, data_sha256)
        for context, count in rows.items()
        if count
    ]


def times_of(receipt: Receipt | None, fingerprint: str, now: float) -> tuple[str, int, int]:
    """Return execution, start and end of what is recorded; a backfilled run is of now."""
    if receipt is None:
        return f"backfill-{fingerprint}", int(now * 1000), int(now * 1000)
    start = receipt.started
    return receipt.execution, int(start * 1000), int((start + receipt.seconds) * 1000)


def _fitted(value: float | None, error: float | None) -> str:
    return UNKNOWN if value is None else rounded(value, error or 0.0)
