"""`knownline reproduce RUN`: execute a recorded run again and compare the results bit by bit."""

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from knownline.identity.provenance import DECIDING_STAGES

from samerun.core import files, progress
from samerun.core.errors import ReproductionError, StoreError, UsageError
from samerun.execution import environment
from samerun.mlflow import models, tracking
from samerun.mlflow.tracking import RecordedRun, Store
from samerun.proof import comparison, sandbox, snapshot
from samerun.proof.comparison import Snapshot
from samerun.working_tree import Commit

PROVEN, DIFFERS = 0, 1

_STEPS = ("fetch", "check out", *DECIDING_STAGES, "compare")


_MACHINE = ("device", "cpu", "python", "system")
"""The tags of a run that belong to its environment."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a reproduction: the first difference, if any, and the folder it ran in."""

    difference: str | None
    folder: Path


def main(*, run: str, keep: bool = False) -> int:
    """Return 0 if the run is reproduced exactly, 1 if it differs.

    run: the name of the run, its id, or the first characters of its id; or `champion`.
    keep: whether the folder of the reproduction remains.

    Raises: ReproductionError if the run cannot be executed again.
    """
    if not run.strip():  # every id starts with the empty text
        raise UsageError("run must be an id, the beginning of one, a name or champion (got none)")
    store = tracking.Store(create=False)
    recorded_run = store.find(run)
    if recorded_run.status != "FINISHED":
        raise ReproductionError(
            f"the run must have finished (got {recorded_run.run_id}: {recorded_run.status})"
        )
    with (
        TemporaryDirectory(prefix="knownline-recorded-") as scratch,
        progress.steps("reproduce", len(_STEPS)) as begin,
    ):
        artifacts = Path(scratch)
        begin("fetch")
        store.fetch(recorded_run.run_id, artifacts)
        environment_change = comparison.changed(
            _recorded_environment(recorded_run, artifacts), _current_environment(recorded_run)
        )
        ignored = models.ENVIRONMENT_FILES if environment_change else ()
        recorded = _snapshot(store, recorded_run, artifacts, ignored)
        outcome = _reproduce(recorded_run, artifacts, recorded, ignored, begin, keep=keep)
    _print_outcome(recorded_run, recorded, outcome, environment_change, keep=keep)
    _tag(store, recorded_run, outcome)
    return DIFFERS if outcome.difference else PROVEN


def _tag(store: Store, run: RecordedRun, outcome: Outcome) -> None:
    """Note the outcome on the run; a store that fails costs a warning, not the outcome."""
    facts = environment.facts()
    tags = {
        "reproduced": "differs" if outcome.difference else "proven",
        "reproduced_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reproduced_on": f"{facts['host']}, {facts['cpu']}",
    }
    try:
        store.tag(run.run_id, tags)
    except StoreError as error:
        print(f"knownline: warning: the outcome is not on the run: {error}", file=sys.stderr)


def _snapshot(
    store: Store, run: RecordedRun, artifacts: Path, ignored: Collection[str]
) -> Snapshot:
    """Return the snapshot of a run, from its artifacts and its page.

    ignored: files of the model that are not compared.
    """
    model = artifacts / models.MODEL
    return snapshot.recorded(
        artifacts,
        store.metric_history(run.run_id, ("loss", "w", "b")),
        store.shown(run.run_id),
        models.contents(model, ignored),
        models.predictions(model, snapshot.PROBES),
    )


def _reproduce(
    run: RecordedRun,
    artifacts: Path,
    recorded: Snapshot,
    ignored: Collection[str],
    begin: Callable[[str], object],
    *,
    keep: bool,
) -> Outcome:
    """Execute the run's stages in a temporary checkout and compare the results.

    begin: called with the name of each step. If the inputs differ (a parameter, a module), nothing
    is executed.
    """
    patch = artifacts / "changes.patch"
    try:
        commit = Commit(
            run.tags.get("git_commit", "none"), patch.read_bytes() if patch.exists() else b""
        )
        params = (artifacts / "params.yaml").read_bytes()
    except OSError as error:
        raise ReproductionError(f"the run's artifacts must be whole (got {error})") from error
    begin("check out")
    with sandbox.checkout(commit, params, keep=keep) as folder:
        difference = _identity_difference(run, artifacts) or comparison.planned_difference(
            recorded, *snapshot.planned(folder)
        )
        if difference is None:
            sandbox.fetch_tables(folder)
            sandbox.execute(folder, DECIDING_STAGES, begin)
            begin("compare")
            code = folder / models.MODEL_CODE
            model = models.expected(folder / "models/line.json", code, ignored)
            current = snapshot.reproduced(folder, commit, recorded.params, model)
            difference = comparison.first_difference(recorded, current)
        return Outcome(difference, folder)


def _identity_difference(run: RecordedRun, artifacts: Path) -> str | None:
    """Return a difference between the run's tags and its identity.json, in words, or None."""
    identity = artifacts / "identity.json"
    sha = files.sha256_of(identity)
    if sha != run.tags.get("fingerprint"):
        return f"identity: identity.json has SHA-256 {sha[:12]}…, not the run's fingerprint"
    data = str(json.loads(identity.read_bytes())["data"])
    if data != run.tags.get("data_sha256"):
        return f"identity: the data's hash is {data[:12]}…, not the tag's"
    return None


def _recorded_environment(run: RecordedRun, artifacts: Path) -> dict[str, str]:
    """Return the environment that a run was recorded in: packages, then the tags in _MACHINE."""
    try:
        packages = dict(json.loads((artifacts / "environment.json").read_bytes()).items())
    except (OSError, AttributeError, ValueError) as error:
        raise ReproductionError(f"environment.json must be whole (got {error})") from error
    return {**packages, **{key: run.tags[key] for key in _MACHINE if key in run.tags}}


def _current_environment(run: RecordedRun) -> dict[str, str]:
    """Return this environment, in the entries that the run has; its device counts as the same."""
    facts = environment.facts()
    machine = {key: facts.get(key, run.tags[key]) for key in _MACHINE if key in run.tags}
    return {**environment.packages(), **machine}


def _print_outcome(
    run: RecordedRun,
    recorded: Snapshot,
    outcome: Outcome,
    environment_change: str | None,
    *,
    keep: bool,
) -> None:
    print(f"run {run.name} ({run.run_id}), commit {run.tags.get('git_commit', 'none')[:12]}")
    if outcome.difference:
        print(f"differs: {outcome.difference}")
        print(f"environment: {environment_change or 'the same packages and machine'}")
    else:
        epochs = len(recorded.history["loss"])
        print(
            f"proven: {len(recorded.data) - 1} data files, {epochs:,} epochs of loss, w and b, the"
            f" line, {len(recorded.metrics)} metrics and the model are equal, bit for bit, in the"
            " run's files and on its page"
        )
        if environment_change:
            print(f"on another environment: {environment_change}")
    if keep:
        print(f"kept: {outcome.folder}")
