"""`samerun ui` and `samerun store` in any project, and what samerun answers to wrong arguments."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from projects.toy import FILES, Toy, project
from support.workspace import commit

pytestmark = pytest.mark.usefixtures("warm")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["runs"], "invalid choice: 'runs': did you mean run?"),
        (["run"], "run needs a command after `--`: samerun run -- python train.py"),
        (["run", "--"], "run needs a command after `--`"),
        (["run", "python", "train.py"], "run needs a command after `--`"),
        (["record", "now"], "unrecognized arguments: now (see samerun record --help)"),
        (["store"], "the following arguments are required: direction (see samerun store --help)"),
        (["doctor", "--mend"], "unrecognized arguments: --mend (see samerun doctor --help)"),
        (["store", "sideways"], "invalid choice: 'sideways' (choose from"),
        (["ui", "--port", "70000"], "must be a whole number from 0 to 65535 (got 70000)"),
    ],
)
def test_wrong_arguments_are_one_line(new: Toy, arguments: list[str], says: str) -> None:
    done = new.samerun(*arguments, ok=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("samerun: error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_help(new: Toy) -> None:
    assert new.samerun(ok=False).returncode == 2
    whole = new.samerun("--help").stdout
    for command in ("run", "record", "reproduce", "doctor", "store", "ui"):
        assert re.search(rf"(?m)^    {command}\b", whole)
        assert f"usage: samerun {command}" in new.samerun(command, "--help").stdout
    assert new.samerun("--version").stdout.startswith("samerun ")


@pytest.mark.cold  # so that its process group holds all of its processes
def test_ui_serves_the_runs_of_this_project(toy: Toy) -> None:
    process = subprocess.Popen(
        ["samerun", "ui", "--port", "0"],
        cwd=toy.path, env=toy.env(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        match = re.fullmatch(
            r"MLflow: (http://127\.0\.0\.1:\d+)/#/experiments/(\d+)/runs.*\n", line
        )
        assert match, line
        url = f"{match[1]}/ajax-api/2.0/mlflow/experiments/get?experiment_id={match[2]}"
        for _ in range(600):
            try:
                with urlopen(url, timeout=5) as answer:
                    name = json.loads(answer.read())["experiment"]["name"]
                break
            except OSError:
                assert process.poll() is None
                subprocess.run(["sleep", "0.1"], check=True)
        assert name == "toy"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    taken = toy.samerun("ui", "--port", "1", ok=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert taken.returncode == 2
    assert "samerun: error: the MLflow store http://127.0.0.1:9 must answer" in taken.stderr


def test_ui_needs_a_project_that_records(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = Toy(tmp_path / "empty").samerun("ui", ok=False)
    assert done.returncode == 2
    assert "is not in a DVC project: run `dvc init`" in done.stderr
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("folder", ["", "team/pipe"])
def test_a_store_travels_through_the_remotes(tmp_path: Path, folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    made = project(tmp_path / "work", {f"{prefix}{name}": text for name, text in FILES.items()})

    def store(toy: Toy, direction: str) -> str:
        inside = ("sh", "-c", 'cd "./$0" && exec samerun store "$1"', folder)
        return toy.run(*inside, direction).stdout

    made.repro(folder=folder or ".")
    made.git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "origin.git"))
    made.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    made.dvc("remote", "add", "--quiet", "--default", "store", str(tmp_path / "remote"))
    commit(made, "results")
    made.git("push", "--quiet", "origin", "main")
    assert store(made, "pull") == "store: no store was pushed yet\n"
    assert store(made, "push").startswith("store: the store is pushed as ")
    assert store(made, "push") == "store: the store is as it was pushed\n"
    clone = made.clone()
    clone.git("remote", "set-url", "origin", str(tmp_path / "origin.git"))
    assert store(clone, "pull").endswith(" is here\n")
    assert [run.run_id for run in clone.runs()] == [run.run_id for run in made.runs()]
    (run,) = clone.runs()
    assert run.artifacts.is_relative_to(clone.path)
    assert (run.artifacts / "reports/metrics.json").exists()
    assert clone.git("status", "--short") == ""
