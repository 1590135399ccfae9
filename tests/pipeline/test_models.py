"""A model of several columns goes the whole way: recorded, resumed, proven, served, retrained."""

import json
import signal

import numpy as np
import numpy.typing as npt
import pytest

from support.workspace import commit
from tests.conftest import Workspace
from tests.pipeline.retraining import DAY, expect, retrain
from tests.pipeline.training import Training, make_long

pytestmark = pytest.mark.usefixtures("warm")

Array = npt.NDArray[np.float64]

NAMES = ["w_air_flow", "w_water_temp", "w_acid_conc", "b"]
COLUMNS = ["air_flow", "water_temp", "acid_conc"]

PREDICT = """
import sys, mlflow, pandas as pd
rows = pd.read_csv("data/own/stackloss.csv")
model = mlflow.pyfunc.load_model(sys.argv[1])
assert list(model.metadata.signature.inputs.input_names()) == list(rows.columns[:3])
print([float(y) for y in model.predict(rows[rows.columns[:3]].astype(float))])
"""


@pytest.fixture
def plane(workspace: Workspace) -> Workspace:
    """A checkout whose model is a plane through three columns of a table."""
    for old, new in {
        "model: line": "model: plane",
        "truth: {w: 20.0, b: 5.0}": "truth: null",
        "table: null": "table: data/own/stackloss.csv",
        "{x: x, y: y}": f"{{x: [{', '.join(COLUMNS)}], y: stack_loss}}",
        "holdout: 0.2": "holdout: 0",
    }.items():
        workspace.replace("params.yaml", old, new)
    return workspace


def least_squares(workspace: Workspace) -> tuple[Array, Array]:
    """Return numpy's parameters for the table, and its predictions of the rows."""
    path = workspace.path / "data/own/stackloss.csv"
    *x, y = np.loadtxt(path, delimiter=",", skiprows=1).T
    columns = np.stack([*x, np.ones_like(y)], axis=1)
    parameters = np.linalg.lstsq(columns, y, rcond=None)[0]
    return parameters, columns @ parameters


def test_it_is_recorded_by_its_own_names_served_and_proven(plane: Workspace) -> None:
    plane.dvc("repro")
    *_, run = plane.runs()
    parameters, predictions = least_squares(plane)
    assert [run.last[name] for name in NAMES] == pytest.approx(parameters.tolist(), rel=1e-9)
    assert all(run.steps[name] == list(range(100)) for name in NAMES)
    assert run.params["model"] == "plane"
    assert run.name.split(", ")[2] == "plane"
    assert "quality not judged" in run.tags["mlflow.note.content"]
    store = f"sqlite:///{plane.path}/mlruns/mlflow.db"
    uri = f"runs:/{run.run_id}/model"
    done = plane.run("python", "-c", PREDICT, uri, MLFLOW_TRACKING_URI=store)
    assert json.loads(done.stdout) == pytest.approx(predictions.tolist(), rel=1e-9)
    proof = plane.samerun("reproduce", run.run_id)
    assert "exact" in proof.stdout
    assert "Running stage" not in plane.dvc("repro").stdout


@pytest.mark.slow
def test_a_killed_training_resumes_in_its_run(workspace: Workspace) -> None:
    make_long(workspace)
    workspace.replace("params.yaml", "model: line", "model: quadratic")
    workspace.replace("params.yaml", "{w: 20.0, b: 5.0}", "{c: 0.1, w: 20.0, b: 5.0}")
    training = Training(workspace)
    live = training.wait_for_run()
    training.send(signal.SIGKILL)
    training.end()
    workspace.dvc("repro")
    *_, run = workspace.runs()
    assert (run.run_id, run.status) == (live.run_id, "FINISHED")
    resumed = (workspace.path / "reports/history.csv").read_bytes()
    workspace.dvc("repro", "--force", "train")
    assert (workspace.path / "reports/history.csv").read_bytes() == resumed


@pytest.mark.slow
def test_experiments_in_a_queue_have_models_of_their_own(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "{w: 20.0, b: 5.0}", "null")
    workspace.replace("params.yaml", "table: null", "table: data/own/forbes.csv")
    workspace.replace("params.yaml", "{x: x, y: y}", "{x: boiling_point_f, y: pressure_inhg}")
    commit(workspace, "a table")
    workspace.dvc("exp", "run", "--queue", "--set-param", "model=line,quadratic")
    workspace.dvc("exp", "run", "--run-all")
    line, quadratic = (run for run in workspace.runs() if run.tags.get("dvc_exp_name"))
    assert {line.params["model"], quadratic.params["model"]} == {"line", "quadratic"}
    found = next(run for run in (line, quadratic) if run.params["model"] == "quadratic")
    assert np.isfinite([found.last[name] for name in "cwb"]).all()


def test_it_is_retrained_beside_the_champion_of_another_problem(promoted: Workspace) -> None:
    promoted.git("checkout", "--quiet", "--", "params.yaml", "dvc.lock")
    for old, new in {
        "model: line": "model: plane",
        "truth: {w: 20.0, b: 5.0}": "truth: null",
        "table: null": "table: data/own/stackloss.csv",
        "{x: x, y: y}": f"{{x: [{', '.join(COLUMNS)}], y: stack_loss}}",
    }.items():
        promoted.replace("params.yaml", old, new)
    commit(promoted, "another problem")
    expect(retrain(promoted, DAY), 0, "promoted", "plane")
    shown = promoted.knownline("champion").stdout
    assert "plane" in shown
    promoted.git("checkout", "--quiet", "HEAD~1", "--", "params.yaml")
    assert "version 1 of knownline" in promoted.knownline("champion").stdout
