"""The address of the store: one that cannot be used is refused at once, and without a network."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from samerun.core import address
from samerun.core.errors import StoreError
from support.workspace import ROOT

FORM = "MLFLOW_TRACKING_URI must be http:// or https:// and a host, sqlite:/// and a file, or"


@pytest.mark.parametrize(
    ("uri", "message"),
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
        ("sqlite:///", "must be sqlite:/// and the path of a file"),
        ("sqlite:///:memory:", "must be sqlite:/// and the path of a file"),
        ("sqlite:///~/x.db", "must be sqlite:/// and the path of a file"),
        ("sqlite:///x.db?timeout=5", "must be sqlite:/// and the path of a file"),
    ],
)
def test_an_address_of_no_store_is_refused(
    uri: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(StoreError) as refused:
        address.store_uri()
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("http://127.0.0.1:5000", None),
        ("https://user:word@runs.example.org/mlflow", None),
        ("http://[::1]:5000", None),
        ("postgresql://u:p@h:5432/d", None),
        ("postgresql+psycopg://h/d", None),
        ("databricks", None),
        # RFC 3986, 3.1: schemes are case-insensitive; MLflow knows them in small letters only.
        ("HTTP://Runs.example.org/A", "http://Runs.example.org/A"),
        ("Https://u:Word@h", "https://u:Word@h"),
        ("PostgreSQL+PsycoPG://h/D", "postgresql+psycopg://h/D"),
        ("SQLite:////tmp/A.db", "sqlite:////tmp/A.db"),
    ],
)
def test_the_address_of_a_store_is_taken_without_a_connection(
    uri: str, meant: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("no connection is needed")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert address.store_uri() == (meant or uri)


def test_reading_the_address_imports_nothing_large(tmp_path: Path) -> None:
    code = "import sys; from samerun.core import address; address.store_uri(); print(*sys.modules)"
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"mlflow", "sqlalchemy", "torch"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://u:secret@h/x", "postgresql://u:***@h/x"),
        ("postgresql://u:se/cr@et@h/x", "postgresql://u:***@h/x"),
        ("postgresql://u@h/x", "postgresql://u@h/x"),
        ("https://token@h:1", "https://***@h:1"),
        ("HTTP://token@h", "HTTP://***@h"),
        ("postgresql://h/x?user=a&password=b", "postgresql://h/x?user=***&password=***"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_secrets_in_an_address_are_never_shown(uri: str, shown: str) -> None:
    assert address.redacted(uri) == shown
