"""Runs of knownline, executed again; tests/samerun/projects has what holds for any project."""

import subprocess

import pytest

from support.workspace import Run, commit
from tests.conftest import Workspace
from tests.pipeline.test_inputs import use

pytestmark = pytest.mark.usefixtures("warm")


def reproduce(workspace: Workspace, run: Run) -> subprocess.CompletedProcess[str]:
    return workspace.samerun("reproduce", run.run_id, ok=False)


def test_a_run_is_exact(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    done = reproduce(workspace, run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exact: every bit is equal in 8 outputs of 3 stages" in done.stdout
    assert "300 values by step" in done.stdout  # loss, w and b of 100 epochs
    (run,) = workspace.runs()
    assert run.tags["reproduced"] == "exact"


def test_another_descent_differs_in_its_first_epoch(workspace: Workspace) -> None:
    """An edit that the run does not have, made to look as if it were the run's own code."""
    code = "src/knownline/train/descent.py"
    text = (workspace.path / code).read_text()
    workspace.replace(code, "\n\ndef ", "\n\n_EDITED = True\n\n\ndef ")
    workspace.dvc("repro")
    run = workspace.runs()[-1]
    assert run.tags["git_dirty"] == "true"
    assert reproduce(workspace, run).returncode == 0  # its patch is applied
    history = run.artifacts / "reports/history.csv"
    lines = history.read_text().splitlines()
    lines[1] = lines[1].replace("10.001094929928117", "10.001094929928119")
    history.write_text("\n".join(lines) + "\n")
    done = reproduce(workspace, run)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "reports/history.csv" in done.stdout
    assert (workspace.path / code).read_text() != text


@pytest.mark.slow
def test_a_table_that_dvc_keeps_comes_from_the_cache_or_the_remote(workspace: Workspace) -> None:
    table = workspace.path / "data/own/mine.csv"
    table.write_text("a,b\n" + "".join(f"{i},{3 * i + i % 2}\n" for i in range(30)))
    workspace.dvc("add", "data/own/mine.csv")
    workspace.dvc("remote", "add", "--default", "here", "../remote")
    use(workspace, "data/own/mine.csv", "a", "b")
    commit(workspace, "a table of my own")
    workspace.dvc("repro")
    run = workspace.runs()[-1]
    workspace.dvc("push")
    table.unlink()
    assert reproduce(workspace, run).returncode == 0
    workspace.run("rm", "-rf", ".dvc/cache")
    done = reproduce(workspace, run)
    assert done.returncode == 0, done.stdout + done.stderr
    workspace.run("rm", "-rf", "../remote")
    done = reproduce(workspace, run)
    assert done.returncode == 2
    assert "not in DVC's cache or remote" in done.stderr


@pytest.mark.slow
def test_a_whole_number_past_float64_is_the_float_it_became(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "b: 5.0}", "b: 9007199254740993}")
    workspace.dvc("repro")
    done = reproduce(workspace, workspace.runs()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
