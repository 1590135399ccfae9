"""The checks of a store and its runs; each yields findings with what to do.

A check changes nothing. Knows nothing of MLflow's calls: the store is passed in.
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
    """Check that the embedded store is where its artifact paths say."""
    store = address.local_store()
    if store is None or not address.is_store(store):
        return  # no store: `presence` reports that
    old = address.moved_from(store)
    if old:
        yield Finding(
            "store",
            f"its artifacts are said to be in {old}, and it is {store}",
            "`samerun doctor --repair`, or the next `dvc repro`, mends the paths",
            lambda: address.follow_move(store),
        )


def presence(branch: str) -> Iterator[Finding]:
    """Check that the store exists, if it is a file.

    branch: a pattern of git references; a clone has one that matches if the store is synced.
    """
    store = address.sqlite_file()
    if store is None or address.is_store(store):
        return
    synced = (
        address.local_store() and git.is_installed() and git.call("for-each-ref", branch).stdout
    )
    fix = "`samerun store pull` brings it" if synced else "run `dvc repro`"
    yield Finding("store", f"{store} is not there", fix)


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
    """Check that the process of a running run lives."""
    if not is_abandoned(run.tags):
        return
    if run.tags.get("execution") in _waiting():
        yield Finding(name, "its execution ended and is not recorded", "run `dvc repro`")
    else:
        yield Finding(
            name,
            "it says RUNNING and its process is gone",
            "`samerun doctor --repair`, or the next `dvc repro`, ends it as KILLED",
            lambda: _sweep(store),
        )


def _waiting() -> set[str]:
    """Return the executions that ended well and that `record` has not recorded."""
    return {receipt.execution for receipt in receipts.unrecorded()}


def _sweep(store: Store) -> None:
    store.close_abandoned(waiting=_waiting())


def _finished(store: Store, run: RecordedRun, name: str) -> Iterator[Finding]:
    """Compare a run's artifacts with its fingerprint and with its own dvc.lock."""
    with TemporaryDirectory(prefix="samerun-doctor-") as scratch:
        try:
            store.fetch(run.run_id, Path(scratch))
        except StoreError as error:
            yield Finding(name, f"its artifacts are not there ({error})", "restore or delete it")
            return
        for problem in artifacts.problems(Path(scratch), run.tags):
            yield Finding(name, problem, "restore the run or delete it")


def _marker(recorded: list[RecordedRun], pipeline: Pipeline) -> Iterator[Finding]:
    """Check that the store has the run that the workspace's marker names."""
    try:
        marker = pipeline.marker
    except UserError:
        return  # the stage has no such output, which its own check reports
    name = pipeline.relative(str(marker))
    if not marker.exists():
        yield Finding(name, "the workspace is not recorded", "run `dvc repro`")
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
