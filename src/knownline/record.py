"""The stage `record`: the run, whole, into MLflow; its only output is a marker in mlruns/.

dvc.yaml makes DVC execute this stage whenever it might have something to do; what that is, is
decided here from the receipt that a training leaves and from what the store already has.
"""

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from knownline import content, door, environment, files, history, provenance, receipts, tracking
from knownline.content import Content
from knownline.errors import StoreError
from knownline.params import Params
from knownline.provenance import Identity
from knownline.receipts import Receipt

LINE = Path("models/line.json")
HISTORY = Path("reports/history.csv")
METRICS = Path("reports/metrics.json")
PLOTS = Path("reports/plots")
REPORT = Path("reports/report.html")
LAST = receipts.STORE / "last.json"
"""Which run the marker's fingerprint became, for `knownline summary`; in no output of DVC."""


def main(argv: list[str]) -> int:
    """Record the execution that left a receipt, or make sure that its like is in the store."""
    door.Arguments("record", "Record the run in MLflow, once.", "knownline record").parse_args(argv)
    params = door.read_params()
    for folder in (LINE.parent, METRICS.parent):
        files.check_seal(folder)
    identity = provenance.identity(params, provenance.data_sha256())
    files.check_used(Path("data"), provenance.made_with("generate", params))
    trained = provenance.made_with("train", params, data_sha256=identity.data)
    files.check_used(LINE.parent, trained)
    files.check_used(METRICS.parent, provenance.made_with("evaluate", params))
    fingerprint = identity.fingerprint
    receipt = receipts.find(fingerprint)
    try:
        store = tracking.Store()
        run = None if receipt else store.find_complete(fingerprint)
        if run:
            print(f"record: nothing new, this is run {run.name} ({run.run_id})")
        else:
            run = _record(store, params, identity, receipt)
            print(f"record: run {run.name} ({run.run_id})")
    except StoreError as error:
        raise StoreError(
            f"{error}; run {content.run_name(params, _experiment())} is on disk but not recorded:"
            " `dvc repro` records it later"
        ) from error
    _sweep(store)  # before the marker: a kill in between brings `record` here again
    receipts.make_folder()
    files.write_text(LAST, json.dumps({"fingerprint": fingerprint, "run_id": run.run_id,
                                       "name": run.name, "store": store.uri}) + "\n")  # fmt: skip
    files.write_text(receipts.MARKER, json.dumps({"fingerprint": fingerprint}) + "\n")
    receipts.take(fingerprint)
    return 0


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
    commit, fingerprint = provenance.commit(), identity.fingerprint
    execution, start_ms, end_ms = content.from_receipt(receipt, fingerprint, time.time())
    losses, w, b = history.read(HISTORY)
    experiment = _experiment()
    whole = Content(
        execution=execution,
        name=content.run_name(params, experiment),
        description=content.description(metrics, commit),
        tags=content.tags(
            fingerprint=fingerprint,
            data_sha256=identity.data,
            commit=commit,
            metrics=metrics,
            device=receipt.device if receipt else "unknown",
            experiment=experiment,
            backfilled=receipt is None,
            facts=receipt.facts if receipt else environment.facts(),
        ),
        params=content.texts(params),
        # w and b are there by epoch; a second value at step 0 would belong to no epoch.
        metrics={
            k: v for k, v in content.telling_first(content.numbers(metrics)) if k not in ("w", "b")
        },
        history={"loss": losses.tolist(), "w": w.tolist(), "b": b.tolist()},
        datasets=content.datasets(params, metrics, identity.data),
        start_ms=start_ms,
        end_ms=end_ms,
    )
    with TemporaryDirectory() as scratch:
        made = Path(scratch)
        packages = receipt.packages if receipt else environment.packages()
        (made / "identity.json").write_text(identity.as_json())
        (made / "environment.json").write_text(json.dumps(packages, indent=1) + "\n")
        if commit.dirty:
            (made / "changes.patch").write_bytes(commit.patch)
        wanted = {made: None, PLOTS: "plots"} | dict.fromkeys(
            (
                Path("params.yaml"),
                Path("dvc.lock"),
                METRICS,
                HISTORY,
                REPORT,
                Path("data") / files.SUMS,
            )
        )
        there = {path: folder for path, folder in wanted.items() if path.exists()}
        return store.record(whole, line=LINE, artifacts=there)
