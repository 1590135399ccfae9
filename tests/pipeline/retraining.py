"""What the tests of retraining share: how to start one, and what the registry then holds."""

import sqlite3
import subprocess

from support.workspace import commit
from tests.conftest import Workspace

DAY = "2026-11-01"
"""The day on which the champion of the fixture `promoted` was trained."""


def retrain(
    workspace: Workspace, day: str = DAY, *more: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `knownline retrain` for a day."""
    return workspace.knownline("retrain", "--date", day, *more, ok=False, **env)


def expect(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Assert the exit status and words of the output; status 2 must come with one line."""
    assert done.returncode == status, done.stdout + done.stderr
    for word in words:
        assert word in done.stdout + done.stderr, done.stdout + done.stderr
    if status == 2:
        ours = ("knownline: error: ", "samerun: error: ")
        errors = [line for line in done.stderr.splitlines() if line.startswith(ours)]
        assert len(errors) == 1, done.stderr
        assert "Traceback" not in done.stderr


def aliases(workspace: Workspace) -> dict[str, int]:
    """Return version by alias, read from the store's own tables."""
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        return dict(store.execute("select alias, version from registered_model_aliases"))


def versions(workspace: Workspace) -> dict[int, dict[str, str]]:
    """Return each version's tags, with its description and run."""
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        found = {
            row[0]: {"description": row[1], "run": row[2]}
            for row in store.execute("select version, description, run_id from model_versions")
        }
        for version, key, value in store.execute(
            "select version, key, value from model_version_tags"
        ):
            found[version][key] = value
        return found


def change_params(workspace: Workspace, old: str, new: str) -> None:
    """Commit a change of params.yaml, as a person would: without the seed of the last day."""
    workspace.git("checkout", "--quiet", "--", "params.yaml", "dvc.lock")
    workspace.replace("params.yaml", old, new)
    commit(workspace, "a change of parameters")


DRIFT = ("w: 20.0", "w: 20.2")
"""A change of the truth that one day's rows show beyond doubt."""

BAD_SENSOR = ("{kind: normal, scale: 1.5}", "{kind: shared-integer, scale: 1000}")
"""A change of the noise that the gate refuses: one draw is added to all rows."""
