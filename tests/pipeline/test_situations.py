"""The situations in which `record` must execute or not, each with real DVC and a counted store."""

import os
import shutil
import sqlite3
from collections.abc import Callable

import pytest

from tests.conftest import Run, Workspace, commit

pytestmark = pytest.mark.usefixtures("warm")

Clone = Callable[[Workspace], Workspace]


def assert_complete(run: Run, *, epochs: int = 100) -> None:
    assert run.status == "FINISHED"
    assert run.steps["loss"] == run.steps["w"] == run.steps["b"] == list(range(epochs))


def test_first_repro_makes_one_complete_run(built: Workspace) -> None:
    (run,) = built.runs()
    assert_complete(run)
    assert "backfilled" not in run.tags
    assert run.tags["git_dirty"] == "false"


def test_repeating_it_executes_nothing(workspace: Workspace) -> None:
    before = workspace.outputs()
    done = workspace.dvc("repro")
    assert "Running stage" not in done.stdout
    assert len(workspace.runs()) == 1
    assert workspace.outputs() == before


def test_a_changed_parameter_makes_a_second_run_to_compare(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    workspace.dvc("repro")
    first, second = workspace.runs()
    assert_complete(second)
    assert first.tags["fingerprint"] != second.tags["fingerprint"]
    changed = {k for k in first.params if first.params[k] != second.params[k]}
    assert changed == {"train.learning_rate"}
    assert first.steps.keys() == second.steps.keys()


def test_outputs_restored_from_the_run_cache_make_no_new_run(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    workspace.dvc("repro")
    workspace.replace("params.yaml", "learning_rate: 0.1", "learning_rate: 0.25")
    done = workspace.dvc("repro")
    assert "Stage 'train' is cached" in done.stdout
    assert "Running stage 'record'" in done.stdout
    assert "nothing new" in done.stdout
    assert len(workspace.runs()) == 2
    assert workspace.git("status", "--short") == ""


def test_a_deleted_store_is_filled_from_the_files_and_says_so(workspace: Workspace) -> None:
    shutil.rmtree(workspace.path / "mlruns")
    done = workspace.dvc("repro")
    assert "Running stage 'train'" not in done.stdout
    (run,) = workspace.runs()
    assert_complete(run)
    assert run.tags["backfilled"] == "true"
    assert workspace.git("status", "--short") == ""


def test_a_forced_repro_is_a_second_execution_and_a_second_run(workspace: Workspace) -> None:
    before = workspace.outputs()
    workspace.dvc("repro", "--force")
    first, second = workspace.runs()
    assert_complete(second)
    assert first.tags["fingerprint"] == second.tags["fingerprint"]
    assert "backfilled" not in second.tags
    assert workspace.outputs() == before


@pytest.mark.cold
def test_a_fresh_clone_executes_the_committed_lock_and_leaves_it_alone(
    built: Workspace, clone: Clone
) -> None:
    copy = clone(built)
    done = copy.dvc("repro")
    assert done.stdout.count("Running stage") == 4
    (run,) = copy.runs()
    assert_complete(run)
    assert "backfilled" not in run.tags
    assert copy.git("status", "--short") == ""
    assert copy.outputs() == built.outputs()
    assert run.tags["fingerprint"] == built.runs()[0].tags["fingerprint"]


def test_a_fresh_clone_with_pulled_outputs_is_backfilled(
    workspace: Workspace, clone: Clone
) -> None:
    remote = workspace.path.parent / "remote"
    workspace.dvc("remote", "add", "--default", "here", str(remote))
    commit(workspace, "remote")
    workspace.dvc("push")
    copy = clone(workspace)
    copy.dvc("pull", "--allow-missing")
    copy.dvc("repro")
    (run,) = copy.runs()
    assert_complete(run)
    assert run.tags["backfilled"] == "true"
    assert copy.git("status", "--short") == ""


def test_a_change_of_code_that_changes_no_number_is_recorded_all_the_same(
    workspace: Workspace, clone: Clone
) -> None:
    with (workspace.path / "src/knownline/report/pictures.py").open("a") as code:
        code.write("\n# a remark\n")
    assert "Running stage 'record'" in workspace.dvc("repro").stdout
    first, second = workspace.runs()
    assert first.tags["fingerprint"] != second.tags["fingerprint"]
    commit(workspace, "a remark")
    copy = clone(workspace)
    copy.dvc("repro")
    assert copy.git("status", "--short") == ""


def test_a_training_done_again_alone_is_recorded_by_the_next_repro(workspace: Workspace) -> None:
    """Its bytes are the same, so DVC by itself sees nothing to do."""
    workspace.dvc("repro", "--force", "evaluate")
    workspace.dvc("repro")
    runs = workspace.runs()
    assert len(runs) == 2
    for run in runs:
        assert_complete(run)
    assert workspace.git("status", "--short") == ""


def test_record_looks_for_lost_runs_after_a_training_that_was_killed_at_its_end(
    workspace: Workspace,
) -> None:
    """DVC restores what the training would have written, and by itself would not run `record`."""
    killer = (
        "import os, signal, sys; sys.path.insert(0, 'src'); from knownline import receipts;"
        "receipts.leave = lambda _: os.kill(os.getpid(), signal.SIGKILL);"
        "from knownline.__main__ import main; main(['train'])"
    )
    assert workspace.run("python", "-c", killer, ok=False).returncode == -9
    with sqlite3.connect(workspace.path / "mlruns/mlflow.db") as store:
        store.execute("update runs set status = 'RUNNING'")
        store.execute("update tags set value = ? where key = 'process'", [gone(workspace)])
    done = workspace.dvc("repro")
    assert "Running stage 'train'" not in done.stdout
    assert "is KILLED: its process is gone" in done.stdout


def gone(workspace: Workspace) -> str:
    """Return the name of a process that is no more."""
    name = "import sys; sys.path.insert(0, 'src'); from knownline import processes as p;"
    return workspace.run("python", "-c", f"{name} print(p.process())").stdout.strip()


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_outputs_that_are_links_into_the_cache_are_recorded(
    workspace: Workspace, kind: str
) -> None:
    workspace.dvc("config", "--local", "cache.type", kind)
    workspace.dvc("checkout", "--relink")
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    workspace.dvc("repro")
    run = workspace.runs()[-1]
    assert_complete(run)
    assert (run.artifacts / "history.csv").stat().st_nlink == 1
    assert not (run.artifacts / "history.csv").is_symlink()
    workspace.dvc("repro", "--force")
    assert workspace.dvc("status").stdout.strip() == "Data and pipelines are up to date."
    assert workspace.knownline("reproduce", run.run_id).stdout.count("proven: ") == 1


def test_what_is_kept_besides_the_commit_is_said(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    assert "not committed" not in workspace.dvc("repro").stdout
    (workspace.path / "secrets.env").write_text("TOKEN=1\n")
    workspace.replace("params.yaml", "learning_rate: 0.1", "learning_rate: 0.2")
    shown = workspace.dvc("repro").stdout
    assert "record: not committed, so kept with the run (0.0 MB): params.yaml, secrets.env" in shown


def test_more_than_a_run_should_keep_is_refused(workspace: Workspace) -> None:
    (workspace.path / "scratch.bin").write_bytes(os.urandom(60_000_000))
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    told = workspace.dvc("repro", ok=False).stderr
    assert "what is not committed must be at most 50 MB, since it is kept with the run" in told
    assert "scratch.bin)" in told
    assert len(workspace.runs()) == 1
    (workspace.path / "scratch.bin").unlink()
    workspace.dvc("repro")
    assert_complete(workspace.runs()[-1])
