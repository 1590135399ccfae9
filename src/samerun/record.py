"""The stage `record`: write the complete run into MLflow; its only output is a marker in mlruns/.

dvc.yaml makes DVC execute this stage whenever it might have something to do. What that is depends
on the receipt that a training leaves, and on the runs that the store has already.
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
from samerun.mlflow.run_metadata import RunContent
from samerun.working_tree import Commit

_MAX_PATCH_MB = 50
"""Largest size of uncommitted changes, which are stored with the run."""

LAST = receipts.FOLDER / "last.json"
"""The run that the marker's fingerprint stands for, for `knownline summary`; no output of DVC."""


def main() -> int:
    """Record the training that left a receipt; without a receipt, a run that the store lacks."""
    params = Params.read()
    for folder in (MODELS, REPORTS):
        files.check_sums(folder)
    identity = provenance.identity(params, provenance.data_sha256())
    files.check_made_with(DATA, provenance.stage_inputs("generate", params))
    trained = provenance.stage_inputs("train", params, data_sha256=identity.data)
    files.check_made_with(MODELS, trained)
    files.check_made_with(REPORTS, provenance.stage_inputs("evaluate", params))
    fingerprint = identity.fingerprint
    receipt = receipts.read(provenance.digest(trained))
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
    _sweep(store)  # before the marker: after a kill in between, `record` runs again
    receipts.make_folder()
    last = {"fingerprint": fingerprint, "run_id": run.run_id, "name": run.name,
            "store": store.shown_uri, "metrics": files.sha256_of(METRICS)}  # fmt: skip
    files.write_text(LAST, json.dumps(last) + "\n")
    files.write_text(receipts.MARKER, json.dumps({"fingerprint": fingerprint}) + "\n")
    receipts.remove(provenance.digest(trained))
    return 0


def _add_report(store: tracking.Store, run: tracking.RecordedRun) -> None:
    """Add the report and plots to a complete run, unless it has these very files.

    The tag `report` names the page of the present code, once there is more than one.
    """
    page, is_new = store.add_changed(run.run_id, REPORT)
    plots = [store.add_changed(run.run_id, path, PLOTS.name) for path in sorted(PLOTS.glob("*"))]
    if run.tags.get("report", REPORT.name) != page:
        store.tag(run.run_id, {"report": page})
    added = ", ".join(name for name, new in [(page, is_new), *plots] if new)
    outcome = f"{added} added to" if added else "nothing new, this is"
    print(f"record: {outcome} run {run.name} ({run.run_id})")


def _report_changes(commit: Commit) -> None:
    """Print which uncommitted changes are stored with the run, unless it is only params.yaml.

    Raises: WorkspaceError if they are too large to be stored with every run.
    """
    for folder in commit.left_out:
        print(
            f"record: {one_line(folder)} is a git repository without a commit, so nothing of it is"
            " kept with the run: commit there, or name it in .gitignore"
        )
    if commit.paths in ([], ["params.yaml"]):
        return
    megabytes = len(commit.patch) / 1e6
    paths = ", ".join(map(one_line, commit.paths[:5])) + (", …" if len(commit.paths) > 5 else "")
    if megabytes > _MAX_PATCH_MB:
        raise WorkspaceError(
            f"what is not committed must be at most {_MAX_PATCH_MB} MB, since it is kept with the"
            f" run: commit it, or name it in .gitignore (got {megabytes:,.0f} MB: {paths})"
        )
    print(f"record: not committed, so kept with the run ({megabytes:.1f} MB): {paths}")


def _sweep(store: tracking.Store) -> None:
    """Close other runs whose process is gone; a store that fails costs a warning, nothing else."""
    try:
        for run in store.close_abandoned(waiting=receipts.unrecorded()):
            print(f"record: run {run.name} ({run.run_id}) is KILLED: its process is gone")
    except StoreError as error:
        print(f"knownline: warning: lost runs were not looked for: {error}", file=sys.stderr)


def _experiment() -> str | None:
    """Return the name of the DVC experiment that this stage runs in, or None."""
    return os.environ.get("DVC_EXP_NAME") or None


def _record(
    store: tracking.Store, params: Params, identity: Identity, receipt: Receipt | None
) -> tracking.RecordedRun:
    """Write the run and its files into the store.

    Raises: WorkspaceError if the code has changed since `identity` was taken.
    """
    commit = working_tree.commit()
    _report_changes(commit)
    if provenance.identity(params, identity.data) != identity:
        raise WorkspaceError("src/ must not change while a run is recorded: run `dvc repro` again")
    content = _content(params, identity, receipt, commit)
    with TemporaryDirectory() as scratch:
        artifacts = Path(scratch) / "kept"
        artifacts.mkdir()
        _write_artifacts(artifacts, identity, receipt, commit)
        line = Path(shutil.copyfile(LINE, Path(scratch) / LINE.name))
        return store.record(content, line=line, artifacts=artifacts)


def _content(
    params: Params, identity: Identity, receipt: Receipt | None, commit: Commit
) -> RunContent:
    """Return everything that the run shows; without a receipt, it is marked as backfilled."""
    metrics, fingerprint = json.loads(METRICS.read_text()), identity.fingerprint
    execution, start_ms, end_ms = run_metadata.times_of(receipt, fingerprint, time.time())
    losses, w, b = history.read(HISTORY)
    experiment = _experiment()
    return RunContent(
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
        # w and b are logged by epoch; a second value at step 0 would belong to no epoch.
        metrics={
            name: value
            for name, value in run_metadata.varying_first(run_metadata.numbers(metrics))
            if name not in ("w", "b")
        },
        history={"loss": losses.tolist(), "w": w.tolist(), "b": b.tolist()},
        datasets=run_metadata.datasets(params, metrics, identity.data),
        start_ms=start_ms,
        end_ms=end_ms,
    )


def _write_artifacts(
    folder: Path, identity: Identity, receipt: Receipt | None, commit: Commit
) -> None:
    """Write the run's files, except its model, into a folder.

    Outputs are copied: MLflow takes no links, and DVC may be configured to link outputs to its
    cache.
    """
    packages = receipt.packages if receipt else environment.packages()
    (folder / "identity.json").write_text(identity.as_json())
    (folder / "environment.json").write_text(json.dumps(packages, indent=1) + "\n")
    if commit.dirty:
        (folder / "changes.patch").write_bytes(commit.patch)
    lock = [LOCK] if LOCK.exists() else []
    for path in (PARAMS, *lock, METRICS, HISTORY, REPORT, DATA / files.SUMS):
        shutil.copyfile(path, folder / path.name)
    shutil.copytree(PLOTS, folder / "plots")
