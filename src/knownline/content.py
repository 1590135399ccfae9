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

from knownline.errors import one_line
from knownline.formatting import UNKNOWN, plain, r_squared, rounded, significant
from knownline.params import Params, in_yaml
from knownline.provenance import Commit
from knownline.receipts import Receipt

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
class Content:
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


SHIPPED: dict[str, Any] = {
    "truth.w": 20.0,
    "truth.b": 5.0,
    "generate.table": None,
    "generate.rows": 99,
    "generate.x.spacing": "grid",
    "generate.x.low": 1.0,
    "generate.x.high": 99.0,
    "generate.noise.kind": "normal",
    "generate.noise.scale": 1.5,
    "generate.holdout": 0.2,
    "generate.seed": 20200910,
    "train.epochs": 100,
    "train.learning_rate": 0.25,
    "train.standardize": True,
    "train.compress": True,
    "train.dtype": "float64",
    "train.device": "auto",
    "train.seed": 0,
    "evaluate.z": 4.0,
    "evaluate.optimiser_tolerance": 1e-9,
}
"""params.yaml as it came: what a run has beyond it comes first in its name."""

_WORDS = {
    "truth.w": "true w {}",
    "truth.b": "true b {}",
    "generate.rows": "{} rows",
    "generate.x.spacing": "{} x",
    "generate.x.low": "x from {}",
    "generate.x.high": "x to {}",
    "generate.noise.kind": "{} noise",
    "generate.noise.scale": "noise {}",
    "generate.holdout": "holdout {}",
    "generate.seed": "seed {}",
    "train.epochs": "{} epochs",
    "train.learning_rate": "lr {}",
    "train.dtype": "{}",
    "train.device": "{}",
    "train.seed": "train seed {}",
    "evaluate.z": "z {}",
    "evaluate.optimiser_tolerance": "tolerance {}",
}
_DRAWN = ("truth.", "generate.rows", "generate.x.", "generate.noise.")
_TRUTH = ("truth.w", "truth.b")
_ALWAYS = ("generate.rows", "train.learning_rate", "train.epochs")


def run_name(params: Params, experiment: str | None) -> str:
    """Return what tells a run from its neighbours.

    MLflow's tables and legends show some twenty letters: a table of the user's own and what differs
    from the shipped params.yaml come first, what every run has after it, an experiment's name last.
    """
    flat, table = params.flat(), params.generate.table
    changed = [
        key for key, value in SHIPPED.items()
        if key in flat and flat[key] != value and key != "generate.table"
    ]  # fmt: skip
    keys = dict.fromkeys([*changed, *_ALWAYS])
    # A table has its own rows, x and noise, whatever stands beside it. A truth that it is held
    # against is said whole, also the shipped one: most tables have none.
    words = [_in_words(key, flat[key]) for key in keys if not (table and key.startswith(_DRAWN))]
    held = [_in_words(key, flat[key]) for key in _TRUTH if table and key in flat]
    own = [one_line(Path(table).name)] if table else []
    return ", ".join([*own, *held, *words, *([experiment] if experiment else [])])


def _in_words(key: str, value: Any) -> str:
    if key in ("train.standardize", "train.compress"):  # as they are where they were changed
        return "raw x" if key == "train.standardize" else "row by row"
    return _WORDS[key].format(plain(value) if isinstance(value, float) else value)


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


def texts(flat: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as MLflow keeps them: text by dotted name."""
    return {key: v if isinstance(v, str) else in_yaml(v) for key, v in flat.items()}


def numbers(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return every number of metrics.json by its dotted name; what is null there has none."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + key] = float(value)
    return found


def telling_first(numbers: dict[str, float]) -> list[tuple[str, float]]:
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


def from_receipt(receipt: Receipt | None, fingerprint: str, now: float) -> tuple[str, int, int]:
    """Return execution, start and end of what is recorded; a backfilled run is of now."""
    if receipt is None:
        return f"backfill-{fingerprint}", int(now * 1000), int(now * 1000)
    start = receipt.started
    return receipt.execution, int(start * 1000), int((start + receipt.seconds) * 1000)


def _fitted(value: float | None, error: float | None) -> str:
    return UNKNOWN if value is None else rounded(value, error or 0.0)
