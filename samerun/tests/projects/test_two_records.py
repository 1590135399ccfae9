"""Two record stages in one dvc.yaml have runs of their own; different results are a new run."""

import json
import time
from pathlib import Path

import pytest

from projects.toy import Toy, project

pytestmark = pytest.mark.usefixtures("warm")

TWO = """
stages:
  left:
    cmd: samerun run -- sh -c 'echo left >> "$TOY_LOG"; echo {\\"m\\":1} > left.json'
    deps: [code.sh]
    metrics: [left.json: {cache: false}]
  right:
    cmd: samerun run -- sh -c 'echo right >> "$TOY_LOG"; echo {\\"m\\":2} > right.json'
    deps: [code.sh]
    metrics: [right.json: {cache: false}]
  record-left:
    cmd: samerun record
    deps: [code.sh, left.json]
    outs: [mlruns/left.json: {cache: false, persist: true}]
  record-right:
    cmd: samerun record
    deps: [code.sh, right.json]
    outs: [mlruns/right.json: {cache: false, persist: true}]
"""


@pytest.fixture
def two(tmp_path: Path) -> Toy:
    toy = project(tmp_path / "two", {"dvc.yaml": TWO, "code.sh": "# nothing\n"})
    toy.repro()
    return toy


def test_each_record_stage_has_its_run(two: Toy) -> None:
    runs = {run.tags["record"]: run for run in two.runs()}
    assert {name: run.last for name, run in runs.items()} == {
        "dvc.yaml:record-left": {"m": 1.0},
        "dvc.yaml:record-right": {"m": 2.0},
    }
    assert "healthy" in two.samerun("doctor").stdout
    for run in runs.values():
        assert "exact" in two.samerun("reproduce", run.run_id).stdout


def test_runs_that_share_an_experiment_say_of_which_pipeline_they_are(two: Toy) -> None:
    assert [run.name for run in two.runs()] == ["record-left", "record-right"]
    assert "exact" in two.samerun("reproduce", "record-right").stdout
    # Each marker has a file of its own beside it, so that a run is known while the store is away.
    for side, run in zip(("left", "right"), two.runs(), strict=True):
        assert json.loads((two.path / f"mlruns/last-{side}.json").read_text())["name"] == run.name


def test_the_doctor_looks_at_every_record_stage_of_a_folder(two: Toy) -> None:
    (two.path / "right.json").write_text('{"m": 3}')
    found = two.samerun("doctor", ok=False).stdout
    assert "right" in found
    assert found.endswith("doctor: 1 finding\n")


def test_two_record_stages_with_one_marker_are_refused(two: Toy) -> None:
    two.replace("dvc.yaml", "mlruns/left.json", "mlruns/right.json")
    for name, other in (("left", "right"), ("right", "left")):
        says = f"dvc.yaml:record-{name} and dvc.yaml:record-{other} have the same marker"
        two.refused("samerun", "record", says=says, DVC_STAGE=f"record-{name}")
    shared = [
        line
        for line in two.samerun("doctor", ok=False).stdout.splitlines()
        if "same marker" in line
    ]
    assert shared == [
        "stage record-left: it has the same marker as dvc.yaml:record-right: give each its own",
        "stage record-right: it has the same marker as dvc.yaml:record-left: give each its own",
    ]


FOLDER = """
stages:
  one:
    cmd: samerun run -- sh -c 'cp params.yaml m.yaml'
    params: [rate]
    metrics: [m.yaml: {cache: false}]
  record:
    cmd: samerun record
    params: [rate]
    deps: [m.yaml]
    outs: [mlruns/recorded.json: {cache: false, persist: true}]
"""


def test_folders_that_name_no_experiment_share_one_and_compare_with_their_own_first_run(
    tmp_path: Path,
) -> None:
    files = {f"{name}/dvc.yaml": FOLDER for name in ("cats", "dogs")}
    files |= {"cats/params.yaml": "rate: 1\n", "dogs/params.yaml": "rate: 2\n"}
    toy = project(tmp_path / "animals", files)
    toy.dvc("repro", "cats/dvc.yaml", "dogs/dvc.yaml")
    toy.replace("cats/params.yaml", "1", "2")
    assert "changed" not in toy.run("sh", "-c", "cd dogs && samerun doctor", ok=False).stdout
    toy.dvc("repro", "cats/dvc.yaml")
    names = [run.name for run in toy.runs()]
    assert sorted(names) == ["rate 1, cats", "rate 2, cats", "rate 2, dogs"]
    assert set(toy.experiments().values()) == {"samerun"}
    for name in names:
        folder = name.rpartition(" ")[2]
        assert "exact" in toy.run("sh", "-c", f"cd {folder} && samerun reproduce '{name}'").stdout


def test_a_long_stage_of_one_pipeline_is_not_shown_in_the_run_of_another(tmp_path: Path) -> None:
    slow = TWO.replace("sh -c 'echo", "sh -c 'sleep 6; echo")
    toy = project(tmp_path / "slow", {"dvc.yaml": slow, "code.sh": "# nothing\n"})
    toy.dvc("repro", ok=True, SAMERUN_LIVE_AFTER="0")
    runs = toy.runs()
    assert [run.status for run in runs] == ["FINISHED", "FINISHED"]
    assert {run.last["m"] for run in runs} == {1.0, 2.0}


def test_other_results_of_one_identity_are_another_run(tmp_path: Path) -> None:
    unwrapped = TWO.replace("samerun run -- ", "").replace('{\\"m\\":1}', '{\\"m\\":1$(date +%N)}')
    toy = project(tmp_path / "unwrapped", {"dvc.yaml": unwrapped, "code.sh": "# nothing\n"})
    toy.repro("record-left")
    time.sleep(0.01)
    toy.repro("-f", "record-left")
    first, second = toy.runs()
    assert first.tags["fingerprint"] == second.tags["fingerprint"]
    on_disk = json.loads((toy.path / "left.json").read_text())
    assert second.last["m"] == on_disk["m"] != first.last["m"]
