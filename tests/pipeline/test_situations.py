"""Which executions become runs: every way of running the pipeline, with real DVC and real stores.

`record` adds a run for each training that was executed, and none for one that was only restored.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run, Workspace, commit
from tests.pipeline.test_readme import wait_for_queue

pytestmark = pytest.mark.usefixtures("warm")

Clone = Callable[[Workspace], Workspace]

CSS = "src/knownline/report/page.css"


def assert_complete(run: Run, *, epochs: int = 100) -> None:
    assert run.status == "FINISHED"
    assert run.steps["loss"] == run.steps["w"] == run.steps["b"] == list(range(epochs))


def executed(stdout: str) -> list[str]:
    """Return the stages that `dvc repro` says it ran."""
    return [line.split("'")[1] for line in stdout.splitlines() if line.startswith("Running stage")]


def test_the_first_repro_makes_one_complete_run(built: Workspace) -> None:
    (run,) = built.runs()
    assert_complete(run)
    assert "backfilled" not in run.tags
    assert run.tags["git_dirty"] == "false"


def test_a_second_repro_executes_nothing(workspace: Workspace) -> None:
    before = workspace.outputs()
    assert executed(workspace.dvc("repro").stdout) == []
    assert len(workspace.runs()) == 1
    assert workspace.outputs() == before


def test_a_changed_parameter_makes_a_run_and_changing_it_back_makes_none(
    workspace: Workspace,
) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    # A changed parameter is no uncommitted change that a user has to hear of.
    assert "not committed" not in workspace.dvc("repro").stdout
    first, second = workspace.runs()
    assert_complete(second)
    assert first.tags["fingerprint"] != second.tags["fingerprint"]
    changed = {key for key in first.params if first.params[key] != second.params[key]}
    assert changed == {"train.learning_rate"}
    assert first.steps.keys() == second.steps.keys()

    workspace.replace("params.yaml", "learning_rate: 0.1", "learning_rate: 0.25")
    done = workspace.dvc("repro")
    assert "Stage 'train' is cached" in done.stdout
    assert executed(done.stdout) == ["record"]
    assert "nothing new" in done.stdout
    assert len(workspace.runs()) == 2
    assert not list(workspace.runs()[0].artifacts.glob("report-*"))
    assert workspace.git("status", "--short") == ""


def test_a_changed_report_is_added_to_its_run_and_makes_no_run(
    workspace: Workspace,
) -> None:
    (run,) = workspace.runs()
    old = (run.artifacts / "report.html").read_bytes()
    with (workspace.path / CSS).open("a") as stream:
        stream.write("\nh1 { letter-spacing: 0.01em; }\n")
    workspace.replace("src/knownline/report/plots.py", '"Loss by epoch"', '"The loss by epoch"')
    done = workspace.dvc("repro")
    assert executed(done.stdout) == ["report", "record"]
    new = (workspace.path / "reports/report.html").read_bytes()
    name = f"report-{hashlib.sha256(new).hexdigest()[:8]}.html"
    plot = (workspace.path / "reports/plots/loss.png").read_bytes()
    plot_name = f"plots/loss-{hashlib.sha256(plot).hexdigest()[:8]}.png"
    assert f"{name}, {plot_name} added to run {run.name} ({run.run_id})" in done.stdout
    assert (run.artifacts / plot_name).read_bytes() == plot
    (again,) = workspace.runs()
    assert again.tags == {**run.tags, "report": name}
    assert [path.name for path in run.artifacts.glob("report-*")] == [name]
    assert (run.artifacts / name).read_bytes() == new != old
    assert (run.artifacts / "report.html").read_bytes() == old

    assert "nothing new" in workspace.knownline("record").stdout
    workspace.git("checkout", "--", "src")  # the page that the run began with is not added
    done = workspace.dvc("repro")
    assert executed(done.stdout) == ["record"]
    assert "nothing new" in done.stdout
    assert len(list(run.artifacts.glob("report*.html"))) == 2
    assert workspace.runs()[0].tags == {**run.tags, "report": "report.html"}


def test_a_deleted_store_is_filled_from_the_files_and_the_run_is_tagged(
    workspace: Workspace,
) -> None:
    shutil.rmtree(workspace.path / "mlruns")
    assert "train" not in executed(workspace.dvc("repro").stdout)
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


def test_a_change_of_code_that_changes_no_number_makes_a_run(
    workspace: Workspace, clone: Clone
) -> None:
    with (workspace.path / "src/knownline/evaluate/residuals.py").open("a") as code:
        code.write("\n# a remark\n")
    assert executed(workspace.dvc("repro").stdout) == ["evaluate", "report", "record"]
    first, second = workspace.runs()
    assert first.tags["fingerprint"] != second.tags["fingerprint"]
    commit(workspace, "a remark")
    copy = clone(workspace)
    copy.dvc("repro")
    assert copy.git("status", "--short") == ""


def test_a_training_repeated_alone_is_recorded_by_the_next_repro(workspace: Workspace) -> None:
    """Its bytes are the same, so DVC by itself sees nothing to do."""
    workspace.dvc("repro", "--force", "train")
    workspace.dvc("repro")
    runs = workspace.runs()
    assert len(runs) == 2
    for run in runs:
        assert_complete(run)
    assert workspace.git("status", "--short") == ""


@pytest.mark.parametrize("kind", ["symlink", pytest.param("hardlink", marks=pytest.mark.slow)])
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


def test_uncommitted_files_are_named_and_refused_above_50_mb(trained: Workspace) -> None:
    (trained.path / "scratch.bin").write_bytes(os.urandom(51_000_000))
    errors = trained.dvc("repro", ok=False).stderr
    assert "what is not committed must be at most 50 MB, since it is kept with the run" in errors
    assert "(got 51 MB: scratch.bin 51 MB, " in errors
    assert len(trained.runs()) == 1
    (trained.path / "scratch.bin").unlink()
    (trained.path / "secrets.env").write_text("TOKEN=1\n")
    shown = trained.dvc("repro").stdout
    assert "record: not committed, so kept with the run (0.0 MB): params.yaml, secrets.env" in shown
    assert_complete(trained.runs()[-1], epochs=60)


def test_experiments_in_the_workspace_and_in_a_temporary_folder_reach_the_one_store(
    workspace: Workspace,
) -> None:
    before = workspace.outputs()
    workspace.dvc(
        "exp", "run", "--temp", "--name", "aside", "--set-param", "train.learning_rate=0.1"
    )
    assert workspace.outputs() == before
    workspace.dvc("exp", "run", "--name", "slow", "--set-param", "train.learning_rate=0.05")
    _, aside, slow = workspace.runs()
    for run, name, rate in ((aside, "aside", "0.1"), (slow, "slow", "0.05")):
        assert_complete(run)
        assert run.tags["dvc_exp_name"] == name
        assert name in run.name
        assert run.params["train.learning_rate"] == rate


@pytest.mark.cold
@pytest.mark.parametrize(
    "rates", [["0.1", "0.3"], pytest.param([f"0.{i}" for i in range(1, 6)], marks=pytest.mark.slow)]
)
def test_each_experiment_of_a_queue_of_two_jobs_is_a_run(
    workspace: Workspace, rates: list[str]
) -> None:
    workspace.dvc("exp", "run", "--queue", "--set-param", f"train.learning_rate={','.join(rates)}")
    workspace.dvc("queue", "start", "--jobs", "2")
    status = wait_for_queue(workspace)
    assert status.count("Success") == len(rates), status
    first, *swept = workspace.runs()
    for run in swept:
        assert_complete(run)
        assert run.last.keys() == first.last.keys()
        changed = {key for key in run.params if run.params[key] != first.params[key]}
        assert changed == {"train.learning_rate"}
    assert sorted(run.params["train.learning_rate"] for run in swept) == rates
    assert len({run.tags["dvc_exp_name"] for run in swept}) == len(rates)


def test_an_applied_experiment_is_no_second_run(workspace: Workspace) -> None:
    workspace.dvc("exp", "run", "--temp", "--set-param", "train.learning_rate=0.1")
    before = workspace.runs()
    name = before[-1].tags["dvc_exp_name"]
    workspace.dvc("exp", "apply", name)
    assert "learning_rate: 0.1" in (workspace.path / "params.yaml").read_text()
    assert "train" not in executed(workspace.dvc("repro").stdout)
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
    assert "train" not in executed(workspace.dvc("repro", "--pull").stdout)
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
