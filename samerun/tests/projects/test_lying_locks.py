"""A dvc.lock that does not match what was executed: refused, or shown by the run's tags."""

from collections.abc import Callable
from pathlib import Path

import pytest

from projects.toy import FILES, Toy, project

pytestmark = pytest.mark.usefixtures("warm")


def test_an_output_that_was_edited_and_committed_by_hand_is_backfilled(toy: Toy) -> None:
    first = toy.runs()
    toy.set("judge.limit", 50)
    assert toy.repro("judge") == ["judge"]
    toy.replace("reports/metrics.json", "true", "false")
    toy.dvc("commit", "--force", "judge")
    assert toy.repro() == ["draw", "record"]
    run = toy.new_run(first)
    assert run.tags["backfilled"] == "true"
    assert run.tags["verdict"] == "bad"


def test_an_edited_output_is_not_taken_for_the_run_of_its_fingerprint(toy: Toy) -> None:
    """The inputs are the same, so the existing run has the same fingerprint."""
    first = toy.runs()
    toy.replace("reports/metrics.json", "true", "false")
    toy.dvc("commit", "--force", "judge")
    assert toy.repro() == ["draw", "record"]
    run = toy.new_run(first)
    assert run.tags["backfilled"] == "true"
    assert run.tags["verdict"] == "bad"


def test_parameters_that_never_ran_are_not_recorded(toy: Toy) -> None:
    toy.set("fit.rate", 0.25)
    toy.refused("dvc", "repro", "--single-item", "record", says="run `dvc repro`")
    toy.refused("samerun", "record", says="fit.rate")
    assert toy.executions() == []


def unlink(toy: Toy, file: str) -> None:
    (toy.path / file).unlink()


CHANGES: dict[str, tuple[Callable[[Toy], None], str]] = {
    "command": (lambda toy: toy.replace("dvc.yaml", "sh -e code/fit", "sh -eu code/fit"), "fit"),
    "parameter": (lambda toy: toy.set("judge.limit", 7), "judge.limit"),
    "added parameter": (
        lambda toy: toy.replace("params.yaml", "judge:\n", "judge:\n  more: 1\n"),
        "judge.more",
    ),
    "code": (lambda toy: toy.append("code/judge/main.sh", "# a comment\n"), "code/judge"),
    "added code": (lambda toy: toy.append("code/fit/more.sh", ""), "code/fit"),
    "removed code": (lambda toy: unlink(toy, "code/fit/step.sh"), "code/fit"),
    "data": (lambda toy: toy.append("data/raw.csv", "4,40\n"), "data/raw.csv"),
    "inner output": (lambda toy: toy.append("data/table.csv", "4,80\n"), "data/table.csv"),
    "output": (
        lambda toy: toy.replace("reports/metrics.json", "true", "false"),
        "reports/metrics.json",
    ),
    "removed output": (lambda toy: unlink(toy, "models/fit.json"), "models/fit.json"),
    "removed lock": (lambda toy: unlink(toy, "dvc.lock"), "dvc.lock"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_workspace_that_differs_from_its_lock_is_not_recorded(toy: Toy, what: str) -> None:
    (toy.path / "mlruns/recorded.json").unlink()
    change, named = CHANGES[what]
    change(toy)
    toy.refused("samerun", "record", says="`dvc repro`")
    toy.refused("samerun", "record", says=named)
    assert not (toy.path / "mlruns/recorded.json").exists()


def test_a_frozen_stage_with_parameters_that_never_ran_is_said_to_be_frozen(toy: Toy) -> None:
    first = toy.runs()
    toy.replace("dvc.yaml", "    params: [fit]\n", "    params: [fit]\n    frozen: true\n")
    toy.set("fit.rate", 0.25)
    executed = toy.repro("--force")
    assert "fit" not in executed
    assert "record" in executed
    run = toy.new_run(first)
    assert run.tags["frozen"] == "fit"
    assert run.params["fit.rate"] == "0.25"


def test_a_stage_that_always_changes_is_a_run_each_time(toy: Toy) -> None:
    own = "    params: [judge]\n"
    toy.replace("dvc.yaml", own, f"{own}    always_changed: true\n")
    toy.repro()
    for _ in range(2):
        before = toy.runs()
        executed = toy.repro()
        assert executed[0] == "judge"
        assert executed[-1] == "record"
        run = toy.new_run(before)
        assert run.tags["fingerprint"] == before[0].tags["fingerprint"]
        assert "backfilled" not in run.tags


UNSEEN = FILES | {"dvc.yaml": FILES["dvc.yaml"].replace("samerun run -- ", "")}


def test_without_samerun_run_there_is_one_run_for_each_fingerprint(tmp_path: Path) -> None:
    toy = project(tmp_path / "unseen", UNSEEN)
    toy.repro()
    first = toy.new_run([])
    assert first.tags["executed"] == "unseen"
    assert "backfilled" not in first.tags
    toy.repro("--force")
    assert toy.runs() == [first]
    toy.set("fit.rate", 0.25)
    toy.repro()
    assert toy.new_run([first]).tags["executed"] == "unseen"


def test_a_project_that_begins_to_use_samerun_run_keeps_its_fingerprints(
    toy: Toy, tmp_path: Path
) -> None:
    unseen = project(tmp_path / "unseen", UNSEEN)
    unseen.repro()
    assert unseen.marker() == toy.marker()


def test_a_variable_that_no_stage_ran_with_is_not_recorded(toy: Toy) -> None:
    """DVC does not see a variable, so nothing executes when it changes."""
    toy.replace("dvc.yaml", "experiment: toy", "experiment: toy\n        env: [TOY_RATE]")
    toy.repro("-f", TOY_RATE="1")
    first = toy.runs()
    (toy.path / "mlruns/recorded.json").unlink()
    toy.refused("dvc", "repro", says="the environment variable TOY_RATE has changed", TOY_RATE="2")
    toy.repro(TOY_RATE="1")
    assert toy.runs() == first
    toy.repro("-f", TOY_RATE="2")
    run = toy.new_run(first)
    assert run.tags["fingerprint"] != first[-1].tags["fingerprint"]
