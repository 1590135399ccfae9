"""Where runs are recorded: what can be no store is said at once, without asking anybody."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from samerun.core import address
from samerun.core.errors import StoreError
from tests.conftest import ROOT, Workspace

FORM = "MLFLOW_TRACKING_URI must be http:// or https:// and a host, sqlite:/// and a file, or"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("localhost:5000", "/NAME: http://localhost:5000? (got localhost:5000)"),
        ("127.0.0.1:5000/mlflow", ": http://127.0.0.1:5000/mlflow? (got"),
        ("./mlruns", FORM),
        ("mlruns", FORM),
        ("file:///tmp/store", FORM),
        ("http:/host", FORM),
        ("http://", FORM),
        ("http://host:99999", FORM),
        ("http://host:port", FORM),
        ("http://a host", FORM),
        ("ftp://host", FORM),
        ("://", FORM),
        ("postgres://u:secret@h/d", FORM),
        ("mysql://u:secret@h/d", "must name a database whose driver is installed (got mysql:"),
        ("postgresql+nobody://u:secret@h/d", "must be the address of a database (got"),
        ("postgresql://u:secret@h:port/d", "must be the address of a database (got"),
        ("sqlite://", "must be sqlite:/// and the path of a file"),
        ("sqlite:///:memory:", "must be sqlite:/// and the path of a file"),
    ],
)  # fmt: skip
def test_what_can_be_no_store_is_refused(
    uri: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(StoreError) as refused:
        address.store_uri()
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://user:word@runs.example.org/mlflow",
        "http://[::1]:5000",
        "postgresql://u:p@h:5432/d",
        "postgresql+psycopg://h/d",
        "databricks",
    ],
)
def test_what_may_be_one_is_not_asked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("nobody is to be asked")

    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert address.store_uri() == uri


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("HTTP://Runs.example.org/A", "http://Runs.example.org/A"),
        ("Https://u:Word@h", "https://u:Word@h"),
        ("PostgreSQL+PsycoPG://h/D", "postgresql+psycopg://h/D"),
        ("SQLite:////tmp/A.db", "sqlite:////tmp/A.db"),
    ],
)
def test_a_scheme_is_one_in_capitals_too(
    uri: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3986, 3.1: schemes are case-insensitive; MLflow knows them in small letters alone."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert address.store_uri() == meant


def test_to_look_costs_no_import(tmp_path: Path) -> None:
    code = "import sys; from knownline import location; location.store_uri(); print(*sys.modules)"
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"mlflow", "sqlalchemy", "torch"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "value"),
    [("MLFLOW_TRACKING_URI", "localhost:5000"), ("KNOWNLINE_LIVE_AFTER", "x"),
     ("KNOWNLINE_WORKERS", "many")],
)  # fmt: skip
def test_a_refused_environment_leaves_the_record_as_it_was(
    name: str, value: str, workspace: Workspace
) -> None:
    done = workspace.knownline("train", ok=False, **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"knownline: error: {name} must be ")
    assert (workspace.path / "mlruns/recorded.json").exists()


def test_a_training_that_could_not_be_recorded_does_not_begin(fresh: Workspace) -> None:
    fresh.knownline("generate")
    done = fresh.knownline("train", ok=False, MLFLOW_TRACKING_URI="localhost:5000")
    assert done.returncode == 2
    assert done.stderr.startswith(f"knownline: error: {FORM}")
    assert done.stderr.count("\n") == 1
    assert not (fresh.path / "models/line.json").exists()
    fresh.knownline("train", MLFLOW_TRACKING_URI="http://127.0.0.1:1")  # a dead server stops none
    assert (fresh.path / "models/line.json").exists()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://u:secret@h/x", "postgresql://u:***@h/x"),
        ("postgresql://u:se/cr@et@h/x", "postgresql://u:***@h/x"),
        ("postgresql://u@h/x", "postgresql://u@h/x"),
        ("https://token@h:1", "https://***@h:1"),
        ("http://token@h", "http://***@h"),
        ("HTTP://token@h", "HTTP://***@h"),
        ("postgresql://h/x?user=a&password=b", "postgresql://h/x?user=***&password=***"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_nothing_secret_of_an_address_is_said(uri: str, said: str) -> None:
    assert address.redacted(uri) == said
