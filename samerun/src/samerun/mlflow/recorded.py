"""A run as the store has it, as much of it as commands need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run

RESTORED_FOR = "dvc_exp_names"
"""The tag of the DVC experiments that DVC restored a run's results for, from its cache."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run in the store."""

    run_id: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]

    @property
    def experiments(self) -> list[str]:
        """The DVC experiments that have these results: the one that ran, then those restored."""
        own, restored = self.tags.get("dvc_exp_name", ""), self.tags.get(RESTORED_FOR, "")
        return [name for name in (own, *restored.split(", ")) if name]


def recorded(run: Run) -> RecordedRun:
    """Return a run of MLflow's client."""
    info, data = run.info, run.data
    return RecordedRun(info.run_id, info.run_name, info.status, data.tags, data.params)
