"""Two record stages in one dvc.yaml have their own runs; other results are another run."""

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
