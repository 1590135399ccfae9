"""`knownline retrain`: one scheduled retraining, from fresh data to the choice of the champion.

Every step keeps its results and can be repeated. So calling the command again completes an
interrupted retraining. Moving the champion is the last step before the report.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from knownline.core.layout import DATA, METRICS, MODEL, PARAMS
from knownline.core.model_file import Fitted
from knownline.params import Params, with_seed
from knownline.retrain import aliases, pipeline, policy, reporting, scoring
from knownline.retrain.branch import Branch
from knownline.retrain.policy import Challenger, Champion, Decision, Verdict
from knownline.retrain.problem import Problem, described
from knownline.retrain.registry import CHALLENGER, CHAMPION, PROBLEM, Registry, Version
from knownline.retrain.served import answers
from samerun import config, git
from samerun.core import address, files
from samerun.core.errors import UsageError, WorkspaceError
from samerun.execution.lock import exclusive
from samerun.mlflow import store_sync, tracking
from samerun.mlflow.recorded import RecordedRun
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit

SUCCESS, REFUSED = 0, 3


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command. day: UTC. seed: None to derive it from the day."""

    day: date
    seed: int | None
    force: bool
    push: bool


def main(
    *, day: date | None = None, seed: int | None = None, force: bool = False, push: bool = False
) -> int:
    """Return 0 if the challenger was promoted or the champion kept, 3 if it was refused."""
    request = Request(day or datetime.now(UTC).date(), seed, force, push)
    params = Params.read()
    with exclusive():
        return _retrain(params, request)


def _retrain(params: Params, request: Request) -> int:
    """Run the pipeline on fresh data; compare and report, unless the inputs are unchanged."""
    branch = Branch(request.day.isoformat())
    branch.must_be_free()
    _check_table_is_tracked(params, request)
    if request.push:
        branch.catch_up()
        _sync_store(store_sync.pull)
    pipeline.pull()
    store = tracking.Store(config.here())
    registry = Registry(store, Problem.of(params))
    commit = _commit_data(params, request, branch)
    pipeline.repro(commit, force=request.force)
    params = Params.read()
    recorded = Pipeline.here()
    settled = None if request.force else registry.latest_settled(recorded.fingerprint)
    if settled and not _was_tried_uncommitted(settled, commit):
        _publish(branch, request, params)
        if request.push:
            _sync_store(store_sync.push)  # in case an earlier try failed to
        return _nothing_new(settled)
    run = _recorded_run(store, recorded, commit)
    decision = _compare(params, request, branch, store, registry, run)
    return REFUSED if decision.verdict == Verdict.REFUSED else SUCCESS


def _compare(
    params: Params,
    request: Request,
    branch: Branch,
    store: tracking.Store,
    registry: Registry,
    run: RecordedRun,
) -> Decision:
    """Register a run as the challenger, decide between it and the champion, and report it."""
    metrics = json.loads(METRICS.read_text())
    new = registry.register(run.run_id, _tags(run, params, request))
    registry.set_alias(CHALLENGER, new)
    old = _opponent(registry, new)
    scoring.challenger_model(new, params.kind)
    challenger = _as_challenger(run, new, metrics)
    champion = _of_another_problem(registry, old, Problem.of(params))
    if old and champion is None:
        champion = scoring.champion_performance(old, new, request.day, params)
    decision = _earlier_decision(registry, new)
    decision = decision or policy.decide(
        challenger, champion, params.retrain, must_beat_champion=params.evaluate.beats_champion
    )
    _publish(branch, request, params)
    if decision.verdict == Verdict.PROMOTED:
        aliases.promote(registry, new, old, branch.day, "; ".join(decision.reasons))
    compared = old if champion and not champion.other_problem else None
    comparison = reporting.Comparison(run, new, metrics, compared, champion, decision)
    card = reporting.card_of(registry, store, params, request.day, comparison)
    reporting.publish(registry, comparison, card)
    if request.push:
        _sync_store(store_sync.push)
    print(f"retrain: {decision.verdict}: {card.title}")
    for reason in decision.reasons:
        print(f"  - {reason}")
    return decision


def _commit_data(params: Params, request: Request, branch: Branch) -> str:
    """Write the day's seed to params.yaml, unless a table is read; return the commit with it.

    The commit is made even without --push, so that the recorded run can name it.
    """
    if params.generate.table is None:
        seed = request.seed if request.seed is not None else int(f"{request.day:%Y%m%d}")
        if seed != params.generate.seed:
            files.write_bytes(PARAMS, with_seed(PARAMS.read_bytes().decode(), seed).encode())
        print(f"retrain: {request.day}: drawn data, seed {seed}", flush=True)
    else:
        print(f"retrain: {request.day}: {params.generate.table} as it is now", flush=True)
    commit = branch.commit(_paths_to_commit(params), f"Retraining of {request.day}: fresh data")
    if edits := _uncommitted(commit).paths:
        print(
            f"retrain: uncommitted changes, so nothing will be promoted: {', '.join(edits[:5])}",
            file=sys.stderr,
        )
    return commit


def _uncommitted(commit: str) -> Commit:
    """Return the pipeline's inputs that differ from `commit`; other files do not count."""
    return Pipeline.here().commit(commit)


def _check_table_is_tracked(params: Params, request: Request) -> None:
    """Raise UsageError for a table that neither git nor DVC tracks, and for a seed with a table."""
    table = params.generate.table
    if table is None:
        return
    if request.seed is not None:
        raise UsageError(f"--seed must not be given if generate.table is set (got {table})")
    ignored = git.call("check-ignore", "--quiet", "--", table).returncode == 0
    if ignored and not Path(f"{table}.dvc").exists():
        raise UsageError(
            f"generate.table must be tracked by git or DVC (got {table}, which is tracked by"
            f" neither: run `dvc add {table}`)"
        )


def _paths_to_commit(params: Params) -> tuple[str, ...]:
    """Return the paths for the day's commit: params.yaml, and the table or its .dvc file.

    params.yaml is left out if more than its seed was edited: its author must commit that edit.
    """
    table = params.generate.table
    pointer = f"{table}.dvc"
    tracked = pointer if Path(pointer).exists() else table
    settings = () if _is_edited() else (str(PARAMS),)
    return (*settings, *((tracked,) if tracked else ()))


def _is_edited() -> bool:
    """Return whether params.yaml differs from its committed version in more than the seed."""
    committed = git.call("show", f"HEAD:./{PARAMS}")
    if committed.returncode:
        return True
    return with_seed(committed.stdout.decode(), 0) != with_seed(
        PARAMS.read_text(encoding="utf-8"), 0
    )


def _sync_store(transfer: Callable[[], str]) -> None:
    """Pull or push the local store by `transfer`; do nothing with a tracking server."""
    if address.local_store() is None:
        return
    if pipeline.has_remote():
        print(f"retrain: {transfer()}", flush=True)
    else:
        print("retrain: there is no DVC remote, so the store is not pushed", file=sys.stderr)


def _nothing_new(settled: Version) -> int:
    verdict = settled.tags.get("verdict", "")
    print(
        f"retrain: nothing new: the same data, parameters and code were retrained on"
        f" {settled.tags.get('retrained_on')} as {settled.name} ({verdict}); use --force to repeat"
    )
    reporting.set_workflow_outputs(verdict, settled.tags.get("drift", ""))
    return SUCCESS


def _was_tried_uncommitted(settled: Version, commit: str) -> bool:
    """Return whether the earlier retraining had uncommitted changes and this one has none."""
    return settled.tags.get("git_dirty") == "true" and not _uncommitted(commit).dirty


def _recorded_run(store: tracking.Store, recorded: Pipeline, commit: str) -> RecordedRun:
    """Return the complete run of the pipeline's results; record it if it is not in this store.

    A run that was recorded with uncommitted changes has a patch. It is repeated from a clean tree,
    so that its commit alone gives its code.
    """
    run = store.find_complete(recorded.fingerprint, recorded.results)
    if run and run.tags.get("git_dirty") == "true" and not _uncommitted(commit).dirty:
        print("retrain: running again, now without uncommitted changes", flush=True)
        pipeline.repro(commit, force=True)
        run = store.find_complete(recorded.fingerprint, recorded.results)
    if run is None:
        pipeline.repro(commit, force=True, only="record")
        run = store.find_complete(recorded.fingerprint, recorded.results)
    if run is None:
        raise WorkspaceError(
            f"`dvc repro` recorded no run in {store.shown_uri}: run `samerun doctor`"
        )
    return run


def _tags(run: RecordedRun, params: Params, request: Request) -> dict[str, str]:
    fitted = Fitted.read(MODEL)
    return {
        "fingerprint": run.tags["fingerprint"],
        "data_sha256": files.sha256_of(DATA / "SHA256SUMS"),
        "git_commit": run.tags["git_commit"],
        "git_dirty": run.tags["git_dirty"],
        "gate": run.tags["gate"],
        "retrained_on": request.day.isoformat(),
        "model": fitted.to_json(),
        "answers": answers(params.kind, fitted),
        "sample": scoring.training_sample(params).to_json(),
        **({"holdout": scoring.holdout_digest(params)} if params.generate.table else {}),
    }


def _as_challenger(run: RecordedRun, new: Version, metrics: dict[str, Any]) -> Challenger:
    gate = metrics["gate"]
    return Challenger(
        gate=[] if gate["passed"] is True else gate["reasons"] or ["no reason given"],
        clean=run.tags.get("git_dirty") == "false" and run.tags.get("git_commit") != "none",
        complete=run.status == "FINISHED",
        finite=None not in (metrics["train"]["rmse"], *(metrics[n] for n in metrics["se"])),
        rolled_back=new.tags.get("rolled_back"),
    )


def _of_another_problem(
    registry: Registry, old: Version | None, problem: Problem
) -> Champion | None:
    """Return the champion if it solves another problem, so that it must not be compared; or None.

    It belongs to another registered model, unless somebody moved an alias by hand.
    """
    if old is None:
        if (elsewhere := registry.champion_elsewhere()) is None:
            return None
        version, solved = elsewhere
        return Champion(
            f"{version.name} of {version.model_name}", 0, other_problem=described(solved)
        )
    solved = old.tags.get(PROBLEM, problem.to_json())
    if solved == problem.to_json():
        return None
    return Champion(old.name, 0, other_problem=described(solved))


def _opponent(registry: Registry, new: Version) -> Version | None:
    """Return the champion to compare `new` with: its predecessor if `new` is champion already."""
    champion = registry.by_alias(CHAMPION)
    if champion and champion.number == new.number:
        replaced = champion.tags.get("replaces")
        return registry.by_number(replaced) if replaced else None
    return champion


def _earlier_decision(registry: Registry, new: Version) -> Decision | None:
    """Return the decision of an earlier try that was interrupted after it moved the champion."""
    champion = registry.by_alias(CHAMPION)
    if champion is None or champion.number != new.number:
        return None
    return Decision(Verdict.PROMOTED, [champion.tags.get("champion_why", "it was promoted")])


def _publish(branch: Branch, request: Request, params: Params) -> None:
    """Commit parameters and dvc.lock to the day's branch; push the data, then the branch."""
    branch.commit((*_paths_to_commit(params), "dvc.lock"), f"Retraining of {request.day}: lock")
    if not request.push:
        return
    if pipeline.has_remote():
        pipeline.push()
    outcome = f"pushed {branch.name}" if branch.push() else "no commit to push"
    print(f"retrain: {outcome}", flush=True)
