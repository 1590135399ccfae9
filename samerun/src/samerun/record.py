"""`samerun record`: write the complete run into MLflow. Its only output is a marker.

DVC executes this stage whenever there may be something to record. Whether there is depends on the
receipts of the stages' executions and on the runs that the store has already.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from samerun.core import address, files
from samerun.core.errors import StoreError, one_line
from samerun.dvc import identity
from samerun.execution import environment, processes, receipts
from samerun.execution.receipts import Receipt
from samerun.mlflow import content, model_files, phrases, steps
from samerun.mlflow.content import RunContent
from samerun.mlflow.recorded import RESTORED_FOR, RecordedRun
from samerun.mlflow.tags import own_tags
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline
from samerun.working_tree import Commit


def main() -> int:
    """Record executions by their receipts; without any, record the results if no run has them.

    Returns 0. Raises: WorkspaceError if dvc.lock and the workspace differ; StoreError if the store
    fails.
    """
    pipeline = Pipeline.here()
    marker = pipeline.marker  # raises if DVC could restore it from its cache
    pipeline.check()
    for name in pipeline.lacking():
        print(
            f"samerun: warning: {pipeline.stage.short} does not depend on {name}, so a change of it"
            " may not be recorded: add it in dvc.yaml",
            file=sys.stderr,
        )
    made_by = pipeline.receipts()
    new = _new(made_by)
    try:
        store = Store(pipeline.config)
        store.add_experiment_tags()
        run = None if new else store.find_complete(pipeline.fingerprint, pipeline.results)
        if run:
            _add_experiment(store, run)
            _add_presentation(store, pipeline, run)
        else:
            run = _record(store, pipeline, made_by)
            print(f"record: run {run.name} ({run.run_id})")
    except StoreError as error:
        raise StoreError(f"{error}; {_unrecorded(pipeline, new)}") from error
    _close_abandoned(store)  # before the marker: after a kill in between, `record` runs again
    _write_marker(marker, pipeline, store, run)
    for receipt in new:
        receipts.mark_recorded(receipt)
    return 0


def _new(made_by: Sequence[Receipt]) -> list[Receipt]:
    """Return the executions that this process has to record."""
    own = processes.pipeline_process()
    return [receipt for receipt in made_by if receipts.is_new(receipt, own)]


def _write_marker(marker: Path, pipeline: Pipeline, store: Store, run: RecordedRun) -> None:
    """Write the marker, and a file beside it that says which run the workspace has."""
    if not marker.parent.exists():  # a new folder is only ours, so git can ignore it
        files.write_text(marker.parent / ".gitignore", "*\n!.gitignore\n")
    fingerprint = pipeline.fingerprint
    last = {
        "fingerprint": fingerprint,
        "run_id": run.run_id,
        "name": run.name,
        "store": store.shown_uri,
        "outs": _outs(pipeline),
    }
    files.write_text(_last(marker), json.dumps(last) + "\n")
    files.write_text(marker, json.dumps({"fingerprint": fingerprint}) + "\n")


def _last(marker: Path) -> Path:
    """Return the file beside a marker that says which run the workspace has; DVC ignores it.

    For mlruns/recorded.json it is mlruns/last.json. Another marker, such as that of a second record
    stage, has a file of its own.
    """
    end = "" if marker.stem == "recorded" else f"-{marker.stem}"
    return marker.with_name(f"last{end}.json")


def _unrecorded(pipeline: Pipeline, new: Sequence[Receipt]) -> str:
    """Return a message that says what is not recorded yet, as far as local files show."""
    try:
        last = json.loads(_last(pipeline.marker).read_text())
    except (OSError, ValueError):
        last = {}
    recorded = {
        "fingerprint": pipeline.fingerprint,
        "store": address.redacted(address.store_uri()),
        "outs": _outs(pipeline),
    }
    if new or not isinstance(last, dict) or not recorded.items() <= last.items():
        return "the results are on disk but not recorded: `dvc repro` records them later"
    stages = " and ".join(f"`{stage.short}`" for stage in pipeline.presenting)
    later = f"; run `dvc repro` later to add what {stages} wrote" if stages else ""
    return f"run {last['name']} has the results{later}"


def _outs(pipeline: Pipeline) -> dict[str, str | None]:
    """Return the hashes of the deciding stages' outputs, by path."""
    return {pipeline.relative(out.path): out.locked for out in pipeline.outputs()}


def _add_experiment(store: Store, run: RecordedRun) -> None:
    """Tag the run with the DVC experiment that has its results, so that the name finds the run."""
    name = os.environ.get("DVC_EXP_NAME")
    if name and name not in run.experiments:
        others = [run.tags[RESTORED_FOR]] if RESTORED_FOR in run.tags else []
        store.tag(run.run_id, {RESTORED_FOR: ", ".join([*others, name])})


def _add_presentation(store: Store, pipeline: Pipeline, run: RecordedRun) -> None:
    """Add the outputs of presenting stages to a complete run, unless it has the same files.

    If there are several versions of a report, the tag `report` names the newest.
    """
    added = []
    for stage in pipeline.presenting:
        for out in stage.outs:
            for path in sorted(pipeline.project.files(out)):
                relative = Path(pipeline.relative(path))
                folder = "" if relative.parent == Path() else relative.parent.as_posix()
                name, is_new = store.add_changed(run.run_id, pipeline.project.path(path), folder)
                added += [name] if is_new else []
                if relative.suffix == ".html" and run.tags.get("report", str(relative)) != name:
                    store.tag(run.run_id, {"report": name})
    outcome = f"{', '.join(added)} added to" if added else "nothing new, this is"
    print(f"record: {outcome} run {run.name} ({run.run_id})")


def _report_changes(commit: Commit, params: Sequence[str]) -> None:
    """Print which uncommitted changes, other than of parameters, are stored with the run."""
    for folder in commit.left_out:
        print(
            f"record: {one_line(folder)} is a git repository without a commit, so the run stores"
            " nothing of it: commit there, or list it in .gitignore"
        )
    changed = [path for path in commit.paths if path not in params]
    if changed:
        paths = ", ".join(map(one_line, changed[:5])) + (", …" if len(changed) > 5 else "")
        size = f" ({len(commit.patch) / 1e6:.1f} MB)" if len(commit.patch) >= 100_000 else ""
        print(f"record: uncommitted changes stored with the run{size}: {paths}")


def _close_abandoned(store: Store) -> None:
    """Mark other runs whose process is gone as KILLED; if the store fails, only warn."""
    try:
        waiting = {receipt.execution for receipt in receipts.unrecorded()}
        for run in store.close_abandoned(waiting=waiting):
            print(f"record: run {run.name} ({run.run_id}) is KILLED: its process is gone")
    except StoreError as error:
        print(
            f"samerun: warning: no runs of killed processes were closed: {error}", file=sys.stderr
        )


def _record(store: Store, pipeline: Pipeline, made_by: Sequence[Receipt]) -> RecordedRun:
    """Write the run and its files into the store."""
    commit = pipeline.commit()
    params = [each.file for stage in pipeline.deciding for each in stage.params]
    _report_changes(commit, params)
    run_content = _content(store, pipeline, made_by, commit)
    with TemporaryDirectory() as scratch:
        artifacts = Path(scratch) / "kept"
        artifacts.mkdir()
        _write_artifacts(artifacts, pipeline, made_by, commit)
        return store.record(run_content, model=model_files.files_of(pipeline), artifacts=artifacts)


def _content(
    store: Store, pipeline: Pipeline, made_by: Sequence[Receipt], commit: Commit
) -> RunContent:
    """Return everything that the run's page shows."""
    new = _new(made_by)
    execution, start, end = _times(store, new, pipeline)
    experiment = os.environ.get("DVC_EXP_NAME") or None
    by_step, others = steps.read(pipeline)
    history = steps.reported(made_by) | by_step
    tags = _tags(pipeline, made_by, commit, experiment)
    if unshown := content.only_in_files(pipeline, others):
        tags["only_in_files"] = content.text_of(unshown)
    if lost := content.only_in_files(pipeline, others, texts_too=False):
        print(f"record: MLflow cannot show these as they are: {one_line(lost)}")
    return RunContent(
        execution=execution,
        name=phrases.run_name(
            pipeline,
            store.baseline(pipeline.stage.name),
            experiment,
            lambda name: store.similar(name, phrases.SHOWN, pipeline.fingerprint),
        ),
        description=content.description(pipeline, commit),
        tags=tags,
        params=content.params(pipeline),
        metrics=content.metrics(pipeline, history),
        history=history,
        datasets=content.datasets(pipeline),
        start_ms=int(start * 1000),
        end_ms=int(end * 1000),
    )


def _times(store: Store, new: Sequence[Receipt], pipeline: Pipeline) -> tuple[str, float, float]:
    """Return the id of a run's execution, its start and its end, in seconds since 1970.

    If one of the executions was shown while it ran, it has a run in the store, and its id is used.
    If no execution is new, start and end are now.
    """
    if not new:
        what = f"{pipeline.fingerprint[:32]}-{pipeline.results[:32]}"
        return f"backfill-{what}", time.time(), time.time()
    first = min(new, key=lambda receipt: receipt.started)
    shown = (each.execution for each in reversed(new) if each.live and store.has(each.execution))
    execution = next(shown, first.execution)
    return execution, first.started, first.started + sum(receipt.seconds for receipt in new)


def _tags(
    pipeline: Pipeline, made_by: Sequence[Receipt], commit: Commit, experiment: str | None
) -> dict[str, str]:
    facts = made_by[-1].facts if made_by else environment.facts()
    tags = {"device": "unknown", **facts}
    for receipt in made_by:
        tags |= receipt.tags
    tags |= own_tags(pipeline)
    tags |= {
        "fingerprint": pipeline.fingerprint,
        "results": pipeline.results,
        "record": pipeline.stage.name,
        **content.tags_of(commit),
    }
    if experiment:
        tags["dvc_exp_name"] = experiment
    if not pipeline.wrapped:
        tags["executed"] = "unseen"
    elif not _new(made_by):
        tags["backfilled"] = "true"
    seen = {receipt.stage for receipt in made_by}
    frozen = [stage.short for stage in pipeline.deciding if stage.frozen and stage.name not in seen]
    if frozen:  # after `repro -f`, dvc.lock may have parameters that a frozen stage never ran with
        tags["frozen"] = ", ".join(frozen)
    return tags


def _write_artifacts(
    folder: Path, pipeline: Pipeline, made_by: Sequence[Receipt], commit: Commit
) -> None:
    """Write the run's files, except its model, into a folder.

    Outputs are copied, since DVC may have linked them to its cache and MLflow accepts no links.
    """
    packages = made_by[-1].packages if made_by else environment.packages()
    (folder / "identity.json").write_text(identity.as_json(pipeline.identity))
    (folder / "environment.json").write_text(json.dumps(packages, indent=1) + "\n")
    if commit.dirty:
        (folder / "changes.patch").write_bytes(commit.patch)
    for name in content.files(pipeline):
        target = folder / content.artifact(pipeline, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pipeline.project.path(name), target)
