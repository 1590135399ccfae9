"""Ways of running that are knownline's own; tests/samerun/projects has the others."""

import hashlib

import pytest

from support.workspace import commit
from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def executed(stdout: str) -> list[str]:
    """Return the stages that `dvc repro` says it ran."""
    return [line.split("'")[1] for line in stdout.splitlines() if line.startswith("Running stage")]


def test_a_second_repro_executes_nothing(workspace: Workspace) -> None:
    before = workspace.outputs()
    assert executed(workspace.dvc("repro").stdout) == []
    assert len(workspace.runs()) == 1
    assert workspace.outputs() == before


def test_only_the_train_of_another_learning_rate_differs(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "learning_rate: 0.25", "learning_rate: 0.1")
    done = workspace.dvc("repro")
    assert executed(done.stdout) == ["train", "evaluate", "report", "record"]
    # A changed parameter is no uncommitted change that a user has to hear of.
    assert "not committed" not in done.stdout
    first, second = workspace.runs()
    assert second.name == "lr 0.1"
    assert second.steps["loss"] == second.steps["w"] == second.steps["b"] == list(range(100))
    assert first.steps.keys() == second.steps.keys()
    changed = {key for key in first.params if first.params[key] != second.params[key]}
    assert changed == {"train.learning_rate"}


def test_a_changed_report_is_added_to_its_run_and_makes_no_run(workspace: Workspace) -> None:
    (run,) = workspace.runs()
    old = (run.artifacts / "reports/report.html").read_bytes()
    with (workspace.path / "src/knownline/report/page.css").open("a") as stream:
        stream.write("\nh1 { letter-spacing: 0.01em; }\n")
    workspace.replace("src/knownline/report/plots.py", '"Loss by epoch"', '"The loss by epoch"')
    done = workspace.dvc("repro")
    assert executed(done.stdout) == ["report", "record"]
    new = (workspace.path / "reports/report.html").read_bytes()
    name = f"reports/report-{hashlib.sha256(new).hexdigest()[:8]}.html"
    plot = (workspace.path / "reports/plots/loss.png").read_bytes()
    plot_name = f"reports/plots/loss-{hashlib.sha256(plot).hexdigest()[:8]}.png"
    assert f"{plot_name}, {name} added to run {run.name} ({run.run_id})" in done.stdout
    (again,) = workspace.runs()
    assert again.tags == {**run.tags, "report": name}
    assert (run.artifacts / plot_name).read_bytes() == plot
    assert (run.artifacts / name).read_bytes() == new != old
    assert (run.artifacts / "reports/report.html").read_bytes() == old

    workspace.git("checkout", "--", "src")  # the page that the run began with is not added
    done = workspace.dvc("repro")
    assert executed(done.stdout) == ["record"]
    assert "nothing new" in done.stdout
    assert len(list(run.artifacts.glob("reports/report*.html"))) == 2
    assert workspace.runs()[0].tags == {**run.tags, "report": "reports/report.html"}


def test_a_store_that_fails_where_only_the_report_changed_costs_a_line_that_says_so(
    workspace: Workspace,
) -> None:
    workspace.samerun("record")  # the workspace is a copy: it writes where its store is now
    (run,) = workspace.runs()
    database = workspace.path / "mlruns/mlflow.db"
    sound = database.read_bytes()
    with (workspace.path / "src/knownline/report/page.css").open("a") as stream:
        stream.write("\nh1 { letter-spacing: 0.01em; }\n")
    database.write_bytes(b"\xff" * 4000)
    errors = workspace.dvc("repro", ok=False).stderr
    (line,) = (text for text in errors.splitlines() if text.startswith("samerun: error: "))
    assert "mlruns/mlflow.db must answer" in line
    expected = f"; run {run.name} has the results; run `dvc repro` later to add what `report` wrote"
    assert line.endswith(expected)
    database.write_bytes(sound)
    assert f"added to run {run.name}" in workspace.dvc("repro").stdout
    assert len(workspace.runs()) == 1


def test_a_table_that_is_not_read_changes_nothing(workspace: Workspace) -> None:
    """Of data/own the pipeline reads only the table that generate.table names."""
    (run,) = workspace.runs()
    (workspace.path / "data/own/unread.csv").write_text("x,y\n1,2\n")
    commit(workspace, "a table")
    assert executed(workspace.dvc("repro").stdout) == ["generate", "record"]
    first, second = workspace.runs()
    assert first == run
    assert second.tags["fingerprint"] == run.tags["fingerprint"]
    assert second.tags["git_dirty"] == "false"


def test_an_experiment_runs_its_own_code(workspace: Workspace) -> None:
    workspace.replace(
        "src/knownline/train/fitting.py",
        "history.parameters(), sha256)",
        '{"w": 1.5, "b": 2.5})',
    )
    workspace.dvc("exp", "run", "--temp", "--name", "other-code")
    workspace.git("checkout", "--", "src")
    run = next(run for run in workspace.runs() if run.tags.get("dvc_exp_name") == "other-code")
    assert run.tags["gate"] == "failed"
    assert run.last["ols.w"] == workspace.runs()[0].last["ols.w"]
    assert run.last["z.w"] < -1000
