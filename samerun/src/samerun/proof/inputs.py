"""What the stages of a reproduction read and do not make, placed in its checkout.

It is the data of .dvc files, and for some stages alone what the stages before them made in the run.
Both come from the user's cache or a remote, by the hashes of the run; never from the user's files.
"""

import shutil
from collections.abc import Sequence

from samerun import programs
from samerun.core.errors import ReproductionError
from samerun.dvc import cache, checkout, hashing
from samerun.dvc.stage import Item, Stage
from samerun.pipeline import Pipeline
from samerun.proof.outputs import Old
from samerun.proof.sandbox import Sandbox


def place(pipeline: Pipeline, stages: Sequence[Stage], sandbox: Sandbox, old: Old) -> None:
    """Place what the stages read and do not make. old: what is kept of the run.

    Raises: ReproductionError if some of it is kept nowhere.
    """
    made = {out.path for stage in stages for out in stage.outs}
    readers = {item.path: (item, stage) for stage in stages
               for item in pipeline.project.sources(stage) if item.path not in made}  # fmt: skip
    for item, stage in readers.values():
        if not sandbox.holds(pipeline.project, item):
            raise ReproductionError(
                f"the stage {stage.short} must read inside the repository what DVC keeps, or what"
                f" is there would be replaced (got {item.path})"
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


def _copy(pipeline: Pipeline, item: Item, old: Old) -> bool:
    """Copy an output that is among the run's artifacts. Returns: whether all of it is there."""
    kept = old.artifact(pipeline.relative(item.path))
    target = pipeline.project.path(item.path)
    if item.locked is None or hashing.digest(str(kept)) != item.locked:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if kept.is_dir():
        shutil.copytree(kept, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(kept, target)
    return True


def _pull(pipeline: Pipeline, missing: Sequence[tuple[Item, Stage]], sandbox: Sandbox) -> None:
    """Fetch data and outputs from a remote. Raises: ReproductionError if it lacks one."""
    project = pipeline.project
    targets: list[str] = []
    for item, stage in missing:
        if item in project.data:
            checkout.find_source(item.pointer, sandbox.users_root)
            targets.append(str(item.pointer))
        elif not item.cached:
            raise ReproductionError(
                f"{item.path}, which the stage {stage.short} reads, must be with the run or in"
                " DVC's cache: reproduce the run without --stage (got neither, with cache: false)"
            )
        else:
            targets.append(str(project.path(item.path)))
    pull = programs.dvc("pull", "--force", *targets)
    done = programs.call(*pull, at=sandbox.folder, env=sandbox.environment)
    if done.returncode:
        absent = [one for one in missing if not project.path(one[0].path).exists()] or missing
        reason = programs.reason(done).removesuffix(" - Checkout failed for following targets:")
        raise ReproductionError(f"{_needed(pipeline, absent)} (got {reason})")
    for item, stage in missing:
        if item not in project.data and project.digest(item) != item.locked:
            needed = _needed(pipeline, [(item, stage)])
            raise ReproductionError(f"{needed} (got other bytes than the run's dvc.lock has)")


def _needed(pipeline: Pipeline, absent: Sequence[tuple[Item, Stage]]) -> str:
    """Return the rule that an absent input breaks, and what to do."""
    names = ", ".join(item.path for item, _ in absent)
    outputs = [stage for item, stage in absent if item not in pipeline.project.data]
    if not outputs:
        return f"{names} must be in DVC's cache or remote: run `dvc push` where the data is"
    return (
        f"{names}, which the stage {outputs[0].short} reads, must be in DVC's cache or remote: run"
        " `dvc push` where the run was made, or reproduce the run without --stage"
    )
