"""Plans what a reproduction executes, compares its inputs with the run's, and executes it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samerun.core.errors import ReproductionError
from samerun.dvc import checkout, identity
from samerun.dvc.paths import overlap
from samerun.dvc.stage import Stage
from samerun.mlflow import content
from samerun.pipeline import Pipeline
from samerun.proof import comparison, execution, inputs, outputs
from samerun.proof.recorded import Recorded
from samerun.proof.sandbox import Sandbox

_NAMED = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is executed. stages: in order. only: the name given by --stage; None for all."""

    pipeline: Pipeline
    stages: Sequence[Stage]
    only: str | None

    @property
    def compared(self) -> list[Stage]:
        """The stages whose outputs are compared: those that belong to the run's identity."""
        return [stage for stage in self.stages if stage in self.pipeline.deciding]


def chosen(pipeline: Pipeline, name: str) -> list[Stage]:
    """Return the stages with a name: "train", "train@a", or each "train@…".

    Raises: ReproductionError if the run has no such stage.
    """
    stages = [stage for stage in pipeline.ordered() if stage in pipeline.deciding]
    matching = [s for s in stages if name in (s.short, s.name, s.short.partition("@")[0])]
    if not matching:
        names = [stage.short for stage in stages]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        raise ReproductionError(
            f"--stage must be a stage of the run: {', '.join(names[:_NAMED])}{more} (got {name})"
        )
    return matching


def plan(
    recorded: Recorded,
    sandbox: Sandbox,
    old: outputs.RecordedFiles,
    *,
    trusted: bool,
    only: str | None,
) -> Plan:
    """Return the plan, after placing the run's dvc.lock, parameters and data in the checkout.

    only: the stage that is executed; None for all. Raises: ReproductionError if something is
    missing.
    """
    recorded.place_lock(sandbox.folder)
    pipeline = sandbox.pipeline(recorded.environ)
    if not pipeline.deciding:
        raise ReproductionError(
            f"{pipeline.stage.name} depends on no other stage, so there is nothing to execute"
        )
    if recorded.place_inputs(pipeline, trusted=trusted):
        pipeline = sandbox.pipeline(recorded.environ)
    stages = pipeline.ordered() if only is None else chosen(pipeline, only)
    inputs.place(pipeline, stages, sandbox, old)
    sandbox.check_inputs(pipeline, stages)
    return Plan(pipeline, stages, only)


def differences(recorded: Recorded, plan: Plan, sandbox: Sandbox) -> Iterator[str]:
    """Yield how the inputs of the stages differ from those of the run.

    Raises: ReproductionError if one is missing because a submodule or Git LFS has it.
    """
    pipeline = plan.pipeline
    yield from outputs.artifacts(pipeline, content.declarations(pipeline), recorded.artifacts)
    for stage in plan.compared:
        yield from _inputs(pipeline, stage, sandbox)
    current = json.loads(identity.as_json(pipeline.identity))
    for change in comparison.values(_part(recorded.identity, plan), _part(current, plan)):
        yield f"identity: {change}"
    results = recorded.run.tags.get("results")
    if results not in (None, pipeline.results):
        yield "the outputs in the run's dvc.lock do not match its tag results"


def _part(whole: Mapping[str, Any], plan: Plan) -> Mapping[str, Any]:
    """Return the part of an identity about the executed stages: others have no inputs here."""
    if plan.only is None:
        return whole
    names = {stage.name for stage in plan.stages}
    stages = {name: one for name, one in whole.get("stages", {}).items() if name in names}
    return {"stages": stages, "env": whole.get("env", {})}


def _inputs(pipeline: Pipeline, stage: Stage, sandbox: Sandbox) -> Iterator[str]:
    """Yield how the inputs of a stage differ from those in the run's dvc.lock.

    Folders that hold results, or of which only some files count, are compared by identity.json.
    """
    where, project = f"stage {stage.short}", pipeline.project
    if stage.changed_command:
        yield f"{where}: the command differs from the run's dvc.lock"
    for params in stage.params:
        for change in params.changes():
            yield f"{where}: {change} differs from the run's dvc.lock"
    for dep in stage.deps:
        if any(overlap(one, dep.path) for one in (*project.made, *pipeline.config.reads)):
            continue
        digest = project.digest(dep)
        if digest != dep.locked:
            if "://" not in dep.path and (why := sandbox.not_fetched(project.path(dep.path))):
                raise ReproductionError(
                    f"{dep.path} differs from what stage {stage.short} read: {why}"
                )
            was = f"MD5 was {str(dep.locked)[:12]}…, is {str(digest)[:12]}…"
            yield f"{where}: {dep.path} differs from what the run read ({was})"


def execute(
    recorded: Recorded, plan: Plan, sandbox: Sandbox, begin: Callable[[str], object]
) -> None:
    """Execute the stages again. Raises: ReproductionError if one fails."""
    for file in {stage.file for stage in plan.stages if stage.frozen}:
        checkout.unfreeze(file)
    own = {name: recorded.environ.get(name) for name in plan.pipeline.config.env}
    execution.execute(
        plan.pipeline.project.root,
        [stage.name for stage in plan.stages],
        {**sandbox.environment, **own},
        begin,
    )
