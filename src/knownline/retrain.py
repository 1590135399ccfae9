"""`knownline retrain`: one scheduled retraining, from fresh data to who serves.

Every step can be repeated and leaves what it made, so a retraining that was killed or could not go
on is finished by calling it again. The champion moves last but for the word that it has.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from knownline import (
    carriage,
    comparison,
    contest,
    door,
    files,
    location,
    pipeline,
    promotion,
    provenance,
    succession,
    tracking,
)
from knownline.branch import Branch
from knownline.errors import StoreError, UsageError, WorkspaceError
from knownline.line import Line, rounded
from knownline.params import Params, with_seed
from knownline.promotion import Challenger, Champion, Decision, Verdict
from knownline.registry import CHALLENGER, CHAMPION, Registry, Version
from knownline.report import Report
from knownline.tracking import Recorded

SERVED, REFUSED = 0, 3
REPORT = Path("reports/retrain.md")
PARAMS = Path("params.yaml")
LAID = (str(PARAMS), "data/own")
"""What a retraining lays: the commit it records is HEAD with these as they are."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. day: UTC. seed: None for the day's own."""

    day: date
    seed: int | None
    force: bool
    push: bool


def main(argv: list[str]) -> int:
    """Return 0 where a champion serves, promoted or kept; 3 where the challenger is refused."""
    wish = _parse(argv)
    signal.signal(signal.SIGTERM, door.interrupt)
    params = door.read_params()
    with succession.only_one():
        return _retrain(params, wish)


def _parse(argv: list[str]) -> Wish:
    parser = door.Arguments(
        "retrain",
        "Fresh data, a training, the gate, champion against challenger, a report. Exit: 0 promoted"
        " or kept, 3 refused, 2 could not run. Repeating it for the same day is harmless.",
        "knownline retrain --push",
    )
    parser.add_argument("--seed", type=int, help="of the drawn data (the day's: YYYYMMDD, UTC)")
    parser.add_argument("--date", type=_date, help="the day, YYYY-MM-DD (today, UTC)")
    parser.add_argument("--force", action="store_true", help="also where nothing is new")
    parser.add_argument("--push", action="store_true", help="push branch retrain/DATE and outputs")
    given = parser.parse_args(argv)
    if given.seed is not None and not 0 <= given.seed < 2**63:
        raise UsageError(f"--seed must be 0 or more and less than 2^63 (got {given.seed})")
    return Wish(given.date or datetime.now(UTC).date(), given.seed, given.force, given.push)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be YYYY-MM-DD (got {text})") from None


def _retrain(params: Params, wish: Wish) -> int:
    branch = Branch(wish.day.isoformat())
    if wish.push:
        branch.catch_up()
        _carry(carriage.pull)
    pipeline.pull()
    store = tracking.Store()
    registry = Registry(store)
    commit = _lay(params, wish, branch)
    pipeline.repro(commit, force=wish.force)
    params = door.read_params()
    identity = provenance.identity(params, provenance.data_sha256())
    settled = None if wish.force else registry.settled(identity.fingerprint)
    if settled:
        _publish(branch, wish, params)
        if wish.push:
            _carry(carriage.push)  # where an earlier try could not
        return _nothing_new(settled)
    run = _recorded(store, identity.fingerprint, commit)
    metrics = json.loads(Path("reports/metrics.json").read_text())
    line = Line.from_json(Path("models/line.json").read_text())
    new = registry.register(run.run_id, _tags(run, line, wish))
    registry.point(CHALLENGER, new)
    old = _other(registry, new)
    contest.as_recorded(new)
    challenger = _asked(run, metrics)
    stands = contest.standing(old, new, wish.day, params.retrain) if old else None
    decision = _decided(registry, new) or promotion.decide(challenger, stands, params.retrain)
    _publish(branch, wish, params)
    if decision.verdict == Verdict.PROMOTED:
        succession.promote(registry, new, old, branch.day, "; ".join(decision.reasons))
    report = _report(registry, store, params, wish, decision, (run, new, metrics), (old, stands))
    _settle(registry, new, report, stands)
    if wish.push:
        _carry(carriage.push)
    print(f"retrain: {decision.verdict}: {report.title}")
    for reason in decision.reasons:
        print(f"  - {reason}")
    return REFUSED if decision.verdict == Verdict.REFUSED else SERVED


def _lay(params: Params, wish: Wish, branch: Branch) -> str:
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
    commit = branch.commit(_laid(params), f"Retraining of {wish.day}: fresh data")
    if beyond := provenance.commit(commit).paths:
        print(
            f"retrain: the tree is not clean, so nothing will be promoted: {', '.join(beyond[:5])}",
            file=sys.stderr,
        )
    return commit


def _laid(params: Params) -> tuple[str, ...]:
    """Return what the day's commit takes from the folder: what git knows already, and the table."""
    table = params.generate.table
    if table is None:
        return LAID
    pointer = f"{table}.dvc"
    return (*LAID, pointer if Path(pointer).exists() else table)


def _carry(way: Callable[[], str]) -> None:
    """Pull or push the embedded store, which a tracking server would keep."""
    if location.embedded() is None:
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
    _tell_workflow("GITHUB_OUTPUT", f"verdict={verdict}\ndrift={settled.tags.get('drift', '')}\n")
    return SERVED


def _recorded(store: tracking.Store, fingerprint: str, commit: str) -> Recorded:
    """Return the run, also where DVC's marker speaks of another store.

    What somebody tried before he committed it was recorded with a patch; the same from a clean tree
    is done again, so that its commit alone gives it.
    """
    run = store.find_complete(fingerprint)
    if run and run.tags.get("git_dirty") == "true" and not provenance.commit(commit).dirty:
        pipeline.repro(commit, force=True)
        run = store.find_complete(fingerprint)
    if run is None:
        pipeline.repro(commit, force=True, only="record")
        run = store.find_complete(fingerprint)
    if run is None:
        raise WorkspaceError(f"the run must be in {store.uri} after `dvc repro` (got none)")
    return run


def _tags(run: Recorded, line: Line, wish: Wish) -> dict[str, str]:
    return {
        "fingerprint": run.tags["fingerprint"],
        "data_sha256": run.tags["data_sha256"],
        "git_commit": run.tags["git_commit"],
        "gate": run.tags["gate"],
        "retrained_on": wish.day.isoformat(),
        "line": line.to_json(),
        "sample": contest.training_sample().to_json(),
    }


def _asked(run: Recorded, metrics: dict[str, Any]) -> Challenger:
    gate = metrics["gate"]
    return Challenger(
        gate=[] if gate["passed"] is True else gate["reasons"] or ["it gave no reason"],
        clean=run.tags.get("git_dirty") == "false" and run.tags.get("git_commit") != "none",
        complete=run.status == "FINISHED",
        finite=all(isinstance(metrics[name], float | int) for name in ("w", "b")),
    )


def _other(registry: Registry, new: Version) -> Version | None:
    """Return the champion that `new` is held against: not itself, where an earlier try was cut."""
    champion = registry.holding(CHAMPION)
    if champion and champion.number == new.number:
        before = champion.tags.get("replaces")
        return registry.numbered(before) if before else None
    return champion


def _decided(registry: Registry, new: Version) -> Decision | None:
    """Return the decision of an earlier try that was cut short after the champion had moved."""
    champion = registry.holding(CHAMPION)
    if champion is None or champion.number != new.number:
        return None
    return Decision(Verdict.PROMOTED, [champion.tags.get("champion_why", "it was promoted")])


def _publish(branch: Branch, wish: Wish, params: Params) -> None:
    """Commit parameters and lock on the day's branch; push them, the data before its pointers."""
    branch.commit((*_laid(params), "dvc.lock"), f"Retraining of {wish.day}: lock")
    if not wish.push:
        return
    if pipeline.has_remote():
        pipeline.push()
    said = f"{branch.name} is pushed" if branch.push() else "nothing to push"
    print(f"retrain: {said}", flush=True)


def _report(
    registry: Registry,
    store: tracking.Store,
    params: Params,
    wish: Wish,
    decision: Decision,
    tried: tuple[Recorded, Version, dict[str, Any]],
    sat: tuple[Version | None, Champion | None],
) -> Report:
    run, new, metrics = tried
    old, stands = sat
    wanted = params.generate
    data = f"drawn, seed {wanted.seed}" if wanted.table is None else wanted.table
    line = old.line if old else None
    links = {"Run": run.run_id}
    if store.uri.startswith("http"):
        links["Run"] = f"{store.uri}/#/experiments/{store.experiment}/runs/{run.run_id}"
    return Report(
        day=wish.day.isoformat(),
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


def _changed(registry: Registry, old: Version, run: Recorded) -> list[str]:
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


def _settle(registry: Registry, new: Version, report: Report, stands: Champion | None) -> None:
    """Write the report and the words on run and version; `settled` comes last."""
    text = report.markdown()
    files.write_text(REPORT, text)
    registry.attach(report.run_id, REPORT)
    registry.describe(new, text)
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
    _tell_workflow("GITHUB_STEP_SUMMARY", text)
    _tell_workflow("GITHUB_OUTPUT", f"verdict={said['verdict']}\ndrift={said['drift']}\n")
    registry.tag(new, {**said, "settled_at": _now(), "settled": "true"})


def _tell_workflow(variable: str, text: str) -> None:
    """Append to the file that a CI system names, where it does."""
    if name := os.environ.get(variable):
        with Path(name).open("a", encoding="utf-8") as stream:
            stream.write(text)


def _now() -> str:
    """Return the time, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
