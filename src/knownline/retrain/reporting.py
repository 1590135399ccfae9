"""Publishes a retraining: its report, the tags of its run and version, the outputs for CI."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from knownline.core.layout import RETRAINED
from knownline.params import Params
from knownline.retrain.model_card import ModelCard
from knownline.retrain.policy import Champion, Decision
from knownline.retrain.problem import Problem
from knownline.retrain.registry import Registry, Version
from samerun.core import files
from samerun.core.errors import StoreError
from samerun.core.flatten import flatten
from samerun.mlflow import tracking
from samerun.mlflow.recorded import RecordedRun


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger, the champion it was compared with, and the decision between them.

    run, version, metrics: of the challenger. opponent: the champion's version, or None.
    champion: its performance on the fresh data, or None.
    """

    run: RecordedRun
    version: Version
    metrics: dict[str, Any]
    opponent: Version | None
    champion: Champion | None
    decision: Decision


def card_of(
    registry: Registry, store: tracking.Store, params: Params, day: date, comparison: Comparison
) -> ModelCard:
    """Return the report on a challenger and on the champion it was compared with."""
    run, opponent, champion = comparison.run, comparison.opponent, comparison.champion
    settings = params.generate
    data = f"drawn, seed {settings.seed}" if settings.table is None else settings.table
    fitted = opponent.fitted if opponent else None
    links = {"Run": run.run_id}
    if store.uri.startswith("http"):
        links["Run"] = f"{store.shown_uri}/#/experiments/{store.experiment}/runs/{run.run_id}"
    return ModelCard(
        day=day.isoformat(),
        decision=comparison.decision,
        data=f"{data} (SHA-256 {comparison.version.tags['data_sha256'][:12]}…)",
        problem=Problem.of(params),
        model_name=comparison.version.model_name,
        version=comparison.version.number,
        run_id=run.run_id,
        commit=run.tags["git_commit"],
        metrics=comparison.metrics,
        champion=opponent.name if opponent else None,
        champion_parameters=fitted.parameters if fitted else None,
        drift=champion.drift if champion else None,
        scores=champion.scores if champion else None,
        changed=_changes(registry, opponent, comparison.version) if opponent else [],
        links=links,
    )


def _changes(registry: Registry, opponent: Version, new: Version) -> list[str]:
    """Return the differences between two versions' runs: data, parameters, code, packages."""
    try:
        old, current = (_inputs(registry, version.run_id) for version in (opponent, new))
    except StoreError as error:
        return [f"unknown: {error}"]
    changes = [line for kind in current for line in _differences(kind, old[kind], current[kind])]
    before, after = (version.tags.get("data_sha256", "unknown") for version in (opponent, new))
    if before != after:
        changes.insert(0, f"data changed from {before[:12]}… to {after[:12]}…")
    return changes if len(changes) <= 12 else [*changes[:12], f"and {len(changes) - 12} more"]


def _inputs(registry: Registry, run_id: str) -> dict[str, dict[str, Any]]:
    """Return the inputs and packages of a run: kind to name to value. Raises: StoreError."""
    names = ("identity.json", "environment.json")
    with TemporaryDirectory() as scratch:
        registry.download_artifacts(run_id, names, Path(scratch))
        identity, packages = (json.loads((Path(scratch) / name).read_text()) for name in names)
    params: dict[str, Any] = {}
    files: dict[str, str] = dict(identity.get("model", {}))
    commands: dict[str, Any] = {}
    for name, stage in identity["stages"].items():
        commands[name.rpartition(":")[2]] = stage["command"]
        files |= stage["deps"]
        for values in stage["params"].values():
            params |= flatten(values)
    return {
        "parameter": params,
        "file or folder": {name: f"{digest[:8]}…" for name, digest in files.items()},
        "command of stage": commands,
        "package": packages,
    }


def _differences(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return every difference between two mappings, in words. kind: of their entries."""
    lines = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            lines.append(f"{kind} {name} was removed")
        elif name not in old:
            lines.append(f"{kind} {name} was added")
        elif old[name] != new[name]:
            lines.append(f"{kind} {name} changed from {old[name]} to {new[name]}")
    return lines


def publish(registry: Registry, comparison: Comparison, card: ModelCard) -> None:
    """Write the report, and the tags of run and version; the tag `settled` comes last.

    A version's description has the reasons and the numbers of the drift, which are tags of its run.
    """
    description = card.markdown(pictures=False)
    files.write_text(RETRAINED, card.markdown())
    registry.attach(card.run_id, RETRAINED)
    registry.describe(comparison.version, description)
    drift = card.drift
    tags = {
        "verdict": str(card.decision.verdict),
        "reason": "; ".join(card.decision.reasons),
        "drift": "unknown" if drift is None else "drifted" if drift.drifted else "none",
    }
    if drift:
        tags |= {
            "drift_p": repr(drift.p),
            "drift_p_fit": repr(drift.fit_p),
            "drift_p_noise": repr(drift.variance_p),
            "drift_distance": repr(drift.distance),
        }
    registry.tag_run(card.run_id, tags)
    _append("GITHUB_STEP_SUMMARY", description)
    set_workflow_outputs(tags["verdict"], tags["drift"])
    shown = {key: tags[key] for key in ("verdict", "drift")}
    registry.tag(comparison.version, {**shown, "settled": "true"})


def set_workflow_outputs(verdict: str, drift: str) -> None:
    """Write verdict and drift to the outputs of a CI workflow's step, if GITHUB_OUTPUT is set."""
    _append("GITHUB_OUTPUT", f"verdict={verdict}\ndrift={drift}\n")


def _append(variable: str, text: str) -> None:
    """Append to the file that an environment variable names, if it is set."""
    if name := os.environ.get(variable):
        with Path(name).open("a", encoding="utf-8") as stream:
            stream.write(text)
