"""Stores that are damaged, empty, foreign or no stores: one line each, and nothing is lost."""

import sqlite3

import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def one_line(stderr: str) -> str:
    """Return the one line that a command of ours prints about its error."""
    assert "Traceback" not in stderr
    (line,) = [text for text in stderr.splitlines() if text.startswith("samerun:")]
    assert line.startswith("samerun: error: ")
    return line


@pytest.mark.parametrize("start", [0, 100], ids=["header", "page"])
def test_a_damaged_store_costs_one_line(trained: Workspace, start: int) -> None:
    database = trained.path / "mlruns/mlflow.db"
    content = bytearray(database.read_bytes())
    content[start : start + 4000] = b"\xff" * 4000
    database.write_bytes(content)
    line = one_line(trained.dvc("repro", ok=False).stderr)
    assert "mlruns/mlflow.db must answer" in line
    assert "`dvc repro` records them later" in line
    assert bytes(content) == database.read_bytes()
    one_line(trained.samerun("reproduce", "99 rows", ok=False).stderr)


def test_an_empty_file_becomes_a_store(trained: Workspace) -> None:
    (trained.path / "mlruns/mlflow.db").write_bytes(b"")
    trained.dvc("repro")
    (run,) = trained.runs()
    assert run.status == "FINISHED"


def test_a_database_of_another_program_costs_one_line(trained: Workspace) -> None:
    database = trained.path / "mlruns/mlflow.db"
    database.unlink()
    with sqlite3.connect(database) as other:
        other.execute("create table recipes (name text)")
    line = one_line(trained.dvc("repro", ok=False).stderr)
    assert "mlruns/mlflow.db must answer" in line
    with sqlite3.connect(database) as other:
        assert other.execute("select name from sqlite_master").fetchall() == [("recipes",)]


def test_a_store_that_fails_while_it_is_written_costs_one_line(trained: Workspace) -> None:
    """A missing column fails at a certain write, as a full disk or a locked file does at some."""
    with sqlite3.connect(trained.path / "mlruns/mlflow.db") as store:
        store.execute("alter table params rename column value to other")
    line = one_line(trained.dvc("repro", ok=False).stderr)
    assert "OperationalError" in line
    assert "`dvc repro` records them later" in line


def test_what_can_be_no_store_is_refused_before_the_training(workspace: Workspace) -> None:
    """Also a store in memory: its runs would be lost."""
    workspace.replace("params.yaml", "epochs: 100", "epochs: 101")
    before, outputs = set(workspace.path.iterdir()), workspace.outputs()
    for uri, rule in (
        ("sqlite:///:memory:", "must be sqlite:/// and the path of a file"),
        ("mysql://u:secret@127.0.0.1:1/x", "must name a database whose driver is installed"),
    ):
        done = workspace.dvc("repro", ok=False, MLFLOW_TRACKING_URI=uri)
        line = one_line(done.stderr)
        assert rule in line
        assert "secret" not in done.stdout + done.stderr
        assert "train: w = " not in done.stdout
        assert "Running stage 'record'" not in done.stdout
        assert workspace.outputs() == outputs
    assert set(workspace.path.iterdir()) == before


def test_a_store_that_does_not_answer_hides_its_password_and_the_run_waits(
    trained: Workspace,
) -> None:
    for uri, cause in (
        ("postgresql://u:secret@127.0.0.1:1/x", "must answer"),
        ("http://u:secret@127.0.0.1:1", "must answer (got connection refused)"),
    ):
        done = trained.dvc("repro", ok=False, MLFLOW_TRACKING_URI=uri)
        line = one_line(done.stderr)
        assert cause in line
        assert "u:***@" in line or "http" in uri
        assert "secret" not in done.stdout + done.stderr
        assert "`dvc repro` records them later" in line
    trained.dvc("repro")
    run = trained.runs()[-1]
    assert run.params["train.epochs"] == "60"
    assert "backfilled" not in run.tags


def test_blanks_around_the_address_of_a_store_are_ignored(trained: Workspace) -> None:
    trained.dvc("repro", MLFLOW_TRACKING_URI=" sqlite:///elsewhere.db ")
    (run,) = trained.runs("elsewhere.db")
    assert run.status == "FINISHED"
    assert len(trained.runs()) == 1
