"""What came of a retraining: its report, and the words on run, version and workflow."""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from knownline.core.formatting import rounded
from knownline.core.layout import RETRAINED
from knownline.params import Params
from knownline.retrain.model_card import ModelCard
from knownline.retrain.policy import Champion, Decision
from knownline.retrain.registry import Registry, Version
from samerun.core import files
from samerun.core.errors import StoreError
from samerun.mlflow import tracking
from samerun.mlflow.tracking import RecordedRun
from samerun.proof import comparison


def card_of(
    registry: Registry,
    store: tracking.Store,
    params: Params,
    day: date,
    decision: Decision,
    tried: tuple[RecordedRun, Version, dict[str, Any]],
    sat: tuple[Version | None, Champion | None],
) -> ModelCard:
    """Return the report on a challenger, tried, and on the champion that sat before it."""
    run, new, metrics = tried
    old, stands = sat
    wanted = params.generate
    data = f"drawn, seed {wanted.seed}" if wanted.table is None else wanted.table
    line = old.line if old else None
    links = {"Run": run.run_id}
    if store.uri.startswith("http"):
        links["Run"] = f"{store.shown_uri}/#/experiments/{store.experiment}/runs/{run.run_id}"
    return ModelCard(
        day=day.isoformat(),
        decision=decision,
        data=f"{data} (SHA-256 {run.tags['data_sha256'][:12]}…)",
        version=new.number,
        run_id=run.run_id,
        commit=run.tags["git_commit"],
        metrics=metrics,
        champion=old.name if old else None,
        champion_line=f"w = {rounded(line.w, 1e-4)}, b = {rounded(line.b, 1e-2)}" if line else None,
        drift=stands.drift if stands else None,
        scores=stands.scores if stands else None,
        changed=_changed(registry, old, run) if old else [],
        links=links,
    )


def _changed(registry: Registry, old: Version, run: RecordedRun) -> list[str]:
    """Return what differs between two runs: data, parameters, code, packages."""
    names = ("identity.json", "environment.json")
    with TemporaryDirectory() as scratch:
        then, now = Path(scratch) / "then", Path(scratch) / "now"
        for folder, run_id in ((then, old.run_id), (now, run.run_id)):
            folder.mkdir()
            try:
                registry.run_artifacts(run_id, names, folder)
            except StoreError as error:
                return [f"unknown: {error}"]
        read = [[json.loads((f / name).read_text()) for name in names] for f in (then, now)]
    (was, had), (is_now, has) = read
    found = [
        f"data: was {was['data'][:12]}…, is {is_now['data'][:12]}…"
        if was["data"] != is_now["data"]
        else "",
        *comparison.all_changes("parameter", was["params"], is_now["params"]),
        *(f"code: {name}" for name in sorted(is_now["code"]) if
          was["code"].get(name) != is_now["code"][name]),
        *comparison.all_changes("package", had, has),
    ]  # fmt: skip
    found = [item for item in found if item]
    return found if len(found) <= 12 else [*found[:12], f"and {len(found) - 12} more"]


def publish(registry: Registry, new: Version, report: ModelCard, stands: Champion | None) -> None:
    """Write the report and the words on run and version; `settled` comes last."""
    text, card = report.markdown(), report.markdown(pictures=False)
    files.write_text(RETRAINED, text)
    registry.attach(report.run_id, RETRAINED)
    registry.describe(new, card)
    drift = stands.drift if stands else None
    said = {
        "verdict": str(report.decision.verdict),
        "reason": "; ".join(report.decision.reasons),
        "drift": "unknown" if drift is None else "drifted" if drift.found else "none",
    }
    if drift:
        said |= {
            "drift_p": repr(drift.p),
            "drift_p_line": repr(drift.line_p),
            "drift_p_noise": repr(drift.variance_p),
        }
    registry.tag_run(report.run_id, said)
    _append("GITHUB_STEP_SUMMARY", card)
    set_workflow_outputs(said["verdict"], said["drift"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry.tag(new, {**said, "settled_at": now, "settled": "true"})


def set_workflow_outputs(verdict: str, drift: str) -> None:
    """Hand verdict and drift to the next steps of a CI workflow, where it asks for them."""
    _append("GITHUB_OUTPUT", f"verdict={verdict}\ndrift={drift}\n")


def _append(variable: str, text: str) -> None:
    """Append to the file that a CI system names, where it does."""
    if name := os.environ.get(variable):
        with Path(name).open("a", encoding="utf-8") as stream:
            stream.write(text)
