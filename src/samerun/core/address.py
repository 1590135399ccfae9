"""Where runs are recorded: one store for every way of running.

MLFLOW_TRACKING_URI where it is set, else SQLite in the workspace's mlruns/, the embedded store.
Knows nothing of MLflow's calls, only of where its paths lie.
"""

import os
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from samerun.core.errors import StoreError

EXPERIMENT = "knownline"

SQLITE = "sqlite:///"

_DATABASES = ("postgresql", "mysql", "mssql")

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's tables hold absolute paths of artifacts."""


def workspace() -> Path:
    """Return the folder whose mlruns/ holds the store: the original root in every experiment."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def store_uri() -> str:
    """Return where runs are recorded.

    A relative SQLite path is taken from the workspace, so that an experiment in a temporary folder
    does not make a store of its own. Nothing is asked over a network: whether a server answers is
    for later, since a training does not wait for one.

    Raises: StoreError where no run could ever be recorded there: for SQLite where it is no file, as
    in memory; for an address of no form that MLflow takes; for a database without its driver.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{SQLITE}mlruns/mlflow.db"
    scheme, there, rest = uri.partition("://")
    if there:  # its case means nothing (RFC 3986, 3.1), but MLflow knows small letters alone
        uri = f"{scheme.lower()}{there}{rest}"
    if not uri.startswith("sqlite"):
        _require_form(uri)
        return uri
    name = uri.removeprefix(SQLITE)
    path = workspace() / name
    if name in (uri, "") or re.search(r"^~|^:memory:|[?#]|/$", name) or path.is_dir():
        raise StoreError(
            "MLFLOW_TRACKING_URI must be sqlite:/// and the path of a file, without ~ and options"
            f" (got {redacted(uri)})"
        )
    return f"{SQLITE}{path}"


def _require_form(uri: str) -> None:
    """Refuse what is the address of no server and of no database. Raises: StoreError."""
    scheme, there, _ = uri.partition("://")
    if there and scheme.partition("+")[0] in _DATABASES:
        _require_driver(uri)
    elif not (uri == "databricks" or _is_web(uri)):
        near = f": http://{uri}?" if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri) else ""
        raise StoreError(
            "MLFLOW_TRACKING_URI must be http:// or https:// and a host, sqlite:/// and a file, or"
            f" a database such as postgresql://USER:PASSWORD@HOST/NAME{near} (got {redacted(uri)})"
        )


def _is_web(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        port = parts.port  # raises for one that is no number, or too large
    except ValueError:
        return False
    host = parts.hostname and not re.search(r"\s", uri)
    return parts.scheme in ("http", "https") and bool(host) and port != 0


def _require_driver(uri: str) -> None:
    """Refuse the address of a database that nothing here can speak to. Raises: StoreError."""
    import sqlalchemy  # half a second, for who has a database

    try:
        sqlalchemy.make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        raise StoreError(
            f"MLFLOW_TRACKING_URI must name a database whose driver is installed (got"
            f" {redacted(uri)}: no module {error.name})"
        ) from error
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise StoreError(
            f"MLFLOW_TRACKING_URI must be the address of a database (got {redacted(uri)})"
        ) from error


def redacted(uri: str) -> str:
    """Return a store's URI as it may be printed: without a password, a token or what it is asked.

    A password may have any character, those that should have been escaped too.
    """
    bare = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", uri)
    bare = re.sub(r"^(https?://)[^:/@]+@", r"\1***@", bare, flags=re.IGNORECASE)
    return re.sub(r"([?&][^=&]*=)[^&]*", r"\1***", bare)


def sqlite_file() -> Path | None:
    """Return the SQLite file where the store is one, ours or a user's own."""
    uri = store_uri()
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def local_store() -> Path | None:
    """Return the embedded store's file; None where MLFLOW_TRACKING_URI names another store."""
    file, own = sqlite_file(), workspace() / "mlruns" / "mlflow.db"
    return own if file is not None and file.resolve() == own.resolve() else None


def artifacts() -> str:
    """Return where the embedded store's artifacts belong, as MLflow writes it."""
    return (workspace() / "mlruns" / "artifacts").as_uri()


def moved_from(store: Path) -> str | None:
    """Return where the embedded store's artifacts were before its workspace moved, or None.

    Raises: sqlite3.Error.
    """
    with closing(sqlite3.connect(store, timeout=30)) as connection:
        found = connection.execute(
            "select artifact_location from experiments where name = ?", [EXPERIMENT]
        ).fetchone()
    if found is None or found[0] == artifacts() or not found[0].endswith("/mlruns/artifacts"):
        return None
    return str(found[0])


def follow_move(store: Path) -> None:
    """Let the embedded store's artifact paths follow a workspace that was moved or copied.

    MLflow keeps them as absolute paths, so the artifacts of a moved store would be looked for, and
    new ones written, in the folder where it once was; MLflow has no call that changes them.

    Raises: sqlite3.Error.
    """
    there, here = moved_from(store), artifacts()
    if there is None:
        return
    with closing(sqlite3.connect(store, timeout=30)) as connection, connection:
        for table, column in PLACES:
            connection.execute(
                f"update {table} set {column} = ? || substr({column}, ?)"
                f" where substr({column}, 1, ?) in (? || '/', ?)",
                [here, len(there) + 1, len(there) + 1, there, there],
            )
    print(f"knownline: the store has moved: its artifacts are in {here}", file=sys.stderr)
