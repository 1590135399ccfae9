"""MLflow's own system metrics are written while a run is shown, if the user asks for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from projects.counting import FILES, STEPS, Counting, repro, wait_for
from projects.toy import project
from support.workspace import ROOT

pytestmark = pytest.mark.usefixtures("warm")

ASKED = {
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.1",
}
CPU = "system/cpu_utilization_percentage"


def test_a_stage_that_is_shown_has_system_metrics_that_end_with_it(tmp_path: Path) -> None:
    counting = Counting(project(tmp_path / "work", FILES).path)
    counting.allow(3)
    with repro(counting, **ASKED) as running:
        live = wait_for(
            lambda: next((r for r in counting.runs() if len(r.steps.get(CPU, [])) > 2), None),
            "three samples",
        )
        assert live.status == "RUNNING"
        counting.allow(STEPS)
        status, shown = running.end()
        assert status == 0
        assert "warning" not in shown.lower()
    run = counting.assert_sound(finished=1)
    assert run.run_id == live.run_id
    assert run.steps[CPU] == list(range(len(run.steps[CPU])))
    assert 0 <= run.last[CPU] <= 100
    assert "system/disk_usage_percentage" in run.steps
    assert counting.wrappers() == []  # so nobody writes any more
    assert "exact" in counting.run("samerun", "reproduce", run.run_id, ok=True, **ASKED).stdout


MISSING = """
import os, sys
from samerun.mlflow import live_run

def start():
    print(live_run._system_metrics("run", "sqlite:////nowhere/x.db"))

os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "yes"
start()
os.environ["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "true"
sys.modules["psutil"] = None
start()
del sys.modules["psutil"]
os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "often"
start()
"""


def test_what_it_needs_is_missing_and_one_warning_says_so() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **ASKED}
    done = subprocess.run(
        [sys.executable, "-c", MISSING], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n" * 3
    warnings = done.stderr.splitlines()
    assert len(warnings) == 3
    causes = ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "psutil", "SAMPLING_INTERVAL")
    for warning, cause in zip(warnings, causes, strict=True):
        assert warning.startswith("samerun: warning: no system metrics: ")
        assert cause in warning
