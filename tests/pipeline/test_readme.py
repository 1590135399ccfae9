"""The README is true: its commands run; its numbers and its picture are those of a run."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml

from support.servers import free_port, postgresql, wait_until_it_answers
from support.workspace import commit
from tests.conftest import ROOT, Workspace, checkout
from tests.pipeline import documented
from tests.pipeline.documented import type_page
from tests.pipeline.retraining import aliases, versions

README = (ROOT / "README.md").read_text()
CHANGED_FILES = ("status", "--short", "--", ".", ":!dvc.lock")
MAKE = ("make", "--silent", "-o", ".venv/.ready")


def commands(block: str) -> list[str]:
    return [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]


def with_environment(workspace: Workspace) -> Workspace:
    """Link what is in the environment of the tests; `.ci/run` makes one from nothing."""
    folder = workspace.path / ".venv"
    folder.mkdir()
    for each in Path(sys.executable).parent.parent.iterdir():
        if each.name != ".ready":
            (folder / each.name).symlink_to(each)
    (folder / ".ready").touch()  # so `make` does not build it again
    (workspace.path / ".git/info/exclude").write_text("/.venv\n")
    return workspace


@pytest.fixture
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout in which the README is followed from top to bottom."""
    folder = tmp_path_factory.mktemp("with a space") / "a clone"
    return with_environment(checkout(folder))


@contextmanager
def running(workspace: Workspace, line: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server of the README in the background until the block ends."""
    server = subprocess.Popen(
        ["bash", "-ec", line],
        cwd=workspace.path,
        env=workspace.env(**env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for_queue(workspace: Workspace) -> str:
    """Return the output of `dvc queue status` once nothing waits or runs."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        shown = workspace.dvc("queue", "status").stdout
        if "Queued" not in shown and "Running" not in shown:
            return shown
        time.sleep(1)
    pytest.fail(shown)


def the_result_is_printed_and_the_ui_opens(newcomer: Workspace, shown: str, port: int) -> None:
    assert re.search(r"w = 20\.0\d+ ± 0\.00\d+ \(true 20\)", shown)
    assert "gate passed" in shown
    assert "make ui" in shown
    (run,) = newcomer.runs()
    request = Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search",
        json.dumps({"experiment_ids": ["1"]}).encode(),
        {"Content-Type": "application/json"},
    )
    listed = json.load(urlopen(request, timeout=20))["runs"]
    assert [item["info"]["run_id"] for item in listed] == [run.run_id]
    assert "Running stage" not in newcomer.run("make", "repro").stdout
    assert newcomer.git(*CHANGED_FILES) == ""


def a_changed_parameter_is_a_second_run(newcomer: Workspace, _: str, __: int) -> None:
    assert [run.params["train.learning_rate"] for run in newcomer.runs()] == ["0.25", "0.05"]
    assert [run.tags["gate"] for run in newcomer.runs()] == ["passed", "failed"]
    undone(newcomer)


def undone(newcomer: Workspace) -> None:
    """Go back to the committed parameters, as the README says; commit what was not."""
    newcomer.git("checkout", "--", "params.yaml", "dvc.lock")
    assert "nothing new, this is run" in newcomer.run("make", "repro").stdout
    commit(newcomer, "lock")


def two_experiments_failed_the_gate(newcomer: Workspace, _: str, __: int) -> None:
    runs = {run.tags.get("dvc_exp_name"): run.tags["gate"] for run in newcomer.runs()}
    assert runs == {None: "passed", "cautious": "failed", "plain": "failed"}
    undone(newcomer)


def the_sweep_runs_what_did_not_run_yet(workspace: Workspace, _: str, __: int) -> None:
    wait_for_queue(workspace)
    runs = {
        run.params["train.learning_rate"]: run
        for run in workspace.runs()
        if run.params["train.learning_rate"] != "0.25"
    }
    assert set(runs) == {"0.05", "0.15", "0.2"}
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert len({runs[rate].tags["dvc_exp_name"] for rate in ("0.15", "0.2")}) == 2


def the_run_is_exact(_: Workspace, shown: str, __: int) -> None:
    assert "exact: " in shown


def the_forgotten_seed_is_found(newcomer: Workspace, shown: str, _: int) -> None:
    assert "differs: stage generate" in shown
    newcomer.git("checkout", "--", "dvc.lock")


def the_users_own_table(newcomer: Workspace, _: str, __: int) -> None:
    (block,) = (
        text
        for language, text in documented.blocks(ROOT / "README.md")
        if language == "yaml" and "data/own/forbes.csv" in text
    )
    wanted = yaml.safe_load(block)
    params = yaml.safe_load((newcomer.path / "params.yaml").read_text())
    params["truth"] = wanted["truth"]
    params["generate"] |= wanted["generate"]
    (newcomer.path / "params.yaml").write_text(yaml.safe_dump(params))
    assert "w = 0.523 ±" in newcomer.run("make", "repro").stdout
    line = json.loads((newcomer.path / "models/model.json").read_text())["parameters"]
    published = " ".join((ROOT / "docs/data.md").read_text().split())
    assert f"slope {line['w']:.6f} and intercept {line['b']:.6f}" in published
    newcomer.git("checkout", "--", "params.yaml", "dvc.lock")


def the_first_version_is_promoted(_: Workspace, shown: str, __: int) -> None:
    assert "promoted: version 1 is the champion" in shown
    assert "version 1 of knownline" in shown


def predictions(workspace: Workspace) -> list[float]:
    """Return the champion's predictions for x = 1 and 2, from the metrics of its run."""
    champion = versions(workspace)[aliases(workspace)["champion"]]["run"]
    (line,) = (run.last for run in workspace.runs() if run.run_id == champion)
    return [line["w"] * x + line["b"] for x in (1.0, 2.0)]


def the_champion_predicts(newcomer: Workspace, shown: str, _: int) -> None:
    (printed,) = re.findall(r"^\[(.*)\]$", shown, flags=re.MULTILINE)
    assert [float(y) for y in printed.split()] == pytest.approx(predictions(newcomer))


def the_champion_is_served(newcomer: Workspace, shown: str, _: int) -> None:
    answer = json.loads(shown[shown.index('{"predictions"') :])
    assert answer["predictions"] == predictions(newcomer)


def test_its_numbers_are_those_of_a_run(built: Workspace) -> None:
    metrics = json.loads((built.path / "reports/metrics.json").read_text())
    numbers = [f"{metrics['w']:.4f}", f"{metrics['se']['w']:.4f}"]
    numbers += [f"{metrics['b']:.2f}", f"{metrics['se']['b']:.2f}"]
    assert all(number in README for number in [*numbers, f"{metrics['optimiser_error']:.0e}"])


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="another processor may round a pixel otherwise",
)
def test_its_picture_is_that_of_a_run(built: Workspace) -> None:
    shown = (ROOT / "docs/pictures/fit.png").read_bytes()
    assert shown == (built.path / "reports/plots/fit.png").read_bytes()


@pytest.mark.long
def test_its_commands_work_from_top_to_bottom(newcomer: Workspace) -> None:
    type_page(newcomer, ROOT / "README.md", CHECKS, outputs=True)


CHECKS: dict[str, documented.Check] = {
    "make ui": the_result_is_printed_and_the_ui_opens,
    "sed -i.bak 's/learning_rate": a_changed_parameter_is_a_second_run,
    "dvc exp run --name plain": two_experiments_failed_the_gate,
    "dvc queue start": the_sweep_runs_what_did_not_run_yet,
    "samerun reproduce\n": the_run_is_exact,
    'samerun reproduce "': the_run_is_exact,
    "samerun reproduce ||": the_forgotten_seed_is_found,
    "table: data/own/forbes.csv": the_users_own_table,
    "knownline retrain ": the_first_version_is_promoted,
    "mlflow.pyfunc.load_model": the_champion_predicts,
    "mlflow models serve": the_champion_is_served,
}
"""What is checked after a block, by a text that it contains."""


def test_the_server_over_postgresql_works_as_shown(fresh: Workspace, tmp_path: Path) -> None:
    """USER, PASSWORD, HOST and DATABASE as a reader fills them in; the port is a free one."""
    (block,) = {
        text
        for page in documented.PAGES
        for language, text in documented.blocks(page)
        if language == "sh" and "postgresql://" in text
    }
    serve, use = commands(block)
    home, port, database_port = tmp_path / "home", free_port(), free_port()
    home.mkdir()
    with postgresql(database_port) as (_, connect):
        with closing(connect()) as tables:
            tables.execute("create role reader login password 'secret'")
            tables.execute("create database knownline owner reader")
        address = f"reader:secret@127.0.0.1:{database_port}/knownline"
        serve = serve.replace("USER:PASSWORD@HOST/DATABASE", address)
        more = {"HOME": str(home), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with running(fresh, f"exec {serve} --port {port}", **more) as server:
            wait_until_it_answers(port, server)
            use = use.replace(":5000", f":{port}")
            fresh.run("bash", "-ec", f"{use}; dvc repro; python src/knownline summary")
    assert not (fresh.path / "mlruns/mlflow.db").exists()
    assert list((home / "mlartifacts").rglob("fit.png"))
    assert fresh.git(*CHANGED_FILES) == ""
