"""A training is seen while it runs, resumes where it stopped, and its run says how it ended.

How a stage is watched, interrupted and resumed is tested in tests/samerun/projects.
"""

import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.pipeline.training import (
    AT_ONCE,
    SCRATCH,
    Training,
    assert_every_epoch_once,
    make_long,
)

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture(scope="module")
def uninterrupted(_built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the long training ran in one piece."""
    path = tmp_path_factory.mktemp("uninterrupted") / "work"
    workspace = Workspace(Path(shutil.copytree(_built.path, path, symlinks=True)))
    make_long(workspace)
    workspace.dvc("repro", "train", SAMERUN_LIVE_AFTER="inf")
    return workspace


@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_ended_training_resumes_in_its_run_to_the_same_bits(
    workspace: Workspace, uninterrupted: Workspace, sent: signal.Signals
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    make_long(workspace)
    before = len(workspace.runs())
    training = Training(workspace)
    live = training.wait_for_run()
    assert live.steps["loss"] == live.steps["w"] == live.steps["b"]
    assert live.tags["device"] == "cpu"
    training.send(sent)
    status, errors = training.end()
    assert status != 0
    assert ("knownline: interrupted" in errors) == (sent != signal.SIGKILL)
    assert "Traceback" not in errors
    *_, killed = workspace.runs()
    assert (killed.run_id, killed.status) == (live.run_id, "KILLED")
    assert f"ended by {sent.name}" in killed.tags["mlflow.note.content"]

    workspace.dvc("repro")
    *_, run = workspace.runs()
    assert len(workspace.runs()) == before + 1
    assert (run.run_id, run.status) == (live.run_id, "FINISHED")
    assert_every_epoch_once(run)
    assert "Gate passed" in run.tags["mlflow.note.content"]
    assert not list((workspace.path / SCRATCH).glob("*"))
    for name in ("models/model.json", "reports/history.csv"):
        assert (workspace.path / name).read_bytes() == (uninterrupted.path / name).read_bytes()


def test_a_divergence_after_a_while_is_a_failed_run_with_its_reason(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 1.005")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 1000000")
    done = workspace.dvc("repro", ok=False, **AT_ONCE)
    assert "train.learning_rate must be less than 1 for this data (got 1.005)" in done.stderr
    run = workspace.runs()[-1]
    assert run.status == "FAILED"
    assert re.search(r"\*\*Failed\*\*: ", run.tags["mlflow.note.content"])
    assert "train.learning_rate must be" in run.tags["error"]
    assert not list((workspace.path / SCRATCH).glob("*"))
