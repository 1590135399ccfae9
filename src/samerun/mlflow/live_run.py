"""The run of an execution that is under way: opened, written and closed beside it."""

import os

from samerun import config
from samerun.core.errors import UserError
from samerun.core.flatten import flatten
from samerun.dvc.project import Project
from samerun.dvc.stage import Stage
from samerun.execution import processes
from samerun.execution.scratch import Scratch
from samerun.mlflow import content, tracking


class LiveRun:
    """A run that is open while its stage executes. run_id: its id."""

    def __init__(
        self,
        project: Project,
        stage: Stage,
        scratch: Scratch,
        pipeline: str | None,
        tags: dict[str, str],
    ) -> None:
        """Open the run, or open that of an earlier attempt or of an earlier stage again.

        pipeline: the name of the dvc that runs the stage. tags: what the program said of itself.

        Raises: UserError if the store cannot be used.
        """
        recorder = next((one for one in project.stages if one.records), None)
        if recorder is None:
            raise UserError("dvc.yaml must have a stage that runs `samerun record` (got none)")
        self._store = tracking.Store(config.of(project, recorder))
        experiment = os.environ.get("DVC_EXP_NAME")
        own_tags = {
            **tags,
            "stage": stage.name,
            "process": processes.this_process(),
            **({"pipeline": pipeline} if pipeline else {}),
            **({"dvc_exp_name": experiment} if experiment else {}),
        }
        params = {
            name: content.text_of(value)
            for each in stage.params
            for name, value in flatten(each.handle.read_params()).items()
        }
        if pipeline and (earlier := self._store.running_execution(pipeline)):
            scratch.adopt(earlier)
        name = ", ".join([stage.short, *([experiment] if experiment else [])])
        self.run_id = self._store.begin(
            content.RunContent(
                execution=scratch.execution,
                name=f"{name} …",
                description=f"The stage {stage.short} is running.",
                tags=own_tags,
                params=params,
                start_ms=int(scratch.started * 1000),
            )
        )

    def log(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Log metrics by step. Raises: StoreError."""
        self._store.stream(self.run_id, rows)

    def end(self, status: str, reason: str) -> None:
        """Close the run of an execution that did not succeed. Raises: StoreError."""
        self._store.end(self.run_id, status, reason)
