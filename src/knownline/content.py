"""What a recorded run shows: its name, its description, its tags, parameters and numbers.

Knows nothing of MLflow's calls, only of what a reader of its pages wants to see.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from knownline.params import Params
from knownline.provenance import Commit
from knownline.receipts import Receipt


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


def run_name(params: Params, experiment: str | None) -> str:
    """Return what tells a run from its neighbours: data, training, experiment's name."""
    wanted, train = params.generate, params.train
    data = f"{wanted.rows} rows" if wanted.table is None else Path(wanted.table).name
    parts = [data, f"lr {train.learning_rate:g}", f"{train.epochs} epochs"]
    parts += [] if train.standardize else ["raw x"]
    parts += [] if train.compress else ["row by row"]
    parts += [] if train.dtype == "float64" else [train.dtype]
    return ", ".join([*parts, experiment] if experiment else parts)


def description(metrics: dict[str, Any], commit: Commit) -> str:
    """Return the result in Markdown: verdict first, then the table, then where it came from."""
    gate = metrics["gate"]
    lines = [f"**Gate {'passed' if gate['passed'] else 'refused'}**", ""]
    lines += [f"- {reason}" for reason in gate["reasons"]]
    lines += ["", "| | fitted | ± | true | standard errors away |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {_shown(metrics[name], 6)} | {_shown(metrics['se'][name], 2)}"
        f" | {_shown(metrics['truth'][name], 6)} | {_shown(metrics['z'][name], 2)} |"
        for name in ("w", "b")
    ]
    held = metrics["holdout"]
    lines += [
        "",
        f"{metrics['rows']:,} rows fitted, {held['rows']:,} held out;"
        f" holdout RMSE {_shown(held['rmse'], 4)}, R² {_shown(held['r2'], 6)}."
        f" Optimiser error {_shown(metrics['optimiser_error'], 2)}.",
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
    facts: dict[str, str],
) -> dict[str, str]:
    """Return the tags of the contract, and on what machine the run was made."""
    found = {
        "fingerprint": fingerprint,
        "data_sha256": data_sha256,
        "git_commit": commit.sha or "none",
        "git_dirty": str(commit.dirty).lower(),
        "device": device,
        "gate": "passed" if metrics["gate"]["passed"] else "failed",
        **facts,
    }
    if experiment:
        found["dvc_exp_name"] = experiment
    if backfilled:
        found["backfilled"] = "true"
    return found


def texts(params: Params) -> dict[str, str]:
    """Return the parameters as MLflow keeps them: text by dotted name."""
    flat = params.flat()
    return {key: v if isinstance(v, str) else _as_yaml(v) for key, v in flat.items()}


def numbers(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return every number of metrics.json by its dotted name; what is null there has none."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + key] = float(value)
    return found


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


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _as_yaml(value: Any) -> str:
    """Return a value as params.yaml takes it: 1.0e-09 and not 1e-09, which YAML reads as text."""
    return str(yaml.safe_dump(value)).splitlines()[0]
