"""The stage `record`: the run, whole, into MLflow; its only output is a marker in mlruns/.

dvc.yaml makes DVC execute this stage whenever it might have something to do; what that is, is
decided here from the receipt that a training leaves and from what the store already has.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from knownline.core import history, yaml_text
from knownline.core.layout import (
    DATA,
    HISTORY,
    LINE,
    LOCK,
    METRICS,
    MODELS,
    PARAMS,
    PLOTS,
    REPORT,
    REPORTS,
)
from knownline.identity import provenance
from knownline.identity.provenance import Identity
from knownline.identity.run_name import run_name
from knownline.params import Params
from samerun import working_tree
from samerun.core import files
from samerun.core.errors import StoreError, WorkspaceError, one_line
from samerun.execution import environment, receipts
from samerun.execution.receipts import Receipt
from samerun.mlflow import run_metadata, tracking
from samerun.mlflow.run_metadata import Content
from samerun.working_tree import Commit

MOST_CHANGES = 50
"""Megabytes of changes that are not committed, which a run keeps."""

LAST = receipts.STORE / "last.json"
"""Which run the marker's fingerprint became, for `knownline summary`; in no output of DVC."""


def main() -> int:
    """Record the execution that left a receipt, or make sure that the store has an equal run."""
    params = Params.read()
    for folder in (MODELS, REPORTS):
        files.check_seal(folder)
    identity = provenance.identity(params, provenance.data_sha256())
    files.check_used(DATA, provenance.made_with("generate", params))
    trained = provenance.made_with("train", params, data_sha256=identity.data)
    files.check_used(MODELS, trained)
    files.check_used(REPORTS, provenance.made_with("evaluate", params))
    fingerprint = identity.fingerprint
    receipt = receipts.find(provenance.digest(trained))
    try:
        store = tracking.Store()
        run = None if receipt else store.find_complete(fingerprint)
        if run:
            _add_report(store, run)
        else:
            run = _record(store, params, identity, receipt)
            print(f"record: run {run.name} ({run.run_id})")
    except StoreError as error:
        raise StoreError(
            f"{error}; run {run_name(params, _experiment())} is on disk but not recorded:"
            " `dvc repro` records it later"
        ) from error
    _sweep(store)  # before the marker: a kill in between brings `record` here again
    receipts.make_folder()
    last = {"fingerprint": fingerprint, "run_id": run.run_id, "name": run.name,
            "store": store.shown_uri, "metrics": files.sha256_of(METRICS)}  # fmt: skip
    files.write_text(LAST, json.dumps(last) + "\n")
    files.write_text(receipts.MARKER, json.dumps({"fingerprint": fingerprint}) + "\n")
    receipts.take(provenance.digest(trained))
    return 0


def _add_report(store: tracking.Store, run: tracking.Recorded) -> None:
    """Add the report to a run that has everything else: only how the page looks has changed."""
    added = store.add_page(run.run_id, REPORT)
    news = f"{added} added to" if added else "nothing new, this is"
    print(f"record: {news} run {run.name} ({run.run_id})")


def _tell_of_changes(commit: Commit) -> None:
    """Say what is kept with the run besides its commit, where somebody may not expect it.

    Raises: WorkspaceError where it is too much to keep with every run.
    """
    for folder in commit.left_out:
        print(
            f"record: {one_line(folder)} is a git repository without a commit, so nothing of it is"
            " kept with the run: commit there, or name it in .gitignore"
        )
    if commit.paths in ([], ["params.yaml"]):
        return
    size = len(commit.patch) / 1e6
    some = ", ".join(map(one_line, commit.paths[:5])) + (", …" if len(commit.paths) > 5 else "")
    if size > MOST_CHANGES:
        raise WorkspaceError(
            f"what is not committed must be at most {MOST_CHANGES} MB, since it is kept with the"
            f" run: commit it, or name it in .gitignore (got {size:,.0f} MB: {some})"
        )
    print(f"record: not committed, so kept with the run ({size:.1f} MB): {some}")


def _sweep(store: tracking.Store) -> None:
    """Close the runs of others whose process is gone; a store that fails now has lost nothing."""
    try:
        for swept in store.sweep(waiting=receipts.waiting()):
            print(f"record: run {swept.name} ({swept.run_id}) is KILLED: its process is gone")
    except StoreError as error:
        print(f"knownline: warning: lost runs were not looked for: {error}", file=sys.stderr)


def _experiment() -> str | None:
    return os.environ.get("DVC_EXP_NAME") or None


def _record(
    store: tracking.Store, params: Params, identity: Identity, receipt: Receipt | None
) -> tracking.Recorded:
    metrics = json.loads(METRICS.read_text())
    commit, fingerprint = working_tree.commit(), identity.fingerprint
    _tell_of_changes(commit)
    if provenance.identity(params, identity.data) != identity:
        raise WorkspaceError("src/ must not change while a run is recorded: run `dvc repro` again")
    execution, start_ms, end_ms = run_metadata.from_receipt(receipt, fingerprint, time.time())
    losses, w, b = history.read(HISTORY)
    experiment = _experiment()
    lock = [LOCK] if LOCK.exists() else []
    whole = Content(
        execution=execution,
        name=run_name(params, experiment),
        description=run_metadata.description(metrics, commit),
        tags=run_metadata.tags(
            fingerprint=fingerprint,
            data_sha256=identity.data,
            commit=commit,
            metrics=metrics,
            device=receipt.device if receipt else "unknown",
            experiment=experiment,
            backfilled=receipt is None,
            by_hand=not os.environ.get("DVC_STAGE"),
            facts=receipt.facts if receipt else environment.facts(),
        ),
        params=yaml_text.texts(params.flat()),
        # w and b are there by epoch; a second value at step 0 would belong to no epoch.
        metrics={
            k: v
            for k, v in run_metadata.telling_first(run_metadata.numbers(metrics))
            if k not in ("w", "b")
        },
        history={"loss": losses.tolist(), "w": w.tolist(), "b": b.tolist()},
        datasets=run_metadata.datasets(params, metrics, identity.data),
        start_ms=start_ms,
        end_ms=end_ms,
    )
    with TemporaryDirectory() as scratch:
        made = Path(scratch) / "kept"
        made.mkdir()
        packages = receipt.packages if receipt else environment.packages()
        (made / "identity.json").write_text(identity.as_json())
        (made / "environment.json").write_text(json.dumps(packages, indent=1) + "\n")
        if commit.dirty:
            (made / "changes.patch").write_bytes(commit.patch)
        # Copies: MLflow takes no links, and DVC may be told to lay outputs as links to its cache.
        for path in (PARAMS, *lock, METRICS, HISTORY, REPORT, DATA / files.SUMS):
            shutil.copyfile(path, made / path.name)
        shutil.copytree(PLOTS, made / "plots")
        line = Path(shutil.copyfile(LINE, Path(scratch) / LINE.name))
        return store.record(whole, line=line, artifacts=made)
