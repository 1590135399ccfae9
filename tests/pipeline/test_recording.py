"""What a recorded run holds, and what becomes of a recording that is cut short."""

import csv
import hashlib
import json
import sqlite3
import subprocess
from urllib.request import Request, urlopen

import pytest

from tests.conftest import Workspace
from tests.pipeline.servers import free_port, serving

pytestmark = pytest.mark.usefixtures("warm")

MODEL_SCRIPT = """
import sys, pandas as pd, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print([float(y).hex() for y in model.predict(pd.DataFrame({"x": [0.0, 1.0, -3.5]}))])
assert "torch" not in sys.modules and "knownline" not in sys.modules
"""


def test_history_is_there_at_every_epoch_to_the_bit(built: Workspace) -> None:
    (run,) = built.runs()
    rows = list(csv.DictReader((built.path / "reports/history.csv").open()))
    with sqlite3.connect(built.path / "mlruns/mlflow.db") as store:
        for name in ("loss", "w", "b"):
            logged = store.execute(
                "select step, value from metrics where run_uuid = ? and key = ? order by step",
                [run.run_id, name],
            ).fetchall()
            assert logged == [(int(row["epoch"]), float(row[name])) for row in rows]


def test_every_number_of_the_evaluation_is_a_metric_of_the_same_name(built: Workspace) -> None:
    (run,) = built.runs()
    metrics = json.loads((built.path / "reports/metrics.json").read_text())
    for name in ("truth", "ols", "se", "z"):
        for key in ("w", "b"):
            assert run.last[f"{name}.{key}"] == metrics[name][key]
    for name in ("w", "b", "optimiser_error", "rows"):
        assert run.last[name] == metrics[name]
    assert run.last["holdout.rmse"] == metrics["holdout"]["rmse"]
    assert run.last["holdout.r2"] == metrics["holdout"]["r2"]
    assert run.last["train.rmse"] == metrics["train"]["rmse"]


def test_tags_are_those_of_the_contract(built: Workspace) -> None:
    (run,) = built.runs()
    sums = (built.path / "data/SHA256SUMS").read_bytes()
    first = built.git("rev-list", "--max-parents=0", "HEAD").strip()
    assert run.tags["data_sha256"] == hashlib.sha256(sums).hexdigest()
    assert run.tags["git_commit"] == run.tags["mlflow.source.git.commit"] == first
    assert run.tags["gate"] == "passed"
    assert run.tags["device"] == "cpu"
    marker = json.loads((built.path / "mlruns/recorded.json").read_text())
    assert marker == {"fingerprint": run.tags["fingerprint"]}
    assert "| w | 20.0" in run.tags["mlflow.note.content"]


def test_files_and_data_are_with_the_run(built: Workspace) -> None:
    (run,) = built.runs()
    kept = run.artifacts
    assert (kept / "params.yaml").read_bytes() == (built.path / "params.yaml").read_bytes()
    assert "generate:" in (kept / "dvc.lock").read_text()
    assert json.loads((kept / "environment.json").read_text())["torch"].startswith("2.13.0")
    assert {p.name for p in (kept / "plots").iterdir()} == {"fit.png", "loss.png", "path.png"}
    report = (kept / "report.html").read_text()
    assert report == (built.path / "reports/report.html").read_text()
    assert run.tags["fingerprint"] in report
    assert run.tags["data_sha256"] in report
    assert not (kept / "changes.patch").exists()
    with sqlite3.connect(built.path / "mlruns/mlflow.db") as store:
        named = store.execute(
            "select t.value, d.digest from inputs i join datasets d on i.source_id = d.dataset_uuid"
            " join input_tags t on t.input_uuid = i.input_uuid where t.name = 'sha256'"
        ).fetchall()
    sha256 = run.tags["data_sha256"]
    assert named == [(sha256, sha256[:16])] * 2


@pytest.mark.cold
@pytest.mark.parametrize("uri", ["runs:/{run}/model", "models:/{model}"])
def test_model_loads_and_predicts_with_pickle_forbidden_and_without_torch(
    built: Workspace, uri: str
) -> None:
    (run,) = built.runs()
    (model,) = (built.path / "mlruns/artifacts/models").iterdir()
    line = json.loads((built.path / "models/line.json").read_text())
    done = built.run(
        "python",
        "-c",
        MODEL_SCRIPT,
        uri.format(run=run.run_id, model=model.name),
        MLFLOW_TRACKING_URI=f"sqlite:///{built.path}/mlruns/mlflow.db",
    )
    expected = [(x * line["w"] + line["b"]).hex() for x in (0.0, 1.0, -3.5)]
    assert done.stdout.strip() == str(expected)
    assert not list(model.rglob("*.pkl"))


@pytest.mark.parametrize("values", [[1.0, 2.5], [1, 2]])
def test_model_answers_over_http(built: Workspace, values: list[float]) -> None:
    (run,) = built.runs()
    port = free_port()
    command = ["models", "serve", "-m", f"runs:/{run.run_id}/model", "--env-manager", "local"]
    uri = f"sqlite:///{built.path}/mlruns/mlflow.db"
    with serving(built.path, command, port, MLFLOW_TRACKING_URI=uri):
        body = {"dataframe_split": {"columns": ["x"], "data": [[x] for x in values]}}
        request = Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.load(urlopen(request, timeout=30))
    line = json.loads((built.path / "models/line.json").read_text())
    assert answer == {"predictions": [x * line["w"] + line["b"] for x in values]}


def test_a_dirty_tree_is_recorded_with_a_patch_that_restores_it(workspace: Workspace) -> None:
    (workspace.path / "notes.txt").write_text("not tracked\n")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 101")
    index = (workspace.path / ".git/index").read_bytes()
    workspace.dvc("repro")
    assert (workspace.path / ".git/index").read_bytes() == index
    run = workspace.runs()[-1]
    assert run.tags["git_dirty"] == "true"
    patch = run.artifacts / "changes.patch"
    other = Workspace(workspace.path.parent / "other")
    workspace.git("clone", "--quiet", str(workspace.path), str(other.path))
    other.git("checkout", "--quiet", run.tags["git_commit"])
    other.git("apply", str(patch))
    assert (other.path / "notes.txt").read_text() == "not tracked\n"
    assert "epochs: 101" in (other.path / "params.yaml").read_text()
    assert "dvc.lock" not in patch.read_text()


@pytest.mark.parametrize("call", ["log_inputs", "log_artifacts", "log_model_artifacts"])
def test_a_recording_killed_in_the_middle_is_completed_once(
    workspace: Workspace, call: str
) -> None:
    """The kill comes from within, at a given call, so that it lands there every time."""
    workspace.replace("params.yaml", "epochs: 100", "epochs: 700")
    workspace.dvc("repro", "evaluate")
    killer = (
        "import os, signal, sys; sys.path.insert(0, 'src');"
        "from knownline import tracking;"
        f"tracking.MlflowClient.{call} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL);"
        "from knownline.__main__ import main; main(['record'])"
    )
    root = str(workspace.path)
    assert workspace.run("python", "-c", killer, ok=False, DVC_ROOT=root).returncode == -9
    assert workspace.runs()[-1].status == "RUNNING"
    workspace.dvc("repro")
    _, run = workspace.runs()
    assert run.status == "FINISHED"
    assert run.steps["loss"] == run.steps["w"] == run.steps["b"] == list(range(700))
    assert all(steps == [0] for name, steps in run.steps.items() if name not in ("loss", "w", "b"))


def test_a_server_is_used_where_one_is_named(workspace: Workspace) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    store = ["--backend-store-uri", "sqlite:///server.db", "--workers", "1"]
    with serving(workspace.path, ["server", *store, "--artifacts-destination", "kept"], port):
        workspace.dvc("repro", "--force", MLFLOW_TRACKING_URI=uri)
    (run,) = workspace.runs("server.db")
    assert run.status == "FINISHED"
    assert run.steps["loss"] == list(range(100))
    assert len(workspace.runs()) == 1
    assert list((workspace.path / "kept").rglob("fit.png"))


def test_a_dead_server_costs_one_line_and_nothing_else(workspace: Workspace) -> None:
    workspace.replace("params.yaml", "epochs: 100", "epochs: 60")
    uri = f"http://127.0.0.1:{free_port()}"
    done = workspace.dvc("repro", ok=False, MLFLOW_TRACKING_URI=uri)
    assert done.returncode != 0
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("knownline:")]
    assert "(got connection refused)" in line
    assert "not recorded" in line
    assert "dvc repro" in line
    assert "Traceback" not in done.stderr
    assert len((workspace.path / "reports/history.csv").read_text().splitlines()) == 61
    done = workspace.dvc("repro")
    assert "Running stage 'train'" not in done.stdout
    run = workspace.runs()[-1]
    assert run.steps["loss"] == list(range(60))
    assert "backfilled" not in run.tags


@pytest.mark.cold
def test_sixteen_processes_open_an_empty_store_at_once(fresh: Workspace) -> None:
    script = "import sys; sys.path.insert(0, 'src'); from knownline import tracking;" + (
        "print(tracking.Store().experiment)"
    )
    start = [
        subprocess.Popen(
            ["python", "-c", script],
            cwd=fresh.path,
            env=fresh.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(16)
    ]
    ended = [process.communicate() for process in start]
    assert {process.returncode for process in start} == {0}, ended
    assert len({out for out, _ in ended}) == 1
    with sqlite3.connect(fresh.path / "mlruns/mlflow.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
        names = store.execute("select name from experiments where name = 'knownline'").fetchall()
    assert names == [("knownline",)]
    assert not list((fresh.path / "mlruns").glob(".mlflow.db.tmp-*"))
