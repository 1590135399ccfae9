"""What a recorded run holds, and what becomes of a recording that is cut short."""

import csv
import json
import sqlite3
import subprocess
from urllib.request import Request, urlopen

import pytest

from support.servers import free_port, serving
from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")

MODEL_SCRIPT = """
import sys, pandas as pd, mlflow
for uri in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(uri)
    print([float(y).hex() for y in model.predict(pd.DataFrame({"x": [0.0, 1.0, -3.5]}))])
assert "torch" not in sys.modules and "knownline" not in sys.modules
"""


def test_every_number_of_the_files_is_in_the_store(built: Workspace) -> None:
    (run,) = built.runs()
    rows = list(csv.DictReader((built.path / "reports/history.csv").open()))
    with sqlite3.connect(built.path / "mlruns/mlflow.db") as store:
        for name in ("loss", "w", "b"):
            logged = store.execute(
                "select step, value from metrics where run_uuid = ? and key = ? order by step",
                [run.run_id, name],
            ).fetchall()
            assert logged == [(int(row["epoch"]), float(row[name])) for row in rows]
    metrics = json.loads((built.path / "reports/metrics.json").read_text())
    for name in ("truth", "ols", "se", "z"):
        for key in ("w", "b"):
            assert run.last[f"{name}.{key}"] == metrics[name][key]
    for name in ("w", "b", "optimiser_error", "rows"):
        assert run.last[name] == metrics[name]
    for name, key in (("holdout", "rmse"), ("holdout", "r2"), ("train", "rmse")):
        assert run.last[f"{name}.{key}"] == metrics[name][key]


def test_a_run_has_its_tags_files_and_data(built: Workspace) -> None:
    (run,) = built.runs()
    kept = run.artifacts
    first = built.git("rev-list", "--max-parents=0", "HEAD").strip()
    assert run.tags["git_commit"] == run.tags["mlflow.source.git.commit"] == first
    assert (run.tags["gate"], run.tags["device"]) == ("passed", "cpu")
    assert "| w | 20.0" in run.tags["mlflow.note.content"]
    assert run.name == "99 rows, y~x, line, lr 0.25, 100 epochs"
    assert run.tags["z"] == "w 0.346, b -0.55"
    assert json.loads((kept / "environment.json").read_text())["torch"].startswith("2.13.0")
    for name in ("fit", "loss", "path"):
        assert (kept / f"reports/plots/{name}.png").exists()
    for name in ("params.yaml", "reports/history.csv", "reports/report.html", "models/model.json"):
        assert (kept / name).read_bytes() == (built.path / name).read_bytes()
    lock = (kept / "dvc.lock").read_text()
    with sqlite3.connect(built.path / "mlruns/mlflow.db") as store:
        inputs = store.execute(
            "select t.value, d.name, d.digest from inputs i"
            " join datasets d on i.source_id = d.dataset_uuid"
            " join input_tags t on t.input_uuid = i.input_uuid order by 1"
        ).fetchall()
    assert [entry[:2] for entry in inputs] == [("holdout", "data/holdout"), ("train", "data/train")]
    for _, path, digest in inputs:
        assert f"path: {path}\n      hash: md5\n      md5: {digest}\n" in lock


@pytest.mark.cold
def test_the_model_predicts_with_pickle_forbidden_and_without_torch(built: Workspace) -> None:
    (run,) = built.runs()
    (model,) = (built.path / "mlruns/artifacts/models").iterdir()
    line = json.loads((built.path / "models/model.json").read_text())["parameters"]
    uris = [f"runs:/{run.run_id}/model", f"models:/{model.name}"]
    store = f"sqlite:///{built.path}/mlruns/mlflow.db"
    done = built.run("python", "-c", MODEL_SCRIPT, *uris, MLFLOW_TRACKING_URI=store)
    expected = [(x * line["w"] + line["b"]).hex() for x in (0.0, 1.0, -3.5)]
    assert done.stdout.splitlines() == [str(expected)] * 2
    assert not list(model.rglob("*.pkl"))


def test_the_model_answers_over_http(built: Workspace) -> None:
    (run,) = built.runs()
    port = free_port()
    command = ["models", "serve", "-m", f"runs:/{run.run_id}/model", "--env-manager", "local"]
    store = f"sqlite:///{built.path}/mlruns/mlflow.db"
    line = json.loads((built.path / "models/model.json").read_text())["parameters"]
    with serving(built.path, command, port, MLFLOW_TRACKING_URI=store):
        for values in ([1.0, 2.5], [1, 2]):
            body = {"dataframe_split": {"columns": ["x"], "data": [[x] for x in values]}}
            request = Request(
                f"http://127.0.0.1:{port}/invocations",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            answer = json.load(urlopen(request, timeout=30))
            assert answer == {"predictions": [x * line["w"] + line["b"] for x in values]}


def test_eight_processes_open_an_empty_store_at_once(fresh: Workspace) -> None:
    script = (
        "from samerun import config; from samerun.mlflow import tracking;"
        "print(tracking.Store(config.here()).experiment)"
    )
    users = [
        subprocess.Popen(
            ["python", "-c", script],
            cwd=fresh.path,
            env=fresh.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    ended = [process.communicate() for process in users]
    assert {process.returncode for process in users} == {0}, ended
    assert len({out for out, _ in ended}) == 1
    with sqlite3.connect(fresh.path / "mlruns/mlflow.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        names = store.execute("select name from experiments where name = 'knownline'").fetchall()
    assert names == [("knownline",)]
    assert not list((fresh.path / "mlruns").glob(".mlflow.db.tmp-*"))
