"""The run of an execution that is under way: opened, written and closed beside it."""

import os
import sys
import time
from typing import Any

from samerun.mlflow.errors import store_errors

# isort: split
from mlflow.entities import Metric
from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

from samerun.core.errors import one_line
from samerun.core.flatten import flatten
from samerun.core.keys import mlflow_key
from samerun.dvc.stage import Stage
from samerun.execution import processes
from samerun.execution.scratch import Scratch
from samerun.mlflow import content, run_writer, tracking
from samerun.pipeline import Pipeline


class LiveRun:
    """A run that is open while its stage executes. run_id: its id."""

    def __init__(
        self,
        pipeline: Pipeline,
        stage: Stage,
        scratch: Scratch,
        dvc: str | None,
    ) -> None:
        """Open the run, or open that of an earlier attempt or of an earlier stage again.

        dvc: the name of the DVC process that runs the stage.

        Raises: StoreError if the store cannot be used.
        """
        self._store = tracking.Store(pipeline.config)
        self._logged: dict[str, set[int]] = {}
        experiment = os.environ.get("DVC_EXP_NAME")
        tags = {
            "stage": stage.name,
            "record": pipeline.stage.name,
            "process": processes.this_process(),
            **({"pipeline": dvc} if dvc else {}),
            **({"dvc_exp_name": experiment} if experiment else {}),
        }
        params = {
            name: content.text_of(value)
            for each in stage.params
            for name, value in flatten(each.current()).items()
            if mlflow_key(name) == name  # `record` names the others, beside those of all stages
        }
        name = ", ".join([stage.short, *([experiment] if experiment else [])])
        with store_errors(self._store.uri, every=True):
            if dvc and (earlier := self._store.running_execution(dvc, pipeline.stage.name)):
                scratch.adopt(earlier)
            self.run_id = self._store.begin(
                content.RunContent(
                    execution=scratch.execution,
                    name=f"{name} …",
                    description=f"The stage {stage.short} is running.",
                    tags=tags,
                    params=params,
                    start_ms=int(scratch.started * 1000),
                )
            )
        self._monitor = _system_metrics(self.run_id, self._store.uri)

    def log(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Log metrics by step; a step that is logged stays as it is. Raises: StoreError."""
        client, now_ms = self._store.client, int(time.time() * 1000)
        new: list[Metric] = []
        with store_errors(self._store.uri, every=True):
            for step, values in rows:
                for name, value in values.items():
                    if name not in self._logged:  # once: a whole history takes long to read
                        self._logged[name] = run_writer.logged_steps(client, self.run_id, name)
                    if step not in self._logged[name]:
                        self._logged[name].add(step)
                        new.append(Metric(name, value, now_ms, step))
            run_writer.log_metrics(client, self.run_id, new)

    def tag(self, tags: dict[str, str]) -> None:
        """Set tags. Raises: StoreError."""
        self._store.tag(self.run_id, tags)

    def close(self) -> None:
        """Stop writing the system metrics."""
        if self._monitor:
            self._monitor.finish()

    def end(self, status: str, reason: str) -> None:
        """Close the run of an execution that did not succeed. Raises: StoreError."""
        with store_errors(self._store.uri, every=True):
            self._store.end(self.run_id, status, reason)


def _system_metrics(run_id: str, uri: str) -> Any:
    """Start MLflow's own monitor of the machine's load, which logs metrics under system/.

    It works if MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is set. A stage that joins the run of an
    earlier one goes on from its last step.

    Returns: the monitor; None if the user does not ask for it, or if it cannot work here.
    """
    try:
        asked: Any = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
        if not asked.get():
            return None
        from mlflow.system_metrics import system_metrics_monitor as system

        make: Any = system.SystemMetricsMonitor
        monitor = make(run_id, resume_logging=True, tracking_uri=uri)
        monitor.start()
    except Exception as error:  # psutil is not there, or what it reads; a variable is no number
        print(f"samerun: warning: no system metrics: {one_line(str(error))}", file=sys.stderr)
        return None
    return monitor
