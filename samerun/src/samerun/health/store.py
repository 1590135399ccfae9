"""Checks of a store and its runs. A check changes nothing.

Knows nothing of MLflow's calls: the store is passed in.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from samerun import git
from samerun.core import address, progress
from samerun.core.errors import StoreError, UserError
from samerun.execution import receipts
from samerun.execution.processes import is_abandoned
from samerun.health import artifacts
from samerun.health.finding import Finding
from samerun.mlflow.recorded import RecordedRun
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline


def location() -> Iterator[Finding]:
    """Check that the artifact paths in the local store are right: a move makes them wrong."""
    store = address.local_store()
    if store is None or not address.is_store(store):
        return  # no store: `presence` reports that
    old = address.moved_from(store)
    if old:
        yield Finding(
            "store",
            f"its artifact paths begin with {old}, but the store is now {store}",
            "`samerun doctor --repair`, or the next `dvc repro`, corrects the paths",
            lambda: address.follow_move(store),
        )


def presence(branch: str) -> Iterator[Finding]:
    """Check that the store exists, if it is a file.

    branch: a pattern of git references; one matches if the store is synced between machines.
    """
    store = address.sqlite_file()
    if store is None or address.is_store(store):
        return
    synced = (
        address.local_store() and git.is_installed() and git.call("for-each-ref", branch).stdout
    )
    fix = "run `samerun store pull`" if synced else "run `dvc repro`"
    yield Finding("store", f"{store} does not exist", fix)


def runs(store: Store, pipelines: Sequence[Pipeline]) -> Iterator[Finding]:
    """Check every run: the artifacts of a finished one, the process of a running one.

    pipelines: those that record in this experiment, whose markers are checked.
    """
    recorded = store.runs()
    for run in progress.track(recorded, "runs"):
        name = f"run {run.name} ({run.run_id})"
        if run.status == "FINISHED":
            yield from _finished(store, run, name)
        elif run.status == "RUNNING":
            yield from _running(store, run, name)
    for pipeline in pipelines:
        yield from _marker(recorded, pipeline)


def _running(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    """Check that the process of a run that is RUNNING still exists."""
    if not is_abandoned(run.tags):
        return
    if run.tags.get("execution") in _waiting():
        yield Finding(name, "its execution has ended but is not recorded", "run `dvc repro`")
    else:
        yield Finding(
            name,
            "its status is RUNNING but its process is gone",
            "`samerun doctor --repair`, or the next `dvc repro`, marks it KILLED",
            lambda: store.close_abandoned(waiting=_waiting()),
        )


def _waiting() -> set[str]:
    """Return the ids of the executions that succeeded but are not recorded."""
    return {receipt.execution for receipt in receipts.unrecorded()}


def _finished(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    """Compare a run's artifacts with its fingerprint and with its own dvc.lock."""
    with TemporaryDirectory(prefix="samerun-doctor-") as scratch:
        try:
            store.fetch(run.run_id, Path(scratch))
        except StoreError as error:
            yield Finding(
                name, f"its artifacts cannot be read ({error})", "restore the run or delete it"
            )
            return
        for problem in artifacts.problems(Path(scratch), run.tags):
            yield Finding(name, problem, "restore the run or delete it")


def _marker(recorded: list[RecordedRun], pipeline: Pipeline) -> Iterator[Finding]:
    """Check that the store has the run that the workspace's marker names."""
    try:
        marker = pipeline.marker
    except UserError:
        return  # `inputs.record_stage` reports that
    name = pipeline.relative(str(marker))
    if not marker.exists():
        yield Finding(name, "the results in the workspace are not recorded", "run `dvc repro`")
        return
    try:
        fingerprint = json.loads(marker.read_text())["fingerprint"]
    except (KeyError, TypeError, ValueError):
        yield Finding(name, "it is damaged", "delete it and run `dvc repro`")
        return
    complete = {run.tags.get("fingerprint") for run in recorded if run.status == "FINISHED"}
    if fingerprint not in complete:
        yield Finding(
            name,
            f"no complete run in the store has its fingerprint {str(fingerprint)[:12]}",
            "delete it and run `dvc repro`",
        )
