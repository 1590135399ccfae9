"""Every way of DVC's to run experiments ends in the one store, each execution in one run."""

import shutil
from itertools import product
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.pipeline.test_readme import wait_for_queue
from tests.pipeline.test_situations import assert_complete

pytestmark = pytest.mark.usefixtures("warm")


def test_an_experiment_in_the_workspace_is_a_run_with_its_name(workspace: Workspace) -> None:
    workspace.dvc("exp", "run", "--name", "slow", "--set-param", "train.learning_rate=0.05")
    _, run = workspace.runs()
    assert_complete(run)
    assert run.tags["dvc_exp_name"] == "slow"
    assert "slow" in run.name
    assert run.params["train.learning_rate"] == "0.05"


def test_an_experiment_in_a_temporary_folder_reaches_the_one_store(workspace: Workspace) -> None:
    before = workspace.outputs()
    workspace.dvc(
        "exp", "run", "--temp", "--name", "aside", "--set-param", "train.learning_rate=0.1"
    )
    _, run = workspace.runs()
    assert_complete(run)
    assert run.tags["dvc_exp_name"] == "aside"
    assert workspace.outputs() == before


@pytest.mark.long
@pytest.mark.cold
def test_a_queue_of_ten_two_at_a_time_is_ten_runs_to_compare(workspace: Workspace) -> None:
    rates, epochs = ["0.05", "0.1", "0.15", "0.2", "0.3"], ["80", "120"]
    workspace.dvc(
        "exp", "run", "--queue",
        "--set-param", f"train.learning_rate={','.join(rates)}",
        "--set-param", f"train.epochs={','.join(epochs)}",
    )  # fmt: skip
    workspace.dvc("queue", "start", "--jobs", "2")
    status = wait_for_queue(workspace)
    assert status.count("Success") == 10, status
    first, *swept = workspace.runs()
    assert len(swept) == 10
    for run in swept:
        assert_complete(run, epochs=int(run.params["train.epochs"]))
        assert run.last.keys() == first.last.keys()
        differ = {key for key in run.params if run.params[key] != first.params[key]}
        assert differ == {"train.learning_rate", "train.epochs"}
    tried = {(run.params["train.learning_rate"], run.params["train.epochs"]) for run in swept}
    assert tried == set(product(rates, epochs))
    assert len({run.tags["dvc_exp_name"] for run in swept}) == 10


def test_an_applied_experiment_is_the_run_it_was(workspace: Workspace) -> None:
    workspace.dvc("exp", "run", "--temp", "--set-param", "train.learning_rate=0.1")
    before = workspace.runs()
    name = before[-1].tags["dvc_exp_name"]
    workspace.dvc("exp", "apply", name)
    assert "learning_rate: 0.1" in (workspace.path / "params.yaml").read_text()
    done = workspace.dvc("repro")
    assert "Running stage 'train'" not in done.stdout
    assert workspace.runs() == before
    workspace.dvc("repro", "--force")  # executed again, it is a run of its own
    after = workspace.runs()
    assert len(after) == len(before) + 1
    assert after[-1].tags["fingerprint"] == before[-1].tags["fingerprint"]
    assert "dvc_exp_name" not in after[-1].tags


def test_repro_with_pull_fetches_what_the_cache_has_lost(
    workspace: Workspace, tmp_path: Path
) -> None:
    expected = workspace.outputs()
    workspace.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    workspace.dvc("push")
    before = workspace.runs()
    for lost in (".dvc/cache", "data/train", "data/holdout", "models/line.json"):
        path = workspace.path / lost
        path.unlink() if path.is_file() else shutil.rmtree(path)
    done = workspace.dvc("repro", "--pull")
    assert "Running stage 'train'" not in done.stdout, done.stdout
    assert workspace.outputs() == expected
    assert workspace.runs() == before


def test_an_experiment_runs_its_own_code(workspace: Workspace) -> None:
    workspace.replace(
        "src/knownline/train/fitting.py",
        "line = fitted.line\n",
        "line = type(fitted.line)(1.5, 2.5)\n",
    )
    workspace.dvc("exp", "run", "--temp", "--name", "other-code")
    workspace.git("checkout", "--", "src")
    run = next(run for run in workspace.runs() if run.tags.get("dvc_exp_name") == "other-code")
    assert run.tags["gate"] == "failed"
    assert run.last["ols.w"] == workspace.runs()[0].last["ols.w"]
    assert run.last["z.w"] < -1000
