"""A model that is not linear and a network go the whole way: recorded, resumed, proven, served."""

import json
import signal

import numpy as np
import pandas as pd
import pytest

from support.workspace import commit
from tests.conftest import Workspace
from tests.pipeline.retraining import DAY, expect, retrain, versions
from tests.pipeline.training import Training

pytestmark = pytest.mark.usefixtures("warm")

TABLE = "data/own/rows.csv"

PREDICT = """
import json, sys, mlflow, pandas as pd
rows = pd.read_parquet("data/holdout").drop(columns="y")
model = mlflow.pyfunc.load_model(sys.argv[1])
assert list(model.metadata.signature.inputs.input_names()) == list(rows.columns)
print(json.dumps([float(y) for y in model.predict(rows)]))
"""


def write_table(workspace: Workspace, seed: int = 0) -> None:
    """Write rows that no linear model follows."""
    random = np.random.default_rng(seed)
    a, b = random.uniform(-2, 2, (2, 500))
    y = np.sin(2 * a) + a * b + 10 + 0.1 * random.standard_normal(500)
    pd.DataFrame({"a": a, "b b": b, "price": y}).to_csv(workspace.path / TABLE, index=False)


def set_exponential(workspace: Workspace) -> None:
    change(
        workspace,
        {
            "model: line": "model: exponential",
            "{w: 20.0, b: 5.0}": "{a: 20.0, k: 0.05, c: 5.0}",
            "optimizer: gd": "optimizer: lbfgs",
            "learning_rate: 0.25": "learning_rate: 1.0",
            "epochs: 100": "epochs: 20",
        },
    )


def set_network(workspace: Workspace) -> None:
    write_table(workspace)
    change(
        workspace,
        {
            "model: line": "model: mlp",
            "truth: {w: 20.0, b: 5.0}": "truth: null",
            "table: null": f"table: {TABLE}",
            "{x: x, y: y}": "{x: [a, b b], y: price}",
            "optimizer: gd": "optimizer: adam",
            "learning_rate: 0.25": "learning_rate: 0.01",
            "batch_size: null": "batch_size: 50",
            "epochs: 100": "epochs: 30",
        },
    )


def change(workspace: Workspace, lines: dict[str, str]) -> None:
    for old, new in lines.items():
        workspace.replace("params.yaml", old, new)


KINDS = {"exponential": set_exponential, "mlp": set_network}

each_kind = pytest.mark.parametrize("name", KINDS)


def store(workspace: Workspace) -> str:
    return f"sqlite:///{workspace.path}/mlruns/mlflow.db"


@each_kind
def test_it_is_recorded_served_and_proven(workspace: Workspace, name: str) -> None:
    KINDS[name](workspace)
    commit(workspace, name)
    workspace.dvc("repro")
    *_, run = workspace.runs()
    metrics = json.loads((workspace.path / "reports/metrics.json").read_text())
    assert run.tags["gate"] == "passed"
    assert run.last["holdout.rmse"] == metrics["holdout"]["rmse"]
    names = ["loss", *metrics["se"]]
    epochs = 20 if name == "exponential" else 30
    assert all(run.steps[each] == list(range(epochs)) for each in names)
    done = workspace.run(
        "python", "-c", PREDICT, f"runs:/{run.run_id}/model", MLFLOW_TRACKING_URI=store(workspace)
    )
    rows = pd.read_parquet(workspace.path / "data/holdout")
    rmse = float(np.sqrt(np.mean((np.array(json.loads(done.stdout)) - rows["y"]) ** 2)))
    assert rmse == pytest.approx(metrics["holdout"]["rmse"], rel=1e-12)
    assert "Running stage" not in workspace.dvc("repro").stdout
    assert "exact" in workspace.samerun("reproduce", run.run_id).stdout
    assert workspace.samerun("doctor").returncode == 0


def test_what_a_served_network_needs_is_listed_and_what_a_line_does_not_need_is_not(
    workspace: Workspace,
) -> None:
    set_network(workspace)
    workspace.dvc("repro")
    for run, needs_torch in zip(workspace.runs(), (False, True), strict=True):
        script = (
            "import sys, mlflow;"
            " print(mlflow.artifacts.load_text(f'runs:/{sys.argv[1]}/model/requirements.txt'))"
        )
        done = workspace.run(
            "python", "-c", script, run.run_id, MLFLOW_TRACKING_URI=store(workspace)
        )
        needed = {line.split("==")[0] for line in done.stdout.split()}
        assert {"mlflow", "numpy", "pandas"} <= needed
        assert ("torch" in needed, "safetensors" in needed) == (needs_torch, needs_torch)


LONG = {
    "exponential": {
        "rows: 99": "rows: 50000",
        "optimizer: lbfgs": "optimizer: adam",
        "learning_rate: 1.0": "learning_rate: 0.01",
        "epochs: 20": "epochs: 2000",
    },
    "mlp": {"epochs: 30": "epochs: 1000"},
}
"""What makes a training last some seconds."""


@each_kind
@pytest.mark.slow
def test_a_killed_training_resumes_in_its_run(workspace: Workspace, name: str) -> None:
    KINDS[name](workspace)
    change(workspace, LONG[name])
    training = Training(workspace)
    live = training.wait_for_run()
    training.send(signal.SIGKILL)
    training.end()
    workspace.dvc("repro")
    *_, run = workspace.runs()
    assert (run.run_id, run.status) == (live.run_id, "FINISHED")
    files = ["reports/history.csv", *(f"models/{each}" for each in models(workspace))]
    resumed = {each: (workspace.path / each).read_bytes() for each in files}
    workspace.dvc("repro", "--force", "train")
    assert {each: (workspace.path / each).read_bytes() for each in files} == resumed


def models(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.path / "models").iterdir())


@pytest.mark.slow
def test_a_queue_holds_models_of_every_kind(workspace: Workspace) -> None:
    set_network(workspace)
    workspace.replace("params.yaml", "[a, b b]", "a")
    commit(workspace, "a table")
    workspace.dvc("exp", "run", "--queue", "--set-param", "model=line,exponential,mlp")
    workspace.dvc("exp", "run", "--run-all", ok=False)
    found = {run.params["model"]: run for run in workspace.runs() if "dvc_exp_name" in run.tags}
    assert set(found) == {"line", "exponential", "mlp"}
    assert found["mlp"].tags["gate"] == "passed"
    assert "linear.rmse" in found["mlp"].last
    assert {"a", "k", "c"} <= set(found["exponential"].last)


@each_kind
def test_days_of_retraining(workspace: Workspace, name: str) -> None:
    KINDS[name](workspace)
    commit(workspace, name)
    expect(retrain(workspace, DAY), 0, "promoted")
    if name == "mlp":
        write_table(workspace, seed=1)
        commit(workspace, "another day's rows")
    done = retrain(workspace, "2026-11-02")
    expect(done, 0, "kept")
    found = versions(workspace)
    newest = found[max(found)]
    assert newest["verdict"] == "kept"
    assert newest["drift"] == "none"
    assert ("weights" in json.loads(json.loads(newest["registration"])["model"])) == (name == "mlp")
    assert "drift" in newest["description"]
