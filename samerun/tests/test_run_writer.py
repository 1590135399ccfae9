"""A run is FINISHED only when all that was written to it is there."""

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samerun.config import Config
from samerun.core.errors import StoreError
from samerun.core.flatten import flatten
from samerun.core.keys import mlflow_keys
from samerun.mlflow import content, run_writer
from samerun.mlflow.content import Dataset, RunContent
from samerun.mlflow.model_files import ModelFiles
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline
from support.workspace import ROOT

CONTENT = RunContent(
    execution="e1",
    name="a run",
    tags={"fingerprint": "f" * 64, "git_commit": "none", "long": "x" * 9000, "empty": ""},
    params={f"p{number}": str(number) for number in range(250)} | {"long": "y" * 7000},
    start_ms=1_000,
    end_ms=2_000,
    description="What it is.",
    metrics={"rmse": 0.5, "infinite": float("inf"), "undefined": float("nan")},
    history={"loss": {0: 1.0, 1: 0.5, 2: 0.25}, "w": {0: 0.0, 100: 0.0}},
    datasets=[Dataset("a, train", "train", "data/train", "0" * 36)],
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
            patch.delenv(name, raising=False)
        Store(Config("toy"))
    return folder


@pytest.fixture
def store(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(empty / "mlruns", tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    return Store(Config("toy"))


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts of the run"
    (folder / "reports/deep").mkdir(parents=True)
    for name in ("params.yaml", "reports/a.json", "reports/deep/b.txt"):
        (folder / name).write_text(name)
    return folder


def trigger(store: Store, table: str, condition: str) -> None:
    """Make the store drop rows of a table silently."""
    with sqlite3.connect(Path("mlruns/mlflow.db")) as raw:
        raw.execute(
            f"create trigger dropped before insert on {table} when {condition}"
            " begin select raise(ignore); end"
        )


def write(store: Store, artifacts: Path) -> str:
    run = run_writer.create_run(store.client, store.experiment, CONTENT)
    run_id = str(run.info.run_id)
    run_writer.describe(store.client, run, CONTENT)
    run_writer.log_history(store.client, run_id, CONTENT)
    run_writer.log_datasets(store.client, run_id, CONTENT.datasets)
    store.client.log_artifacts(run_id, str(artifacts))
    return run_id


def test_a_run_that_was_written_is_complete(store: Store, artifacts: Path) -> None:
    run_id = write(store, artifacts)
    run_writer.check_complete(store.client, run_id, CONTENT, artifacts)


@pytest.mark.parametrize(
    ("table", "condition", "missing"),
    [
        ("tags", "new.key = 'fingerprint'", "tag fingerprint"),
        ("tags", "new.key = 'mlflow.note.content'", "tag mlflow.note.content"),
        ("params", "new.key = 'p7'", "parameter p7"),
        ("latest_metrics", "new.key = 'rmse'", "metric rmse"),
        ("metrics", "new.key = 'loss' and new.step = 1", "1 of 3 steps of metric loss"),
    ],
)
def test_a_write_that_is_dropped_silently_is_named(
    table: str, condition: str, missing: str, store: Store, artifacts: Path
) -> None:
    trigger(store, table, condition)
    run_id = write(store, artifacts)
    with pytest.raises(StoreError, match="must have all that was written to it") as refused:
        run_writer.check_complete(store.client, run_id, CONTENT, artifacts)
    assert str(refused.value).endswith(f"(missing: {missing})")


def test_a_dataset_that_is_lost_is_named(store: Store, artifacts: Path) -> None:
    run_id = write(store, artifacts)
    with sqlite3.connect(Path("mlruns/mlflow.db")) as raw:
        raw.execute("delete from inputs")
    with pytest.raises(StoreError, match=r"\(missing: dataset a, train\)"):
        run_writer.check_complete(store.client, run_id, CONTENT, artifacts)


def test_a_final_metric_that_was_shown_with_another_value_comes_last(
    store: Store, artifacts: Path
) -> None:
    run_id = store.begin(replace(CONTENT, metrics={}, history={}))
    for step in (1, 2):  # of a table whose later steps are 2.5 and so on
        store.client.log_metric(run_id, "rmse", 9.0, step=step)
    run = store.record(CONTENT, model=None, artifacts=artifacts)
    assert run.run_id == run_id
    history = store.client.get_metric_history(run_id, "rmse")
    assert sorted((metric.step, metric.value) for metric in history) == [
        (1, 9.0),
        (2, 9.0),
        (3, 0.5),
    ]
    assert store.client.get_run(run_id).data.metrics["rmse"] == 0.5


@pytest.mark.parametrize(("step", "value"), [(1, 9.0), (7, 0.5)])
def test_a_run_that_showed_other_values_by_step_makes_room_for_one_with_those_of_the_files(
    store: Store, artifacts: Path, step: int, value: float
) -> None:
    """As a program leaves them that rewrites its table: MLflow can correct no value."""
    run_id = store.begin(replace(CONTENT, metrics={}, history={}))
    for each in ((0, 1.0), (step, value)):
        store.client.log_metric(run_id, "loss", each[1], step=each[0])
    run = store.record(CONTENT, model=None, artifacts=artifacts)
    assert store.metric_history(run.run_id, ("loss", "w")) == CONTENT.history
    assert [each.run_id for each in store.runs()] == [run.run_id]
    assert store.record(CONTENT, model=None, artifacts=artifacts).run_id == run.run_id


WORDS = st.text(max_size=12) | st.text("a./@#", max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.just("x" * 7000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.floats() | st.integers(-(2**60), 2**60)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    nested=st.dictionaries(WORDS, VALUES, max_size=6),
    metrics=st.dictionaries(WORDS, NUMBERS, max_size=6),
)
def test_whatever_the_names_and_values_they_are_found_again(
    store: Store, nested: dict[str, Any], metrics: dict[str, float]
) -> None:
    leaves = flatten(nested)
    pipeline = SimpleNamespace(params=lambda: leaves)
    keys, names = mlflow_keys(leaves), mlflow_keys(metrics)
    written = replace(
        CONTENT,
        execution=str(uuid.uuid4()),
        params=content.params(cast("Pipeline", pipeline)),
        metrics={names[name]: float(value) for name, value in metrics.items()},
        history={},
    )
    run = run_writer.create_run(store.client, store.experiment, written)
    run_writer.describe(store.client, run, written)
    data = store.client.get_run(run.info.run_id).data
    assert len(data.params) == len(leaves)
    for name, leaf in leaves.items():
        shown = data.params[keys[name]]
        if len(shown) == 6000 and "characters are in identity.json)" in shown:
            text = shown.partition("… (all ")[0]
            assert (
                leaf if isinstance(leaf, str) else json.dumps(leaf, ensure_ascii=False)
            ).startswith(text)
        else:
            assert repr(shown if isinstance(leaf, str) else json.loads(shown)) == repr(leaf)
    assert len(data.metrics) == len(metrics)
    for name, value in metrics.items():
        stored, number = data.metrics[names[name]], float(value)
        infinite = math.isinf(number) and abs(stored) > 1.79e308 and stored * number > 0
        assert infinite or stored == number or (math.isnan(stored) and math.isnan(number))


@pytest.mark.slow
def test_thousands_of_parameters_and_metrics(store: Store, artifacts: Path) -> None:
    params = {f"p{number}": str(number) for number in range(5_000)}
    metrics = {f"m{number}": number / 7 for number in range(10_000)}
    history = {f"h{number}": dict.fromkeys(range(1_000), 0.5) for number in range(20)}
    many = replace(CONTENT, params=params, metrics=metrics, history=history)
    run_id = store.record(many, model=None, artifacts=artifacts).run_id
    data = store.client.get_run(run_id).data
    assert data.params == params
    assert metrics.items() <= data.metrics.items()


def test_the_first_run_of_each_record_stage_is_the_one_that_others_are_named_after(
    store: Store, artifacts: Path
) -> None:
    for number, name in enumerate(("a/dvc.yaml:record", "b/dvc.yaml:record", "b/dvc.yaml:record")):
        tags = CONTENT.tags | {"record": name}
        each = replace(CONTENT, execution=str(number), tags=tags, params={"p": str(number)})
        store.record(replace(each, start_ms=number), model=None, artifacts=artifacts)
    baseline = store.baseline("b/dvc.yaml:record")
    assert baseline is not None
    assert baseline.params == {"p": "1"}
    assert store.baseline("c/dvc.yaml:record") is None


def test_many_that_are_missing_are_counted(store: Store, artifacts: Path) -> None:
    trigger(store, "params", "1")
    run_id = write(store, artifacts)
    with pytest.raises(StoreError, match=r"parameter p0, .*, and 246 more\)"):
        run_writer.check_complete(store.client, run_id, CONTENT, artifacts)


def test_another_value_is_named(store: Store, artifacts: Path) -> None:
    run_id = write(store, artifacts)
    store.client.set_tag(run_id, "git_commit", "another")
    store.client.log_metric(run_id, "rmse", 0.75)
    with pytest.raises(StoreError, match=r"\(missing: tag git_commit, metric rmse\)"):
        run_writer.check_complete(store.client, run_id, CONTENT, artifacts)


@pytest.mark.parametrize("name", ["params.yaml", "reports/deep/b.txt"])
@pytest.mark.parametrize("what", ["lost", "truncated"])
def test_an_artifact_that_is_lost_or_truncated_is_named(
    name: str, what: str, store: Store, artifacts: Path
) -> None:
    run_id = write(store, artifacts)
    file = Path(f"mlruns/artifacts/{run_id}/artifacts/{name}")
    file.unlink() if what == "lost" else file.write_text("")
    with pytest.raises(StoreError, match=rf"\(missing: artifact {name}\)"):
        run_writer.check_complete(store.client, run_id, CONTENT, artifacts)


@pytest.mark.parametrize("what", ["lost", "truncated"])
def test_a_file_of_a_model_that_is_lost_or_truncated_is_named(
    what: str, store: Store, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelFiles(tmp_path / "slope.txt", tmp_path / "serve.py")
    model.model.write_text("2.5\n")
    model.code.write_text("def load(path):\n    return lambda frame: frame\n")
    log = store.client.log_model_artifacts

    def log_but_one(model_id: str, folder: str) -> None:
        log(model_id, folder)
        (file,) = Path("mlruns/artifacts/models").glob("*/artifacts/artifacts/slope.txt")
        file.unlink() if what == "lost" else file.write_text("")

    monkeypatch.setattr(store.client, "log_model_artifacts", log_but_one)
    with pytest.raises(StoreError, match=r"\(missing: artifact artifacts/slope.txt\)"):
        store.record(CONTENT, model=model, artifacts=artifacts)
    assert [run.status for run in store.runs()] == ["RUNNING"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert store.record(CONTENT, model=model, artifacts=artifacts).run_id == store.runs()[0].run_id


@pytest.mark.parametrize("name", ["a%20b.json", "a#b.json", "a\nb.json", "my%2Ffiles/a.json"])
def test_an_artifact_that_mlflow_could_not_read_back_is_refused_at_once(
    name: str, store: Store, artifacts: Path
) -> None:
    (artifacts / name).parent.mkdir(exist_ok=True)
    (artifacts / name).write_text("x")
    with pytest.raises(StoreError, match="must have a name that MLflow can read") as refused:
        store.record(CONTENT, model=None, artifacts=artifacts)
    assert str(refused.value).count("\n") == 0
    assert store.runs() == []


def test_artifacts_of_most_names_are_read_back(store: Store, artifacts: Path) -> None:
    for name in ("a b.json", "100%.json", "ü&+;@=?.json", "[x] {y}.json", "a%zz", "%"):
        (artifacts / name).write_text(name)
    run = store.record(CONTENT, model=None, artifacts=artifacts)
    store.fetch(run.run_id, Path("fetched"))
    for path in artifacts.rglob("*.json"):
        copy = Path("fetched") / path.relative_to(artifacts)
        assert copy.read_bytes() == path.read_bytes()


RECORD = """
from samerun.config import Config
from samerun.mlflow.tracking import Store
from samerun.mlflow import run_writer
from test_run_writer import CONTENT
store = Store(Config("toy"))
run = run_writer.create_run(store.client, store.experiment, CONTENT)
run_writer.describe(store.client, run, CONTENT)
store.client.set_terminated(run.info.run_id)
"""
FOREIGN = {
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_ACTIVE_MODEL_ID": "m-nowhere",
    "_MLFLOW_ACTIVE_MODEL_ID": "m-nowhere",
    "MLFLOW_RUN_ID": "0" * 32,
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_EXPERIMENT_NAME": "another",
    "MLFLOW_TRACKING_DIR": "/nowhere",
    "MLFLOW_REGISTRY_URI": "sqlite:////nowhere/x.db",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_SOMETHING_NEW": "1",
}


def test_a_failing_write_fails_whatever_mlflows_variables_say(store: Store) -> None:
    """MLFLOW_ENABLE_ASYNC_LOGGING=true gave a FINISHED run with a third of its tags."""
    with sqlite3.connect(Path("mlruns/mlflow.db")) as raw:
        raw.execute(
            "create trigger failing before insert on params"
            " begin select raise(abort, 'disk is full'); end"
        )
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"
    environment = {**os.environ, **FOREIGN, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", RECORD], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "disk is full" in done.stderr
    with sqlite3.connect(Path("mlruns/mlflow.db")) as raw:
        assert raw.execute("select status from runs").fetchall() == [("RUNNING",)]


def test_mlflow_is_imported_without_variables_that_are_not_on_the_list() -> None:
    kept = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "MLFLOW_TRACKING_TOKEN": "t",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",
        "MLFLOW_S3_ENDPOINT_URL": "http://s3",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "h",
    }
    code = (
        "import json, os; before = dict(os.environ); import samerun.mlflow.errors;"
        "print(json.dumps({k: v for k, v in os.environ.items() if 'MLFLOW_' in k}))"
    )
    environment = {**FOREIGN, **kept, "PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    present = json.loads(done.stdout)
    assert not set(FOREIGN) & set(present)
    assert kept.items() <= present.items()
    assert present["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_user_without_a_name_is_shown_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert run_writer._user() == str(os.getuid())


def test_a_level_that_mlflow_does_not_know_does_no_harm() -> None:
    program = [sys.executable, "-c", "import samerun.mlflow.errors"]
    subprocess.run(program, check=True, env=os.environ | {"MLFLOW_LOGGING_LEVEL": "LOUD"})
