"""The checks of a store and its runs; each yields findings with what to do.

A check changes nothing. Knows nothing of MLflow's calls: the store is passed in.
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

_RECORDED_OUTPUTS = {
    "data/SHA256SUMS": "SHA256SUMS",
    "models/line.json": f"{MODEL}/artifacts/line.json",
    "reports/history.csv": "history.csv",
    "reports/metrics.json": "metrics.json",
}
"""Outputs in dvc.lock, and the artifacts of a run that are copies of them."""


def location() -> Iterator[Finding]:
    """Check that the embedded store is where its artifact paths say."""
    store = address.local_store()
    if store is None or not store.exists() or not store.stat().st_size:
        return  # no store: `presence` reports that
    old = address.moved_from(store)
    if old:
        yield Finding(
            "store",
            f"its artifacts are said to be in {old}, and it is {store}",
            "`knownline doctor --repair`, or the next `dvc repro`, mends the paths",
            lambda: address.follow_move(store),
        )


def presence(branch: str) -> Iterator[Finding]:
    """Check that the store exists, if it is a file.

    branch: a pattern of git references; a clone has one that matches if the store is synced.
    """
    store = address.sqlite_file()
    if store is None or (store.exists() and store.stat().st_size):
        return
    synced = (
        address.local_store() and git.is_installed() and git.call("for-each-ref", branch).stdout
    )
    fix = "`knownline store pull` brings it" if synced else "run `dvc repro`"
    yield Finding("store", f"{store} is not there", fix)


def runs(store: Store) -> Iterator[Finding]:
    """Check every run: the artifacts of a finished one, the process of a running one."""
    recorded = store.runs()
    for run in progress.track(recorded, "runs"):
        name = f"run {run.name} ({run.run_id})"
        if run.status == "FINISHED":
            yield from _finished(store, run, name)
        elif run.status == "RUNNING":
            yield from _running(store, run, name)
    yield from _marker(recorded)


def _running(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    """Check that the process of a running run lives."""
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
    store.close_abandoned(waiting=receipts.unrecorded())


def _finished(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    """Compare a run's artifacts with its fingerprint and with its own dvc.lock."""
    with TemporaryDirectory(prefix="knownline-doctor-") as scratch:
        folder = Path(scratch)
        try:
            store.fetch(run.run_id, folder)
        except StoreError as error:
            yield Finding(name, f"its artifacts are not there ({error})", "restore or delete it")
            return
        yield from _identity(run, folder / "identity.json", name)
        if not run.tags.get("by_hand"):  # else dvc.lock is of whatever `dvc repro` ran last
            yield from _outputs(folder, name)


def _identity(run: RecordedRun, identity: Path, name: str) -> Iterator[Finding]:
    """Compare the SHA-256 of a run's identity.json with its fingerprint."""
    if not identity.exists():
        yield Finding(name, "identity.json is not there", "it cannot be reproduced: delete it")
    elif files.sha256_of(identity) != run.tags.get("fingerprint"):
        yield Finding(
            name,
            "identity.json is not what its fingerprint says",
            "it was changed: restore or delete the run",
        )


def _outputs(folder: Path, name: str) -> Iterator[Finding]:
    """Compare the outputs among a run's artifacts with the MD5 that its dvc.lock lists."""
    locked = _locked(folder / "dvc.lock")
    if locked is None:
        yield Finding(name, "its dvc.lock is missing or damaged", "restore or delete the run")
    for output, md5 in (locked or {}).items():
        artifact = folder / _RECORDED_OUTPUTS[output]
        if not artifact.exists() or hashlib.md5(artifact.read_bytes()).hexdigest() != md5:
            yield Finding(
                name,
                f"{_RECORDED_OUTPUTS[output]} is not the {output} of its dvc.lock",
                "it was changed: restore or delete the run",
            )


def _locked(lock: Path) -> dict[str, str] | None:
    """Return the MD5 of each output that a run keeps, as a dvc.lock lists it.

    None if the file is missing or is not a dvc.lock.
    """
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text())["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs if out["path"] in _RECORDED_OUTPUTS}
    except (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None


def _marker(recorded: list[RecordedRun]) -> Iterator[Finding]:
    """Check that the store has the run that the workspace's marker names."""
    marker = receipts.MARKER
    if not marker.exists():
        yield Finding(str(marker), "the workspace is not recorded", "run `dvc repro`")
        return
    try:
        fingerprint = json.loads(marker.read_text())["fingerprint"]
    except (KeyError, TypeError, ValueError):
        yield Finding(str(marker), "it is damaged", "delete it and run `dvc repro`")
        return
    complete = {run.tags.get("fingerprint") for run in recorded if run.status == "FINISHED"}
    if fingerprint not in complete:
        yield Finding(
            str(marker),
            f"no complete run in the store has its fingerprint {fingerprint[:12]}",
            "delete it and run `dvc repro`",
        )
