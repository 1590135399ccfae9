"""What a recorded run shows: its description, tags, metrics and datasets.

Knows nothing of MLflow's calls, only what a reader of its pages wants to see.
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
from samerun.core.flatten import flatten
from samerun.execution.receipts import Receipt
from samerun.working_tree import Commit

VIEW = "knownline"
"""The name of the saved view of the runs table that `experiment_tags` defines."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that a run used: name, purpose, path, number of rows, and SHA-256 of all the data."""

    name: str
    context: str
    source: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RunContent:
    """Everything that is written to a run, except its files.

    execution: names the execution; recording the same one again completes its run.
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
    """Return the tags that make MLflow's page of the experiment one of trainings, with a view.

    A view is a tag whose value MLflow's page reads: which columns it shows, in which order. Without
    a view the table shows neither metrics nor tags. There is no API for views; a test in a browser
    checks that MLflow still reads the tag.
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
    """Return the result in Markdown: first the verdict, then the table, then the commit."""
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
    holdout = metrics["holdout"]
    lines += [
        "",
        f"{metrics['rows']:,} rows fitted, {holdout['rows']:,} held out;"
        f" holdout RMSE {significant(holdout['rmse'], 4)}, R² = {r_squared(holdout['r2'])}."
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
    """Return the tags of a run.

    experiment: the name of the DVC experiment. backfilled: whether the run is recorded without a
    receipt of its training. by_hand: whether it is recorded outside DVC. facts: of the machine.
    """
    run_tags = {
        "fingerprint": fingerprint,
        "data_sha256": data_sha256,
        **tags_of(commit),
        "device": device,
        "gate": "passed" if metrics["gate"]["passed"] else "failed",
        **facts,
    }
    if experiment:
        run_tags["dvc_exp_name"] = experiment
    if backfilled:
        run_tags["backfilled"] = "true"
    if by_hand:
        run_tags["by_hand"] = "true"
    return run_tags


def tags_of(commit: Commit) -> dict[str, str]:
    """Return the tags that describe the state of a run's code in git."""
    return {"git_commit": commit.sha or "none", "git_dirty": str(commit.dirty).lower()}


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return every number of metrics.json by its dotted name, without those that are null."""
    return {
        name: float(value)
        for name, value in flatten(metrics).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def varying_first(numbers: dict[str, float]) -> list[tuple[str, float]]:
    """Return the numbers, sorted: those that vary most between runs first, constant ones last.

    MLflow's page that compares runs draws the metric that was logged first.
    """
    order = ("z.", "optimiser_error", "holdout.", "train.", "se.", "ols.", "rows", "truth.")
    return sorted(
        numbers.items(),
        key=lambda item: next(
            (i for i, prefix in enumerate(order) if item[0].startswith(prefix)), -1
        ),
    )


def datasets(params: Params, metrics: dict[str, Any], data_sha256: str) -> list[Dataset]:
    """Return the training and the holdout data, each with the hash of all the data.

    Their names differ, since a store holds only one dataset with the same name and digest.
    """
    generate = params.generate
    name = Path(generate.table).name if generate.table else f"line, seed {generate.seed}"
    rows = {"train": metrics["rows"], "holdout": metrics["holdout"]["rows"]}
    return [
        Dataset(f"{name}, {context}", context, f"data/{context}", count, data_sha256)
        for context, count in rows.items()
        if count
    ]


def times_of(receipt: Receipt | None, fingerprint: str, recorded_at: float) -> tuple[str, int, int]:
    """Return a run's execution, start and end, in milliseconds since 1970.

    Without a receipt, start and end are both `recorded_at`, in seconds since 1970.
    """
    if receipt is None:
        return f"backfill-{fingerprint}", int(recorded_at * 1000), int(recorded_at * 1000)
    start = receipt.started
    return receipt.execution, int(start * 1000), int((start + receipt.seconds) * 1000)


def _fitted(value: float | None, error: float | None) -> str:
    return UNKNOWN if value is None else rounded(value, error or 0.0)
