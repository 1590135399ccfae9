"""DVC's experiments: each execution is a run with the experiment's name, in the one store."""

import time

import pytest

from projects.toy import Toy

pytestmark = pytest.mark.usefixtures("warm")


def test_an_experiment_in_the_workspace(toy: Toy) -> None:
    first = toy.runs()
    options = ("--name", "slow", "--set-param", "fit.rate=0.25")
    assert toy.executed_by("exp", "run", *options) == ["fit", "judge", "draw", "record"]
    run = toy.new_run(first)
    assert run.tags["dvc_exp_name"] == "slow"
    assert run.params["fit.rate"] == "0.25"
    assert "backfilled" not in run.tags
    assert toy.repro() == []


def test_an_experiment_that_dvc_restores_is_found_by_its_name(toy: Toy) -> None:
    """Its parameters were run before, so nothing is executed and there is no new run."""
    (first,) = toy.runs()
    for name in ("slow", "again"):
        toy.replace("params.yaml", "limit: 100", "limit: 50")
        toy.repro()
        assert toy.executed_by("exp", "run", "--name", name, "-S", "judge.limit=100") == ["record"]
        assert "exact" in toy.samerun("reproduce", name).stdout
    run = next(run for run in toy.runs() if run.run_id == first.run_id)
    assert run.tags["dvc_exp_names"] == "slow, again"
    assert len(toy.runs()) == 2


def test_the_name_of_an_experiment_counts_before_the_beginning_of_an_id(toy: Toy) -> None:
    (first,) = toy.runs()
    name = first.run_id[:1]
    toy.dvc("exp", "run", "--name", name, "--set-param", "fit.rate=0.25")
    run = toy.new_run([first])
    assert f"({run.run_id})" in toy.samerun("reproduce", name).stdout


def test_an_experiment_in_a_temporary_folder_and_then_applied(toy: Toy) -> None:
    first, model = toy.runs(), (toy.path / "models/fit.json").read_bytes()
    options = ("--temp", "--name", "aside", "--set-param", "fit.rate=0.25")
    assert toy.executed_by("exp", "run", *options) == ["fit", "judge", "draw", "record"]
    run = toy.new_run(first)
    assert run.tags["dvc_exp_name"] == "aside"
    assert "backfilled" not in run.tags
    assert (toy.path / "models/fit.json").read_bytes() == model
    assert toy.git("status", "--short") == ""
    assert toy.repro() == []

    both = toy.runs()
    toy.dvc("exp", "apply", "aside")
    assert "rate: 0.25" in (toy.path / "params.yaml").read_text()
    assert set(toy.repro()) <= {"record"}
    assert toy.runs() == both
    assert toy.marker() == run.tags["fingerprint"]


def test_an_experiment_runs_its_own_code(toy: Toy) -> None:
    first = toy.runs()
    toy.append("code/fit/step.sh", "# a comment\n")
    toy.executed_by("exp", "run", "--temp", "--name", "other-code")
    toy.git("checkout", "--", "code")
    run = toy.new_run(first)
    assert run.tags["dvc_exp_name"] == "other-code"
    assert run.tags["fingerprint"] != first[0].tags["fingerprint"]
    assert toy.repro() == []


@pytest.mark.cold  # a process that was forked warm does not know the dvc that runs it
def test_two_jobs_of_a_queue_over_the_same_stage_do_not_take_each_others_receipts(
    toy: Toy,
) -> None:
    first = toy.runs()
    before = len(toy.executions())
    sets = ("--set-param", "prepare.scale=3", "--set-param", "fit.rate=0.25,0.75")
    toy.dvc("exp", "run", "--queue", *sets)
    toy.dvc("queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 120
    while True:
        shown = toy.dvc("queue", "status").stdout
        if "Queued" not in shown and "Running" not in shown:
            break
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    failed = [line.split()[0] for line in shown.splitlines() if line.endswith("Failed")]
    logs = [toy.dvc("queue", "logs", task).stdout for task in failed]
    assert shown.count("Success") == 2, "\n".join([shown, *logs])
    executed = toy.executions()[before:]
    assert executed.count("fit") == executed.count("judge") == 2
    runs = [run for run in toy.runs() if run.run_id != first[0].run_id]
    assert sorted(run.params["fit.rate"] for run in runs) == ["0.25", "0.75"]
    assert {run.params["prepare.scale"] for run in runs} == {"3"}
    for each in ("dvc_exp_name", "execution", "fingerprint"):
        assert len({run.tags[each] for run in runs}) == 2, each
    for run in runs:
        assert run.status == "FINISHED"
        assert "backfilled" not in run.tags
    assert toy.repro() == []
