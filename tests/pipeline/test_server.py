"""Runs on a tracking server: a good one, one that is gone, hangs, fails, or dies in the middle."""

import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.servers import Proxy, Server, deaf, over_postgresql, over_sqlite
from support.workspace import Run
from tests.conftest import Workspace
from tests.pipeline.training import EPOCHS, Training, assert_every_epoch_once, make_long

pytestmark = pytest.mark.usefixtures("warm")

BOUND = "400"
"""Seconds after which a command counts as one that hangs."""

NOT_RECORDED = "; the results are on disk but not recorded: `dvc repro` records them later"

LOAD = """
import sys, pandas as pd, mlflow
print(mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({"x": [2.0]}))[0].hex())
"""

DRILL = os.environ.get("KNOWNLINE_DRILL") == "1"
"""Whether every kind of failure is tried at every moment (`make drill`), or some of each."""

STRIDE = 2 if DRILL else 10

Over = Callable[[Path], AbstractContextManager[Server]]


POSTGRESQL = pytest.param(over_postgresql, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[over_sqlite, POSTGRESQL])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A good server. A test that harms it restores it."""
    over: Over = request.param
    with over(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def trained(trained: Workspace) -> Workspace:
    """A workspace whose training is not recorded yet, nor that of any other test."""
    execute_again(trained)
    return trained


def receipt(workspace: Workspace) -> Path:
    """Return the receipt of the latest training."""
    found = (workspace.path / ".dvc/tmp/samerun/receipts").glob("*.json")
    (path,) = (each for each in found if is_of_the_training(json.loads(each.read_text())))
    return path


def is_of_the_training(receipt: dict[str, Any]) -> bool:
    return receipt["stage"] == "dvc.yaml:train" and not receipt["recorded"]


def execution(workspace: Workspace) -> str:
    """Return what names the training that is not recorded yet."""
    return str(json.loads(receipt(workspace).read_text())["execution"])


def execute_again(workspace: Workspace, path: Path | None = None) -> str:
    """Make a training one that nobody has recorded, and return what names it."""
    path, name = path or receipt(workspace), uuid.uuid4().hex
    changed = {"execution": name, "recorded": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return name


def record(workspace: Workspace, uri: str) -> subprocess.CompletedProcess[str]:
    return workspace.run("timeout", BOUND, "samerun", "record", ok=False, MLFLOW_TRACKING_URI=uri)


def assert_not_recorded(done: subprocess.CompletedProcess[str], uri: str) -> None:
    """Assert exit status 2, and one line with what was not recorded, where, and what to do."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("samerun: error: ")
    assert uri in line
    assert line.endswith(NOT_RECORDED)


def assert_whole(server: Server, run: Run, epochs: int) -> None:
    """Assert that everything is there, once."""
    assert run.status == "FINISHED"
    steps = dict(run.steps)
    assert [steps.pop(name) for name in ("loss", "w", "b")] == [list(range(epochs))] * 3
    assert set(map(tuple, steps.values())) == {(0,)}
    assert run.params["train.epochs"] == str(epochs)
    (experiment,) = server.rows("select experiment_id from runs where run_uuid = ?", run.run_id)
    kept = server.folder / "kept" / str(experiment[0])
    for name in (
        "dvc.lock", "environment.json", "identity.json", "params.yaml", "models/model.json",
        "reports/history.csv", "reports/metrics.json", "reports/plots/fit.png",
        "reports/report.html",
    ):  # fmt: skip
        assert (kept / run.run_id / "artifacts" / name).exists(), name
    used = "select count(*) from inputs where source_type = ? and {} = ?"
    assert server.rows(used.format("destination_id"), "DATASET", run.run_id) == [(2,)]
    assert server.rows(used.format("source_id"), "RUN_OUTPUT", run.run_id) == [(1,)]
    ((model, status),) = server.rows(
        "select model_id, status from logged_models where source_run_id = ?", run.run_id
    )
    assert status == 2  # READY
    metrics = server.rows(
        "select metric_name, count(*) from logged_model_metrics where model_id = ?"
        " group by metric_name",
        model,
    )
    assert set(metrics) == {(name, 1) for name in steps}
    assert (kept / "models" / model / "artifacts/artifacts/models/model.json").exists()


def test_a_run_is_whole_on_a_server(trained: Workspace, server: Server) -> None:
    trained.dvc("repro", MLFLOW_TRACKING_URI=server.uri)
    run_id = json.loads((trained.path / "mlruns/last.json").read_text())["run_id"]
    (run,) = (run for run in server.runs() if run.run_id == run_id)
    assert_whole(server, run, 60)
    assert len(trained.runs()) == 1  # nothing reached the embedded store
    assert "Running stage" not in trained.dvc("repro", MLFLOW_TRACKING_URI=server.uri).stdout
    assert "nothing new" in trained.samerun("record", MLFLOW_TRACKING_URI=server.uri).stdout
    line = json.loads((trained.path / "models/model.json").read_text())["parameters"]
    done = trained.run(
        "python", "-c", LOAD, f"runs:/{run.run_id}/model", MLFLOW_TRACKING_URI=server.uri
    )
    assert done.stdout.strip() == (line["w"] * 2.0 + line["b"]).hex()


def refused(server: Server, _: Proxy, until: ExitStack) -> str:
    server.kill()
    until.callback(server.start)
    return server.uri


def stopped(server: Server, _: Proxy, until: ExitStack) -> str:
    server.hang()
    until.callback(server.resume)
    return server.uri


def silent(server: Server, _: Proxy, until: ExitStack) -> str:
    server.kill()
    until.callback(server.start)
    until.enter_context(deaf(server.port))
    return server.uri


def failing(_: Server, proxy: Proxy, until: ExitStack) -> str:
    proxy.turn("500")
    until.callback(proxy.turn, "")
    return proxy.uri


def busy(_: Server, proxy: Proxy, until: ExitStack) -> str:
    proxy.turn("503 later")
    until.callback(proxy.turn, "")
    return proxy.uri


@pytest.mark.parametrize("server", [over_sqlite], indirect=True)
@pytest.mark.parametrize(
    "bad",
    [
        refused,
        *(pytest.param(bad, marks=pytest.mark.slow) for bad in (stopped, failing)),
        *([silent, busy] if DRILL else []),
    ],
)
def test_a_bad_server_costs_one_line_and_the_next_repro_records(
    trained: Workspace, server: Server, bad: Callable[[Server, Proxy, ExitStack], str]
) -> None:
    wanted, outputs = execution(trained), trained.outputs()
    with Proxy(server) as proxy:
        with ExitStack() as until:
            uri = bad(server, proxy, until)
            assert_not_recorded(record(trained, uri), uri)
            done = trained.run("timeout", BOUND, "dvc", "repro", ok=False, MLFLOW_TRACKING_URI=uri)
            assert done.returncode not in (0, 124)
            assert trained.outputs() == outputs
        done = trained.dvc("repro", MLFLOW_TRACKING_URI=uri)
        assert "Running stage 'train'" not in done.stdout
    run = server.run(wanted)
    assert_whole(server, run, 60)
    assert "backfilled" not in run.tags


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "first"), [(over_sqlite, 0), (over_postgresql, STRIDE // 2)], indirect=["server"]
)
def test_a_server_that_fails_at_any_request_of_a_recording_loses_and_doubles_nothing(
    trained: Workspace, server: Server, first: int
) -> None:
    """Each failure begins at another request of another execution, until every request had one.

    Every STRIDE-th request of one store, and those halfway between of the other.
    """
    left = receipt(trained)
    executions: list[str] = []
    failures = ("500", "lost", "blip")
    with Proxy(server) as proxy:
        while True:
            executions.append(execute_again(trained, left))
            after = first + STRIDE * (len(executions) - 1)
            proxy.turn(failures[len(executions) % 3], after=after)
            done = record(trained, proxy.uri)
            requests = proxy.passed
            proxy.turn("")
            if done.returncode:
                assert_not_recorded(done, proxy.uri)
                done = record(trained, proxy.uri)
            assert done.returncode == 0, done.stderr
            if requests <= after:  # the failure would have come after the end
                break
        executions.append(execute_again(trained, left))
        trained.dvc("repro", MLFLOW_TRACKING_URI=proxy.uri)
    assert len(executions) > 30 // STRIDE
    for each in executions:
        assert_whole(server, server.run(each), 60)


@pytest.mark.parametrize("server", [over_sqlite], indirect=True)
@pytest.mark.parametrize("after", range(8, 30, STRIDE))
def test_a_recording_killed_at_a_request_is_completed_in_its_run(
    trained: Workspace, server: Server, after: int
) -> None:
    wanted = execution(trained)
    with Proxy(server) as proxy:
        process = subprocess.Popen(
            ["samerun", "record"],
            cwd=trained.path,
            env=trained.env(MLFLOW_TRACKING_URI=proxy.uri),
        )
        proxy.turn("cut", after=after, instead=process.kill)
        assert process.wait() == -signal.SIGKILL
        assert server.run(wanted).status == "RUNNING"
        proxy.turn("")
        trained.dvc("repro", MLFLOW_TRACKING_URI=proxy.uri)
    assert_whole(server, server.run(wanted), 60)


@pytest.mark.slow
@pytest.mark.parametrize("server", [over_postgresql], indirect=True)
@pytest.mark.parametrize("after", [3, 15, 27] if DRILL else [15])
def test_a_server_killed_in_the_middle_of_a_recording(
    trained: Workspace, server: Server, after: int
) -> None:
    wanted = execution(trained)
    with Proxy(server) as proxy:
        proxy.turn("cut", after=after, instead=server.kill)
        assert_not_recorded(record(trained, proxy.uri), proxy.uri)
        server.start()
        proxy.turn("")
        trained.dvc("repro", MLFLOW_TRACKING_URI=proxy.uri)
    assert_whole(server, server.run(wanted), 60)


@pytest.mark.slow
@pytest.mark.parametrize("server", [over_sqlite], indirect=True)
@pytest.mark.parametrize("how", ["cut", "hang"])
def test_a_server_that_goes_while_a_training_streams(
    workspace: Workspace, server: Server, how: str
) -> None:
    make_long(workspace)
    with Proxy(server) as proxy:
        # With "cut" it is the server itself that is killed.
        proxy.turn(how, after=8, instead=server.kill if how == "cut" else None)
        training = Training(workspace, MLFLOW_TRACKING_URI=proxy.uri)
        training.train_until(lambda: proxy.passed > 8)
        status, errors = training.end()
        assert status != 0
        history = (workspace.path / "reports/history.csv").read_text()
        assert len(history.splitlines()) == EPOCHS + 1
        ours = [line for line in errors.splitlines() if line.startswith("samerun:")]
        assert ours[-1].endswith(NOT_RECORDED)
        assert "Traceback" not in errors
        wanted = execution(workspace)
        if how == "cut":
            server.start()
        proxy.turn("")
        done = workspace.dvc("repro", MLFLOW_TRACKING_URI=proxy.uri)
        assert "Running stage 'train'" not in done.stdout
    run = server.run(wanted)
    assert_every_epoch_once(run)
    assert_whole(server, run, EPOCHS)


@pytest.mark.slow
def test_eight_processes_record_at_once_on_a_new_server(trained: Workspace, tmp_path: Path) -> None:
    with over_postgresql(tmp_path) as server:
        copies = [
            Workspace(Path(shutil.copytree(trained.path, tmp_path / f"copy {number}")))
            for number in range(8)
        ]
        executions = [execute_again(copy) for copy in copies]
        # Eight on two cores: an answer may take longer than it may elsewhere.
        env = trained.env(MLFLOW_TRACKING_URI=server.uri, MLFLOW_HTTP_REQUEST_TIMEOUT="60")
        command = ["samerun", "record"]
        started = [
            subprocess.Popen(command, cwd=copy.path, env=env, stderr=subprocess.PIPE, text=True)
            for copy in copies
        ]
        errors = [process.communicate(timeout=float(BOUND))[1] for process in started]
        assert [process.returncode for process in started] == [0] * 8, "\n".join(errors)
        runs = server.runs()
        assert sorted(run.tags["execution"] for run in runs) == sorted(executions)
        for run in runs:
            assert_whole(server, run, 60)
