"""What can be wrong with a store and its runs, each as a finding with what to do.

Every check only looks. Knows nothing of MLflow's calls; the store is handed in.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from samerun import git
from samerun.core import address, files, progress
from samerun.core.errors import StoreError
from samerun.execution import receipts
from samerun.execution.processes import is_abandoned
from samerun.health.finding import Finding
from samerun.mlflow.models import MODEL
from samerun.mlflow.tracking import RecordedRun, Store

_KEPT = {
    "data/SHA256SUMS": "SHA256SUMS",
    "models/line.json": f"{MODEL}/artifacts/line.json",
    "reports/history.csv": "history.csv",
    "reports/metrics.json": "metrics.json",
}
"""Outputs in dvc.lock, and what a run keeps of them."""


def moved() -> Iterator[Finding]:
    """Look whether the embedded store lies where its artifacts' paths say."""
    store = address.local_store()
    if store is None or not store.exists() or not store.stat().st_size:
        return  # no store: what opens it says so
    there = address.moved_from(store)
    if there:
        yield Finding(
            "store",
            f"its artifacts are said to be in {there}, and it is {store}",
            "`knownline doctor --repair`, or the next `dvc repro`, mends the paths",
            lambda: address.follow_move(store),
        )


def absent(branch: str) -> Iterator[Finding]:
    """Look whether the store is there, where it is a file.

    branch: the reference, with wildcards, that a clone has where the store is carried.
    """
    store = address.sqlite_file()
    if store is None or (store.exists() and store.stat().st_size):
        return
    carried = address.local_store() and git.is_here() and git.call("for-each-ref", branch).stdout
    todo = "`knownline store pull` brings it" if carried else "run `dvc repro`"
    yield Finding("store", f"{store} is not there", todo)


def runs(store: Store) -> Iterator[Finding]:
    """Look at every run: does it run, and is what it kept what it says."""
    found = store.runs()
    for run in progress.over(found, "runs"):
        name = f"run {run.name} ({run.run_id})"
        if run.status == "FINISHED":
            yield from _kept(store, run, name)
        elif run.status == "RUNNING":
            yield from _running(store, run, name)
    yield from _marker(found)


def _running(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    if run.tags.get("execution") in receipts.unrecorded():
        yield Finding(name, "its training ended and is not recorded", "run `dvc repro`")
    elif is_abandoned(run.tags):
        yield Finding(
            name,
            "it says RUNNING and its process is gone",
            "`knownline doctor --repair`, or the next `dvc repro`, ends it as KILLED",
            lambda: _sweep(store),
        )


def _sweep(store: Store) -> None:
    store.sweep(waiting=receipts.unrecorded())


def _kept(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    """Hold a run's artifacts against its fingerprint and against its own dvc.lock."""
    with TemporaryDirectory(prefix="knownline-doctor-") as scratch:
        folder = Path(scratch)
        try:
            store.fetch(run.run_id, folder)
        except StoreError as error:
            yield Finding(name, f"its artifacts are not there ({error})", "restore or delete it")
            return
        identity = folder / "identity.json"
        if not identity.exists():
            yield Finding(name, "identity.json is not there", "it cannot be reproduced: delete it")
        elif files.sha256_of(identity) != run.tags.get("fingerprint"):
            yield Finding(
                name,
                "identity.json is not what its fingerprint says",
                "it was changed: restore or delete the run",
            )
        if run.tags.get("by_hand"):
            return  # its dvc.lock is of whatever `dvc repro` ran last
        locked = _locked(folder / "dvc.lock")
        if locked is None:
            yield Finding(name, "its dvc.lock is missing or damaged", "restore or delete the run")
        for output, expected in (locked or {}).items():
            kept = folder / _KEPT[output]
            if not kept.exists() or hashlib.md5(kept.read_bytes()).hexdigest() != expected:
                yield Finding(
                    name,
                    f"{_KEPT[output]} is not the {output} of its dvc.lock",
                    "it was changed: restore or delete the run",
                )


def _locked(lock: Path) -> dict[str, str] | None:
    """Return the MD5 that a dvc.lock has of the outputs that a run keeps; None where it is none."""
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text())["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs if out["path"] in _KEPT}
    except (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None


def _marker(found: list[RecordedRun]) -> Iterator[Finding]:
    """Ask whether the run that the workspace was recorded as is in the store."""
    marker = receipts.MARKER
    if not marker.exists():
        yield Finding(str(marker), "the workspace is not recorded", "run `dvc repro`")
        return
    try:
        fingerprint = json.loads(marker.read_text())["fingerprint"]
    except (KeyError, TypeError, ValueError):
        yield Finding(str(marker), "it is damaged", "delete it and run `dvc repro`")
        return
    complete = {run.tags.get("fingerprint") for run in found if run.status == "FINISHED"}
    if fingerprint not in complete:
        yield Finding(
            str(marker),
            f"no complete run in the store has its fingerprint {fingerprint[:12]}",
            "delete it and run `dvc repro`",
        )
