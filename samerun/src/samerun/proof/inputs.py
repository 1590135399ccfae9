"""Places the inputs of a reproduction's stages in its checkout.

These are the data of .dvc files and, with --stage, the outputs of earlier stages in the run. Both
come from the user's cache or a remote, by the hashes of the run; never from the user's files.
"""

import shutil
from collections.abc import Sequence

from samerun import programs
from samerun.core.errors import ReproductionError
from samerun.dvc import cache, checkout, hashing
from samerun.dvc.stage import Item, Stage
from samerun.pipeline import Pipeline
from samerun.proof.outputs import RecordedFiles
from samerun.proof.sandbox import Sandbox


def place(
    pipeline: Pipeline, stages: Sequence[Stage], sandbox: Sandbox, old: RecordedFiles
) -> None:
    """Place what the stages read and do not make. old: the files of the run.

    Raises: ReproductionError if something is found nowhere, or is outside the checkout.
    """
    made = {out.path for stage in stages for out in stage.outs}
    readers = {item.path: (item, stage) for stage in stages
               for item in pipeline.project.sources(stage) if item.path not in made}  # fmt: skip
    for item, stage in readers.values():
        if not sandbox.contains(pipeline.project, item):
            raise ReproductionError(
                f"stage {stage.short} reads {item.path}, which is outside the repository: a"
                " reproduction would overwrite it"
            )
    missing = [
        (item, stage)
        for item, stage in readers.values()
        if not cache.restore(
            old.cache, item.locked, pipeline.project.path(item.path), executable=item.executable
        )
        and not _copy(pipeline, item, old)
    ]
    if missing:
        _pull(pipeline, missing, sandbox)


def _copy(pipeline: Pipeline, item: Item, old: RecordedFiles) -> bool:
    """Copy an output from the run's artifacts. Return whether all of it is there."""
    artifact = old.artifact(pipeline.relative(item.path))
    target = pipeline.project.path(item.path)
    if item.locked is None or hashing.digest(str(artifact)) != item.locked:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if artifact.is_dir():
        shutil.copytree(artifact, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(artifact, target)
    return True


def _pull(pipeline: Pipeline, missing: Sequence[tuple[Item, Stage]], sandbox: Sandbox) -> None:
    """Pull data and outputs from a DVC remote. Raises: ReproductionError if one is not there."""
    project = pipeline.project
    targets: list[str] = []
    for item, stage in missing:
        if item in project.data:
            checkout.find_source(item.pointer, sandbox.users_root)
            targets.append(str(item.pointer))
        elif not item.cached:
            raise ReproductionError(
                f"{item.path}, which stage {stage.short} reads, is neither an artifact of the run"
                " nor in DVC's cache (cache: false): reproduce the run without --stage"
            )
        else:
            targets.append(str(project.path(item.path)))
    pull = programs.dvc("pull", "--force", *targets)
    done = programs.call(*pull, at=sandbox.folder, env=sandbox.environment)
    if done.returncode:
        absent = [one for one in missing if not project.path(one[0].path).exists()] or missing
        reason = programs.reason(done).removesuffix(" - Checkout failed for following targets:")
        raise ReproductionError(_not_found(pipeline, absent, reason))
    for item, stage in missing:
        if item not in project.data and project.digest(item) != item.locked:
            reason = "other bytes than in the run's dvc.lock"
            raise ReproductionError(_not_found(pipeline, [(item, stage)], reason))


def _not_found(pipeline: Pipeline, absent: Sequence[tuple[Item, Stage]], reason: str) -> str:
    """Return the error message for inputs that neither DVC's cache nor its remote has."""
    names = ", ".join(item.path for item, _ in absent)
    outputs = [stage for item, stage in absent if item not in pipeline.project.data]
    if not outputs:
        return f"not in DVC's cache or remote: {names} ({reason}): run `dvc push` where the data is"
    return (
        f"not in DVC's cache or remote: {names}, which stage {outputs[0].short} reads ({reason}):"
        " run `dvc push` where the run was made, or reproduce the run without --stage"
    )
