"""`knownline retrain`: one scheduled retraining, from fresh data to who serves.

Every step can be repeated and leaves what it made, so a retraining that was killed or could not go
on is finished by calling it again. The champion moves last but for the word that it has.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from knownline.core.layout import LINE, METRICS, PARAMS
from knownline.core.line import Line
from knownline.identity import provenance
from knownline.params import Params, with_seed
from knownline.retrain import aliases, pipeline, policy, reporting, scoring
from knownline.retrain.branch import Branch
from knownline.retrain.policy import Challenger, Decision, Verdict
from knownline.retrain.registry import CHALLENGER, CHAMPION, Registry, Version
from samerun import git, working_tree
from samerun.core import address, files
from samerun.core.errors import UsageError, WorkspaceError
from samerun.execution.lock import only_one
from samerun.mlflow import store_sync, tracking
from samerun.mlflow.tracking import RecordedRun

SERVED, REFUSED = 0, 3


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. day: UTC. seed: None for the day's own."""

    day: date
    seed: int | None
    force: bool
    push: bool


def main(
    *, day: date | None = None, seed: int | None = None, force: bool = False, push: bool = False
) -> int:
    """Return 0 where a champion serves, promoted or kept; 3 where the challenger is refused."""
    wish = Request(day or datetime.now(UTC).date(), seed, force, push)
    params = Params.read()
    with only_one():
        return _retrain(params, wish)


def _retrain(params: Params, wish: Request) -> int:
    branch = Branch(wish.day.isoformat())
    branch.must_be_free()
    _check_table_is_tracked(params, wish)
    if wish.push:
        branch.catch_up()
        _sync_store(store_sync.pull)
    pipeline.pull()
    store = tracking.Store()
    registry = Registry(store)
    commit = _commit_data(params, wish, branch)
    pipeline.repro(commit, force=wish.force)
    params = Params.read()
    identity = provenance.identity(params, provenance.data_sha256())
    settled = None if wish.force else registry.settled(identity.fingerprint)
    if settled and not _was_tried_uncommitted(settled, commit):
        _publish(branch, wish, params)
        if wish.push:
            _sync_store(store_sync.push)  # where an earlier try could not
        return _nothing_new(settled)
    run = _recorded(store, identity.fingerprint, commit)
    metrics = json.loads(METRICS.read_text())
    line = Line.from_json(LINE.read_text())
    new = registry.register(run.run_id, _tags(run, line, wish))
    registry.point(CHALLENGER, new)
    old = _other(registry, new)
    scoring.challenger_model(new)
    challenger = _as_challenger(run, new, metrics)
    stands = scoring.champion_standing(old, new, wish.day, params.retrain) if old else None
    decision = _earlier_decision(registry, new) or policy.decide(challenger, stands, params.retrain)
    _publish(branch, wish, params)
    if decision.verdict == Verdict.PROMOTED:
        aliases.promote(registry, new, old, branch.day, "; ".join(decision.reasons))
    report = reporting.card_of(
        registry, store, params, wish.day, decision, (run, new, metrics), (old, stands)
    )
    reporting.publish(registry, new, report, stands)
    if wish.push:
        _sync_store(store_sync.push)
    print(f"retrain: {decision.verdict}: {report.title}")
    for reason in decision.reasons:
        print(f"  - {reason}")
    return REFUSED if decision.verdict == Verdict.REFUSED else SERVED


def _commit_data(params: Params, wish: Request, branch: Branch) -> str:
    """Lay the day's seed into params.yaml, unless a table is read; return the commit that has it.

    Without --push the branch stays here: the recorded run names a commit that gives its code.
    """
    if params.generate.table is None:
        seed = wish.seed if wish.seed is not None else int(f"{wish.day:%Y%m%d}")
        if seed != params.generate.seed:
            files.write_bytes(PARAMS, with_seed(PARAMS.read_bytes().decode(), seed).encode())
        print(f"retrain: {wish.day}: drawn data, seed {seed}", flush=True)
    else:
        print(f"retrain: {wish.day}: {params.generate.table} as it is now", flush=True)
    commit = branch.commit(_paths_to_commit(params), f"Retraining of {wish.day}: fresh data")
    if beyond := working_tree.commit(commit).paths:
        print(
            f"retrain: the tree is not clean, so nothing will be promoted: {', '.join(beyond[:5])}",
            file=sys.stderr,
        )
    return commit


def _check_table_is_tracked(params: Params, wish: Request) -> None:
    """Refuse a table that neither git nor DVC would keep, and a seed for one."""
    table = params.generate.table
    if table is None:
        return
    if wish.seed is not None:
        raise UsageError(f"--seed must be left out where a table is read (got {table} to read)")
    ignored = git.call("check-ignore", "--quiet", "--", table).returncode == 0
    if ignored and not Path(f"{table}.dvc").exists():
        raise UsageError(
            f"generate.table must be kept by git or by DVC (got {table}, which git ignores and DVC"
            f" does not know: dvc add {table})"
        )


def _paths_to_commit(params: Params) -> tuple[str, ...]:
    """Return what the day's commit takes from the folder: what git knows already, and the table.

    params.yaml with more than another seed is somebody's edit: it waits for his own commit.
    """
    table = params.generate.table
    pointer = f"{table}.dvc"
    kept = pointer if Path(pointer).exists() else table
    ours = () if _is_edited() else (str(PARAMS),)
    return (*ours, "data/own", *((kept,) if kept else ()))


def _is_edited() -> bool:
    """Return whether params.yaml differs from its committed self in more than the seed."""
    committed = git.call("show", f"HEAD:./{PARAMS}")
    if committed.returncode:
        return True
    return with_seed(committed.stdout.decode(), 0) != with_seed(
        PARAMS.read_text(encoding="utf-8"), 0
    )


def _sync_store(way: Callable[[], str]) -> None:
    """Pull or push the embedded store, which a tracking server would keep."""
    if address.local_store() is None:
        return
    if pipeline.has_remote():
        print(f"retrain: {way()}", flush=True)
    else:
        print("retrain: no DVC remote: the store stays on this machine", file=sys.stderr)


def _nothing_new(settled: Version) -> int:
    verdict = settled.tags.get("verdict", "")
    print(
        f"retrain: nothing new: the same data, parameters and code were retrained on"
        f" {settled.tags.get('retrained_on')} as {settled.name} ({verdict}); --force does it again"
    )
    reporting.set_workflow_outputs(verdict, settled.tags.get("drift", ""))
    return SERVED


def _was_tried_uncommitted(settled: Version, commit: str) -> bool:
    """Return whether it was settled from a tree that was not clean, and now is."""
    return settled.tags.get("git_dirty") == "true" and not working_tree.commit(commit).dirty


def _recorded(store: tracking.Store, fingerprint: str, commit: str) -> RecordedRun:
    """Return the run, also where DVC's marker speaks of another store.

    What somebody tried before he committed it was recorded with a patch; the same from a clean tree
    is done again, so that its commit alone gives it.
    """
    run = store.find_complete(fingerprint)
    if run and run.tags.get("git_dirty") == "true" and not working_tree.commit(commit).dirty:
        print("retrain: once more, from a tree that is clean now", flush=True)
        pipeline.repro(commit, force=True)
        run = store.find_complete(fingerprint)
    if run is None:
        pipeline.repro(commit, force=True, only="record")
        run = store.find_complete(fingerprint)
    if run is None:
        raise WorkspaceError(f"the run must be in {store.shown_uri} after `dvc repro` (got none)")
    return run


def _tags(run: RecordedRun, line: Line, wish: Request) -> dict[str, str]:
    return {
        "fingerprint": run.tags["fingerprint"],
        "data_sha256": run.tags["data_sha256"],
        "git_commit": run.tags["git_commit"],
        "git_dirty": run.tags["git_dirty"],
        "gate": run.tags["gate"],
        "retrained_on": wish.day.isoformat(),
        "line": line.to_json(),
        "sample": scoring.training_sample().to_json(),
    }


def _as_challenger(run: RecordedRun, new: Version, metrics: dict[str, Any]) -> Challenger:
    gate = metrics["gate"]
    return Challenger(
        gate=[] if gate["passed"] is True else gate["reasons"] or ["it gave no reason"],
        clean=run.tags.get("git_dirty") == "false" and run.tags.get("git_commit") != "none",
        complete=run.status == "FINISHED",
        finite=all(isinstance(metrics[name], float | int) for name in ("w", "b")),
        rolled_back=new.tags.get("rolled_back"),
    )


def _other(registry: Registry, new: Version) -> Version | None:
    """Return the champion that `new` is held against: not itself, where an earlier try was cut."""
    champion = registry.holding(CHAMPION)
    if champion and champion.number == new.number:
        before = champion.tags.get("replaces")
        return registry.numbered(before) if before else None
    return champion


def _earlier_decision(registry: Registry, new: Version) -> Decision | None:
    """Return the decision of an earlier try that was cut short after the champion had moved."""
    champion = registry.holding(CHAMPION)
    if champion is None or champion.number != new.number:
        return None
    return Decision(Verdict.PROMOTED, [champion.tags.get("champion_why", "it was promoted")])


def _publish(branch: Branch, wish: Request, params: Params) -> None:
    """Commit parameters and lock on the day's branch; push them, the data before its pointers."""
    branch.commit((*_paths_to_commit(params), "dvc.lock"), f"Retraining of {wish.day}: lock")
    if not wish.push:
        return
    if pipeline.has_remote():
        pipeline.push()
    said = f"{branch.name} is pushed" if branch.push() else "nothing to push"
    print(f"retrain: {said}", flush=True)
