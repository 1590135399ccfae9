"""`knownline reproduce RUN`: do a recorded run again from what it recorded, and prove it equal."""

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from knownline.identity.provenance import DECIDING_STAGES
from samerun.core import files, progress
from samerun.core.errors import ReplicaError, StoreError, UsageError
from samerun.execution import environment
from samerun.mlflow import models, tracking
from samerun.mlflow.tracking import RecordedRun, Store
from samerun.proof import comparison, sandbox, snapshot
from samerun.proof.comparison import Difference, Snapshot
from samerun.working_tree import Commit

PROVEN, DIFFERS = 0, 1

_STEPS = ("fetch", "check out", *DECIDING_STAGES, "compare")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of doing a run again: the first difference, if any, and where it was done."""

    difference: Difference | None
    folder: Path


def main(*, run: str, keep: bool = False) -> int:
    """Return 0 where the run is proven equal, 1 where it differs; what cannot be tried raises."""
    if not run.strip():  # every id begins with it
        raise UsageError("run must be an id, the beginning of one, a name or champion (got none)")
    store = tracking.Store(create=False)
    found = store.find(run)
    if found.status != "FINISHED":
        raise ReplicaError(f"the run must have finished (got {found.run_id}: {found.status})")
    with (
        TemporaryDirectory(prefix="knownline-recorded-") as scratch,
        progress.steps("reproduce", len(_STEPS)) as begin,
    ):
        kept = Path(scratch)
        begin("fetch")
        store.fetch(found.run_id, kept)
        other = comparison.changed(_surroundings(found, kept), _surroundings_now(found))
        aside = models.SURROUNDINGS if other else ()
        then = _recorded(store, found, kept, aside)
        outcome = _do_again(found, kept, then, aside, begin, keep=keep)
    verdict = "differs" if outcome.difference else "proven"
    _say(found, then, outcome, other, keep=keep)
    facts = environment.facts()
    noted = {
        "reproduced": verdict,
        "reproduced_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reproduced_on": f"{facts['host']}, {facts['cpu']}",
    }
    try:
        store.tag(found.run_id, noted)
    except StoreError as error:  # what was found holds, written down or not
        print(f"knownline: warning: the outcome is not on the run: {error}", file=sys.stderr)
    return DIFFERS if outcome.difference else PROVEN


def _recorded(store: Store, run: RecordedRun, kept: Path, aside: Collection[str]) -> Snapshot:
    """Return what a run was, from its artifacts in `kept` and from its page.

    aside: files of the model that are not compared.
    """
    model = kept / models.MODEL
    return snapshot.recorded(
        kept,
        store.logged(run.run_id, ("loss", "w", "b")),
        store.shown(run.run_id),
        models.contents(model, aside),
        models.predictions(model, snapshot.PROBES),
    )


def _do_again(
    run: RecordedRun,
    kept: Path,
    then: Snapshot,
    aside: Collection[str],
    begin: Callable[[str], object],
    *,
    keep: bool,
) -> Outcome:
    """Execute the run's stages in a checkout of its own and compare; `begin` is told each step.

    What differs before anything is executed (a parameter, a module) is not executed.
    """
    patch = kept / "changes.patch"
    try:
        commit = Commit(
            run.tags.get("git_commit", "none"), patch.read_bytes() if patch.exists() else b""
        )
        params = (kept / "params.yaml").read_bytes()
    except OSError as error:
        raise ReplicaError(f"the run's artifacts must be whole (got {error})") from error
    begin("check out")
    with sandbox.checkout(commit, params, keep=keep) as folder:
        difference = _claimed(run, kept) or comparison.planned_difference(
            then, *snapshot.planned(folder)
        )
        if difference is None:
            sandbox.bring_tables(folder)
            sandbox.execute(folder, DECIDING_STAGES, begin)
            begin("compare")
            code = folder / models.MODEL_CODE
            model = models.expected(folder / "models/line.json", code, aside)
            now = snapshot.reproduced(folder, commit, then.params, model)
            difference = comparison.first_difference(then, now)
        return Outcome(difference, folder)


def _claimed(run: RecordedRun, kept: Path) -> Difference | None:
    """Return a difference between the run's tags and the identity that was kept beside them."""
    sha = files.sha256_of(kept / "identity.json")
    if sha != run.tags.get("fingerprint"):
        return Difference(
            "identity",
            f"identity: identity.json has SHA-256 {sha[:12]}…, not the run's fingerprint",
        )
    data = str(json.loads((kept / "identity.json").read_bytes())["data"])
    if data != run.tags.get("data_sha256"):
        return Difference("identity", f"identity: the data's hash is {data[:12]}…, not the tag's")
    return None


def _surroundings(run: RecordedRun, kept: Path) -> dict[str, str]:
    """Return what the run ran on: packages, then device, then CPU and python."""
    try:
        packages = dict(json.loads((kept / "environment.json").read_bytes()).items())
    except (OSError, AttributeError, ValueError) as error:
        raise ReplicaError(f"environment.json must be whole (got {error})") from error
    return {**packages, **{key: run.tags[key] for key in _MACHINE if key in run.tags}}


def _surroundings_now(run: RecordedRun) -> dict[str, str]:
    facts = environment.facts()
    here = {key: facts.get(key, run.tags[key]) for key in _MACHINE if key in run.tags}
    return {**environment.packages(), **here}


_MACHINE = ("device", "cpu", "python", "system")


def _say(
    run: RecordedRun, then: Snapshot, outcome: Outcome, other: str | None, *, keep: bool
) -> None:
    print(f"run {run.name} ({run.run_id}), commit {run.tags.get('git_commit', 'none')[:12]}")
    if outcome.difference:
        print(f"differs: {outcome.difference.words}")
        print(f"environment: {other}" if other else "environment: the same packages and machine")
    else:
        epochs = len(then.history["loss"])
        print(
            f"proven: {len(then.data) - 1} data files, {epochs:,} epochs of loss, w and b, the"
            f" line, {len(then.metrics)} metrics and the model are equal, bit for bit, in the"
            " run's files and on its page"
        )
        if other:
            print(f"on another environment: {other}")
    if keep:
        print(f"kept: {outcome.folder}")
