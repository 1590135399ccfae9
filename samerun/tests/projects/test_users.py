"""Three projects as their users have them, from `samerun init` on: what is recorded, and when.

Without `samerun run` there are no receipts, so one fingerprint with the same results is one run.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from projects.users import Case, User, each_project, history, loaded, numbers, table
from support.workspace import Run

pytestmark = pytest.mark.usefixtures("warm")


def check(case: Case, user: User, run: Run, folder: str) -> None:
    """Compare everything on a run's page with the files of its pipeline."""
    pipeline = case.pipelines[folder]
    assert run.status == "FINISHED"
    assert user.experiments()[run.run_id] == pipeline.experiment
    params = [loaded(user.path / file) for file in pipeline.params]
    assert run.params == {
        name: value if isinstance(value, str) else json.dumps(value)
        for values in params
        for name, value in values.items()
    }
    expected = [numbers(user.path / file) for file in pipeline.metrics]
    assert run.last == {name: value for values in expected for name, value in values.items()}
    rows = user.rows("select key, step, value from metrics where run_uuid = ? order by step",
                     run.run_id)  # fmt: skip
    assert history(run, rows) == {
        name: table(user.path / file) for name, file in pipeline.steps.items()
    }
    kept = [*pipeline.params, *pipeline.metrics, *pipeline.steps.values(), *pipeline.kept]
    for file in [*(Path(name).relative_to(folder) for name in kept), Path("dvc.yaml")]:
        assert (run.artifacts / file).read_bytes() == (user.path / folder / file).read_bytes()
    datasets = user.rows(
        "select d.name, d.digest from datasets d join inputs i on i.source_id = d.dataset_uuid"
        " where i.destination_id = ?",
        run.run_id,
    )
    pointers = {name: (user.path / file).read_text() for name, file in pipeline.data.items()}
    assert dict(datasets) == {
        name: yaml.safe_load(text)["outs"][0]["md5"] for name, text in pointers.items()
    }


@each_project
def test_init_adds_few_lines_and_the_next_repro_is_one_complete_run(case: Case, user: User) -> None:
    changed = [line.split("\t") for line in
               user.git("diff", "--numstat", "HEAD~2", "HEAD~1").splitlines()]  # fmt: skip
    assert {name for _, _, name in changed} <= {
        *(Path(folder, "dvc.yaml").as_posix() for folder in case.pipelines),
        *(Path(folder, "mlruns/.gitignore").as_posix() for folder in (".", *case.pipelines)),
        ".dvcignore",
    }
    for added, removed, name in changed:
        assert int(removed) == 0
        assert int(added) <= 14, name
    for folder in case.pipelines:
        shown = user.run("sh", "-c", 'cd "$0" && samerun init', folder).stdout
        assert "nothing to do" in shown
    assert user.git("status", "--short") == ""

    runs = {user.experiments()[run.run_id]: run for run in user.runs()}
    assert len(runs) == len(user.runs()) == len(case.pipelines)
    for folder, pipeline in case.pipelines.items():
        run = runs[pipeline.experiment]
        check(case, user, run, folder)
        assert run.tags["executed"] == "unseen"
        assert run.tags["git_dirty"] == "false"
        assert run.tags["git_commit"] == user.git("rev-parse", "HEAD~1").strip()
        assert run.tags["fingerprint"] == user.marker(f"{folder}/mlruns/recorded.json")


@each_project
def test_which_executions_become_runs(case: Case, user: User) -> None:
    """Without `samerun run`, one fingerprint with different results would be two runs."""
    name, value, other, _ = case.parameter
    key = f"  {name.rpartition('.')[2]}: "
    first = user.runs()
    marker = user.marker(case.marker)

    def set_to(old: str, new: str) -> None:
        user.replace(case.params_file, f"{key}{old}\n", f"{key}{new}\n")

    assert user.repro(*case.targets) == []
    assert user.git("status", "--short") == ""

    set_to(value, other)
    assert user.repro(*case.targets) == [*case.after_parameter, case.record]
    changed = user.new_run(first)
    check(case, user, changed, case.folder)
    assert changed.params[name] == other
    assert changed.tags["git_dirty"] == "true"
    assert f"+{key}{other}" in (changed.artifacts / "changes.patch").read_text()
    assert user.marker(case.marker) == changed.tags["fingerprint"] != marker

    late, at_first, then = case.late
    late_key = f"  {late.rpartition('.')[2]}: "
    set_to(other, value)
    user.replace(case.params_file, f"{late_key}{at_first}\n", f"{late_key}{then}\n")
    both = user.runs()  # what comes before the last stage is restored, and recorded all the same
    assert user.repro(*case.targets) == [*case.after_late, case.record]
    cached = user.new_run(both)
    check(case, user, cached, case.folder)
    assert (cached.params[name], cached.params[late]) == (value, then)

    user.git("checkout", "--", case.params_file)
    three = user.runs()
    assert user.repro(*case.targets) == [case.record]  # all comes from the run cache
    assert user.runs() == three
    assert user.marker(case.marker) == marker
    assert user.git("status", "--short") == ""

    user.append(case.code, "# a comment\n")
    assert user.repro(*case.targets) == [*case.after_code, case.record]
    commented = user.new_run(three)
    check(case, user, commented, case.folder)
    assert commented.tags["fingerprint"] != marker
    assert commented.tags["results"] == case.own(first).tags["results"]
    assert "+# a comment" in (commented.artifacts / "changes.patch").read_text()


@each_project
def test_an_experiment_is_a_run_and_a_forced_repro_is_none(case: Case, user: User) -> None:
    first = user.runs()
    name, _, _, value = case.parameter
    options = ("--name", "mine", "--set-param", case.set_param(value))
    executed = user.executed_by("exp", "run", *options, *case.targets)
    assert executed == [*case.after_parameter, case.record]
    run = user.new_run(first)
    check(case, user, run, case.folder)
    assert run.params[name] == value
    assert run.tags["dvc_exp_name"] == "mine"
    assert run.tags["executed"] == "unseen"

    both = user.runs()
    stages = [*case.pipeline.stages, case.record]
    assert user.repro("--force", *case.targets[:1]) == stages
    assert user.runs() == both


@each_project
def test_a_clone_that_pulled_and_a_deleted_store(case: Case, user: User) -> None:
    clone = user.clone()
    clone.dvc("pull", "--quiet", "--allow-missing")
    recorders = [case.recorder(folder) for folder in case.pipelines]
    assert clone.repro(*case.targets) == recorders
    runs = clone.runs()
    assert len(runs) == len(recorders)
    by_experiment = {clone.experiments()[run.run_id]: run for run in runs}
    for folder, pipeline in case.pipelines.items():
        check(case, clone, by_experiment[pipeline.experiment], folder)
    recorded = {run.tags["fingerprint"] for run in user.runs()}
    assert {run.tags["fingerprint"] for run in runs} == recorded
    assert {run.tags["git_dirty"] for run in runs} == {"false"}
    assert clone.git("status", "--short") == ""

    for name in ("mlflow.db", "artifacts"):
        path = clone.path / "mlruns" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert clone.repro(*case.targets) == []  # the marker is there, so nothing changed for DVC
    (clone.path / case.marker).unlink()
    assert clone.repro(*case.targets) == [case.record]
    run = clone.new_run([])
    check(case, clone, run, case.folder)
    assert run.tags["executed"] == "unseen"


@pytest.mark.parametrize("_user_project", ["sklearn"], indirect=True, scope="session")
def test_a_commit_from_before_init_can_be_worked_with(user: User) -> None:
    """git removes mlruns/.gitignore there, and the dvc.yaml of each run lies below mlruns."""
    user.git("checkout", "--quiet", "HEAD~2")
    assert not (user.path / "mlruns/.gitignore").exists()
    assert "record" not in user.dvc("stage", "list", "--all").stdout
    assert user.repro() == []
    user.git("checkout", "--quiet", "main")
    assert user.repro() == []


@pytest.mark.slow
@each_project
def test_an_experiment_in_a_temporary_folder(case: Case, user: User) -> None:
    first = user.runs()
    name, _, _, value = case.parameter
    options = ("--temp", "--name", "aside", "--set-param", case.set_param(value))
    user.executed_by("exp", "run", *options, *case.targets)
    run = user.new_run(first)
    assert run.params[name] == value
    assert run.tags["dvc_exp_name"] == "aside"
    assert user.repro(*case.targets) == []
    assert user.git("status", "--short") == ""
    user.dvc("exp", "apply", "aside")
    check(case, user, run, case.folder)
    assert set(user.repro(*case.targets)) <= {case.record}
    assert len(user.runs()) == len(first) + 1


@pytest.mark.slow
@pytest.mark.cold
@each_project
def test_a_queue(case: Case, user: User) -> None:
    first = user.runs()
    name, _, *values = case.parameter
    options = ("--queue", "--set-param", case.set_param(",".join(values)))
    user.dvc("exp", "run", *options, *case.targets)
    user.dvc("queue", "start", "--jobs", "2")
    user.wait_for_queue(2)
    ids = {run.run_id for run in first}
    runs = [run for run in user.runs() if run.run_id not in ids]
    assert sorted(run.params[name] for run in runs) == sorted(values)
    assert {run.status for run in runs} == {"FINISHED"}
    assert len({run.tags["dvc_exp_name"] for run in runs}) == 2
    assert user.repro(*case.targets) == []
