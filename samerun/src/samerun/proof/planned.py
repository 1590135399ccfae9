"""What a reproduction is about to execute, against what the run executed; and its execution."""

import json
from collections.abc import Callable, Iterator

from samerun.core.errors import ReproductionError
from samerun.dvc import checkout, identity
from samerun.dvc.paths import contains
from samerun.dvc.stage import Stage
from samerun.mlflow import content
from samerun.pipeline import Pipeline
from samerun.proof import comparison, execution, outputs
from samerun.proof.recorded import Recorded
from samerun.proof.sandbox import Sandbox


def pipeline(recorded: Recorded, sandbox: Sandbox, *, trusted: bool) -> Pipeline:
    """Return the run's pipeline: the code of its commit, its parameters, its dvc.lock, its data.

    Raises: ReproductionError if something of it is missing.
    """
    recorded.place_lock(sandbox.folder)
    found = sandbox.pipeline(recorded.environ)
    if not found.deciding:
        raise ReproductionError(
            f"{found.stage.name} must depend on what another stage makes (got nothing to execute)"
        )
    if recorded.place_inputs(found, trusted=trusted):
        found = sandbox.pipeline(recorded.environ)
    sandbox.fetch_data(found)
    sandbox.check_inputs(found)
    return found


def differences(recorded: Recorded, pipeline: Pipeline, sandbox: Sandbox) -> Iterator[str]:
    """Yield how the inputs of a pipeline differ from those of the run.

    Raises: ReproductionError if that is because a submodule or Git LFS keeps one.
    """
    yield from outputs.artifacts(pipeline, content.declarations(pipeline), recorded.artifacts)
    for stage in filter(pipeline.deciding.__contains__, pipeline.ordered()):
        yield from _inputs(pipeline, stage, sandbox)
    current = json.loads(identity.as_json(pipeline.identity))
    for change in comparison.values(recorded.identity, current):
        yield f"identity: {change}"
    results = recorded.run.tags.get("results")
    if results not in (None, pipeline.results):
        yield "the outputs in the run's dvc.lock are not those of its tag: results"


def _inputs(pipeline: Pipeline, stage: Stage, sandbox: Sandbox) -> Iterator[str]:
    """Yield how the inputs of a stage differ from those that the run's dvc.lock has.

    Of folders that hold results, or of which only some files count, identity.json has the files.
    """
    where, project = f"stage {stage.short}", pipeline.project
    if stage.changed_command:
        yield f"{where}: the command is not the one in the run's dvc.lock"
    for params in stage.params:
        for change in params.changes():
            yield f"{where}: {change} is not as the run's dvc.lock has it"
    for dep in stage.deps:
        partly = any(contains(a, b) for one in (*project.made, *pipeline.config.reads)
                     for a, b in ((one, dep.path), (dep.path, one)))  # fmt: skip
        if partly:
            continue
        digest = project.digest(dep)
        if digest != dep.locked:
            if "://" not in dep.path and (why := sandbox.not_fetched(project.path(dep.path))):
                raise ReproductionError(
                    f"{dep.path} must be as the stage {stage.short} read it (got other bytes:"
                    f" {why})"
                )
            was = f"MD5 was {str(dep.locked)[:12]}…, is {str(digest)[:12]}…"
            yield f"{where}: {dep.path} is not what the run read ({was})"


def execute(
    recorded: Recorded, pipeline: Pipeline, sandbox: Sandbox, begin: Callable[[str], object]
) -> None:
    """Execute the stages of a run again. Raises: ReproductionError if one fails."""
    for file in {stage.file for stage in pipeline.deciding if stage.frozen}:
        checkout.unfreeze(file)
    own = {name: recorded.environ.get(name) for name in pipeline.config.env}
    execution.execute(
        pipeline.project.root,
        [stage.name for stage in pipeline.ordered()],
        {**sandbox.environment, **own},
        begin,
    )
