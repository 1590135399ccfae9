"""A store that moves with its workspace, or is copied with it, keeps its artifacts."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


@pytest.mark.parametrize("named", [False, True])
def test_a_moved_checkout_keeps_its_runs_and_records_where_it_is(
    workspace: Workspace, tmp_path: Path, named: bool
) -> None:
    """Also where the environment names the embedded store, as it does for what is served."""
    (old,) = workspace.runs()
    env = {"MLFLOW_TRACKING_URI": "sqlite:///mlruns/mlflow.db"} if named else {}
    moved = Workspace(Path(shutil.move(workspace.path, tmp_path / "elsewhere")))
    done = moved.dvc("repro", "--force", ok=True, **env)
    assert "the store has moved" in done.stderr
    assert "the store has moved" not in moved.dvc("repro", "--force", ok=True, **env).stderr
    assert not workspace.path.exists()
    assert len(moved.runs()) == 3
    for run in moved.runs():
        assert run.artifacts.is_relative_to(moved.path)
        assert (run.artifacts / "history.csv").is_file()
    assert moved.knownline("reproduce", old.run_id).returncode == 0


def test_a_copied_checkout_has_a_store_of_its_own(workspace: Workspace, tmp_path: Path) -> None:
    copy = Workspace(Path(shutil.copytree(workspace.path, tmp_path / "copy", symlinks=True)))
    copy.dvc("repro", "--force")
    assert len(copy.runs()) == 2
    assert len(workspace.runs()) == 1
    assert all(run.artifacts.is_relative_to(copy.path) for run in copy.runs())
    assert workspace.runs()[0].artifacts.is_relative_to(workspace.path)
