"""A training is seen while it runs, its run says how it ended, and it resumes where it stopped."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import Workspace, commit
from tests.pipeline.servers import free_port
from tests.pipeline.training import (
    AT_ONCE,
    Training,
    assert_every_epoch_once,
    make_long,
    wait_for_status,
)

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def uninterrupted(_built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the long training ran in one piece."""
    path = tmp_path_factory.mktemp("uninterrupted") / "work"
    workspace = Workspace(Path(shutil.copytree(_built.path, path, symlinks=True)))
    make_long(workspace)
    workspace.dvc("repro", "train", ok=True, KNOWNLINE_LIVE_AFTER="inf")
    return workspace


@pytest.fixture
def long(workspace: Workspace) -> Workspace:
    """A workspace whose next training is the long one; its parameters are committed."""
    make_long(workspace)
    commit(workspace, "long")
    return workspace


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (signal.SIGKILL, "the training process was killed"),
        (signal.SIGINT, "interrupted"),
        pytest.param(signal.SIGTERM, "interrupted", marks=pytest.mark.slow),
    ],
)
def test_an_ended_training_resumes_in_its_run_to_the_same_bits(
    long: Workspace, uninterrupted: Workspace, sent: signal.Signals, reason: str
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    training = Training(long)
    live = training.wait_for_run()
    assert live.tags["mlflow.note.content"] == "Training."
    training.send(sent)
    status, errors = training.end()
    assert status != 0
    assert ("knownline: interrupted" in errors) == (sent != signal.SIGKILL)
    assert "Traceback" not in errors
    killed = wait_for_status(long, live, "KILLED")
    assert reason in killed.tags["mlflow.note.content"]
    # A kill while a checkpoint is written leaves the temporary file beside the checkpoint.
    (checkpoint,) = (long.path / "mlruns/checkpoints").glob("[!.]*")
    assert checkpoint.name == live.tags["fingerprint"]

    long.dvc("repro")
    _, run = long.runs()
    assert run.run_id == live.run_id
    assert run.status == "FINISHED"
    assert_every_epoch_once(run)
    assert "Gate passed" in run.tags["mlflow.note.content"]
    assert list((long.path / "mlruns/checkpoints").iterdir()) == []
    for name in ("models/line.json", "reports/history.csv"):
        assert (long.path / name).read_bytes() == (uninterrupted.path / name).read_bytes()


def test_a_divergence_after_a_while_is_a_failed_run_with_its_reason(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 1.005")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 1000000")
    done = workspace.dvc("repro", ok=False, **AT_ONCE)
    assert "train.learning_rate must be less than 1 for this data (got 1.005)" in done.stderr
    run = workspace.runs()[-1]
    assert run.status == "FAILED"
    reason = r"\*\*Failed\*\*: .*train\.learning_rate must be"
    assert re.search(reason, run.tags["mlflow.note.content"])
    assert not list((workspace.path / "mlruns/checkpoints").glob("*"))


def test_a_run_whose_processes_are_gone_is_closed_by_the_next_repro(workspace: Workspace) -> None:
    """Also if DVC restores every output, and by itself would see no reason to run `record`."""
    workspace.replace("params.yaml", "epochs: 100", "epochs: 2000000")
    training = Training(workspace)
    live = training.wait_for_run()
    os.kill(training.streamer, signal.SIGKILL)
    training.send(signal.SIGKILL)
    training.end()
    assert wait_for_status(workspace, live, "RUNNING")
    workspace.git("checkout", "--", "params.yaml")
    done = workspace.dvc("repro")
    assert "Running stage 'train'" not in done.stdout
    assert f"({live.run_id}) is KILLED: its process is gone" in done.stdout
    assert [run.status for run in workspace.runs()] == ["FINISHED", "KILLED"]


def test_a_neighbour_leaves_a_run_alone_between_its_training_and_its_record(
    long: Workspace, built: Workspace
) -> None:
    """There it has no process of its own, but the pipeline that will record it is there."""
    training = Training(long)
    live = training.wait_for_run()
    os.kill(training.dvc.pid, signal.SIGSTOP)
    training.send(signal.SIGCONT)
    training.wait_for_streamer_to_end()
    store = f"sqlite:///{long.path}/mlruns/mlflow.db"
    shown = built.knownline("record", ok=True, MLFLOW_TRACKING_URI=store).stdout
    assert "nothing new" in shown
    assert "KILLED" not in shown
    assert wait_for_status(long, live, "RUNNING")
    os.kill(training.dvc.pid, signal.SIGCONT)
    assert training.end()[0] == 0
    run = wait_for_status(long, live, "FINISHED")
    assert "Killed" not in run.tags["mlflow.note.content"]
    assert_every_epoch_once(run)


@pytest.mark.slow
def test_a_dead_server_costs_a_long_training_one_warning(long: Workspace) -> None:
    training = Training(long, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    training.wait_for_streamer_to_end()
    _, errors = training.end()
    warning, error = (line for line in errors.splitlines() if line.startswith("knownline:"))
    assert warning.startswith("knownline: warning: not shown while it runs: ")
    assert error.startswith("knownline: error: ")
    long.dvc("repro")
    run = long.runs()[-1]
    assert run.status == "FINISHED"
    assert_every_epoch_once(run)


@pytest.mark.parametrize(
    ("file", "old", "new", "name"),
    [
        ("params.yaml", "rate: 0.25", "rate: 0.2", "train in params.yaml"),
        pytest.param(
            "src/knownline/train/descent.py", "w.sub_(", "w.sub_(1 * ",
            "src/knownline/train/descent.py", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_what_changes_while_a_training_runs_is_not_recorded_as_what_ran(
    long: Workspace, file: str, old: str, new: str, name: str
) -> None:
    """DVC notes code and parameters at the end of a stage, whichever it ran with."""
    training = Training(long)
    live = training.wait_for_run()
    long.replace(file, old, new)
    status, errors = training.end()
    assert status != 0
    message = f"knownline: error: {name} must not change while `train` runs: put it back, and"
    assert message in errors
    failed = wait_for_status(long, live, "FAILED")
    assert f"{name} must not change" in failed.tags["mlflow.note.content"]
    long.git("checkout", "--", file)
    long.dvc("repro")
    _, run = long.runs()
    assert run.run_id == live.run_id
    assert run.status == "FINISHED"
    assert "backfilled" not in run.tags
    assert run.tags["git_dirty"] == "false"
    assert_every_epoch_once(run)


@pytest.mark.slow
def test_a_training_repeated_and_judged_anew_before_it_is_recorded_is_one_run(
    long: Workspace,
) -> None:
    long.dvc("repro", "--single-item", "generate")
    training = Training(long, "--single-item", "train")
    live = training.wait_for_run()
    assert training.end()[0] == 0
    assert wait_for_status(long, live, "RUNNING")
    long.dvc("repro", "--single-item", "--force", "train", ok=True, **AT_ONCE)
    long.replace("params.yaml", "z: 4.0", "z: 5.0")
    assert "KILLED" not in long.dvc("repro").stdout
    _, run = long.runs()
    assert run.run_id == live.run_id
    assert run.status == "FINISHED"
    assert run.params["evaluate.z"] == "5.0"
    assert "z 5" in run.name
    assert "backfilled" not in run.tags
    assert_every_epoch_once(run)
