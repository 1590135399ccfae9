"""A store that is damaged, empty or somebody else's costs one line, or nothing."""

import sqlite3

import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.usefixtures("warm")


def one_line(told: str) -> str:
    assert "Traceback" not in told
    (line,) = [text for text in told.splitlines() if text.startswith("knownline:")]
    assert line.startswith("knownline: error: ")
    return line


@pytest.mark.parametrize("place", ["header", "page"])
def test_a_damaged_store_costs_one_line(trained: Workspace, place: str) -> None:
    database = trained.path / "mlruns/mlflow.db"
    content = bytearray(database.read_bytes())
    start = 0 if place == "header" else 100
    content[start : start + 4000] = b"\xff" * 4000
    database.write_bytes(content)
    line = one_line(trained.dvc("repro", ok=False).stderr)
    assert "mlruns/mlflow.db must answer" in line
    assert "`dvc repro` records it later" in line
    assert bytes(content) == database.read_bytes()
    one_line(trained.knownline("reproduce", "99 rows", ok=False).stderr)


def test_an_empty_file_is_no_store(fresh: Workspace) -> None:
    sqlite3.connect(fresh.path / "mlruns/mlflow.db").close()
    (fresh.path / "mlruns/mlflow.db").touch()
    fresh.dvc("repro")
    (run,) = fresh.runs()
    assert run.status == "FINISHED"


def test_a_database_of_somebody_else_costs_one_line(fresh: Workspace) -> None:
    with sqlite3.connect(fresh.path / "mlruns/mlflow.db") as other:
        other.execute("create table recipes (name text)")
    line = one_line(fresh.dvc("repro", ok=False).stderr)
    assert "mlruns/mlflow.db must answer" in line
    with sqlite3.connect(fresh.path / "mlruns/mlflow.db") as other:
        assert other.execute("select name from sqlite_master").fetchall() == [("recipes",)]


def test_a_store_that_fails_while_it_is_written_costs_one_line(trained: Workspace) -> None:
    """What a full disk or a locked file does at a chance moment, a missing column does always."""
    with sqlite3.connect(trained.path / "mlruns/mlflow.db") as store:
        store.execute("alter table params rename column value to other")
    line = one_line(trained.dvc("repro", ok=False).stderr)
    assert "OperationalError" in line
    assert "`dvc repro` records it later" in line


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("sqlite://", "must be sqlite:/// and the path of a file"),
        ("sqlite:///", "must be sqlite:/// and the path of a file"),
        ("sqlite:///:memory:", "must be sqlite:/// and the path of a file"),
        ("sqlite:///mlruns", "must be sqlite:/// and the path of a file"),
        ("sqlite:///~/x.db", "must be sqlite:/// and the path of a file"),
        ("sqlite:///x.db?timeout=5", "must be sqlite:/// and the path of a file"),
        ("mysql://u:secret@127.0.0.1:1/x", "must name a database whose driver is installed"),
        ("postgresql://u:secret@127.0.0.1:1/x", "must answer"),
        ("http://u:secret@127.0.0.1:1", "must answer (got connection refused)"),
    ],
)
def test_a_store_that_cannot_be_one_costs_one_line(
    workspace: Workspace, uri: str, says: str
) -> None:
    """Also none that keeps nothing: a run in memory would be lost."""
    workspace.replace("params.yaml", "epochs: 100", "epochs: 101")
    before = set(workspace.path.iterdir())
    shown = workspace.dvc("repro", ok=False, MLFLOW_TRACKING_URI=uri)
    told = shown.stderr
    line = one_line(told)
    assert says in line
    # One that is none is said before the training, one that does not answer after it.
    assert ("`dvc repro` records it later" in line) == ("must answer" in says)
    assert ("Running stage 'record'" in shown.stdout) == ("must answer" in says)
    assert "secret" not in told
    assert "u:***@" in line or "u:secret" not in uri
    assert set(workspace.path.iterdir()) == before
    workspace.dvc("repro")
    assert workspace.runs()[-1].params["train.epochs"] == "101"


def test_blanks_around_a_store_are_nothing(fresh: Workspace) -> None:
    fresh.dvc("repro", MLFLOW_TRACKING_URI=" sqlite:///elsewhere.db ")
    (run,) = fresh.runs("elsewhere.db")
    assert run.status == "FINISHED"
    assert not (fresh.path / "mlruns/mlflow.db").exists()
