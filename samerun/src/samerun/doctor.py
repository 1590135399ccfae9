"""`samerun doctor`: prints what is wrong with this workspace and its store, one line each."""

import sqlite3
from collections.abc import Iterator, Sequence

from samerun.core import address
from samerun.core.errors import MissingError, StoreError, UserError, one_line
from samerun.dvc.project import Project
from samerun.health import inputs, store, workspace
from samerun.health.finding import Finding
from samerun.mlflow import store_sync, tracking
from samerun.pipeline import Pipeline
from samerun.proof import outputs
from samerun.proof.tolerance import UNUSED, Tolerance

HEALTHY, FINDINGS = 0, 1


def main(*, repair: bool = False) -> int:
    """Return 0 if nothing is wrong, else 1; `--repair` applies the fixes that cannot lose data.

    Raises: MissingError if this folder is in no DVC project.
    """
    remaining, reported = 0, set[str]()
    for finding in _findings(repair=repair):
        if str(finding) in reported:  # two pipelines share a stage
            continue
        reported.add(str(finding))
        if repair and finding.repair:
            finding.repair()
            print(one_line(f"repaired: {finding.place}: {finding.problem}"))
        else:
            print(finding)
            remaining += 1
    plural = "s" if remaining != 1 else ""
    print(f"doctor: {remaining} finding{plural}" if remaining else "doctor: healthy")
    return FINDINGS if remaining else HEALTHY


def _findings(*, repair: bool) -> Iterator[Finding]:
    """Yield findings one by one, so that each can be repaired before the next check."""
    workspace.check_project()
    outside_git = list(workspace.git_repository())
    yield from outside_git
    truncated = [*workspace.dvc_rwlock(), *workspace.dvc_locks()]
    yield from truncated
    damaged = list(workspace.cache())
    yield from damaged
    yield from workspace.packages()
    if truncated and not repair:
        return  # no DVC command would work
    try:
        project = Project()
    except MissingError:
        raise
    except UserError as error:
        if not outside_git:  # DVC needs git, unless core.no_scm says otherwise
            yield Finding("DVC", str(error), "see `dvc status`")
        return
    try:
        pipelines = [Pipeline(project, stage) for stage in workspace.record_stages(project)]
    except UserError as error:
        yield Finding(
            "dvc.yaml", str(error), "until that is corrected, no run is recorded from here"
        )
        yield from workspace.status((), damaged=bool(damaged))
        return
    for pipeline in pipelines:
        yield from _of_pipeline(pipeline, damaged=bool(damaged))
    yield from _of_store(pipelines, repair=repair)


def _of_pipeline(pipeline: Pipeline, *, damaged: bool) -> Iterator[Finding]:
    """Check the inputs, the configuration and the outputs of a pipeline."""
    yield from inputs.changes(pipeline)
    yield from inputs.untracked(pipeline)
    yield from inputs.record_stage(pipeline)
    differing = list(inputs.lock(pipeline))
    yield from differing
    yield from _tolerance(pipeline)
    if not differing:
        yield from workspace.status([pipeline.stage.short], damaged=damaged)
    yield from workspace.leftovers(pipeline)


def _tolerance(pipeline: Pipeline) -> Iterator[Finding]:
    """Look for names under `tolerance` that no output has, if all outputs are there.

    `inputs.record_stage` reports names of files that no stage makes.
    """
    files = list(outputs.files(pipeline, pipeline.deciding))
    if not all(path.exists() for _, path in files):
        return
    mistakes = pipeline.mistakes()
    for name in Tolerance(pipeline.config.tolerance).unused(files):
        if not any(mistake.endswith(f"(got {name})") for mistake in mistakes):
            yield Finding(
                f"stage {pipeline.stage.short}",
                f"meta.samerun: {UNUSED.format(name)}",
                "correct it in dvc.yaml",
            )


def _of_store(pipelines: Sequence[Pipeline], *, repair: bool) -> Iterator[Finding]:
    """Check the store and its runs; a store that cannot be opened is a finding too."""
    experiments: dict[str, list[Pipeline]] = {}
    for pipeline in pipelines:
        experiments.setdefault(pipeline.config.experiment, []).append(pipeline)
    try:
        moved = list(store.location())
        yield from moved
        if moved and not repair:
            return  # no artifact would be found
        absent = list(store.presence(f"refs/remotes/*/{store_sync.BRANCH}"))
        yield from absent
        if absent:
            return
        for together in experiments.values():
            opened = tracking.Store(together[0].config, create=False, follow=False)
            yield from store.runs(opened, together)
    except StoreError as error:
        yield Finding("store", str(error), "repair it, or restore a copy")
    except sqlite3.Error as error:
        uri = address.redacted(address.store_uri())
        yield Finding("store", f"{uri}: {error}", "repair it, or restore a copy")
