"""Where runs are recorded: one store, however the pipeline is started.

That is MLFLOW_TRACKING_URI if it is set, else the embedded store: SQLite in the workspace's
mlruns/. Knows nothing of MLflow's calls, only which columns of its tables hold paths.
"""

import os
import re
import sqlite3
import sys
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from samerun.core.errors import StoreError

SQLITE = "sqlite:///"

_SPECIAL = re.compile(r"[%?#&\x00-\x1f\x7f]")
"""The characters of a path that must be escaped in a SQLite URI."""

_DATABASES = ("postgresql", "mysql", "mssql")

_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's tables that hold absolute paths of artifacts."""


def workspace() -> Path:
    """Return the folder whose mlruns/ holds the store: the original root in every experiment.

    That is DVC_ROOT in a temporary experiment, else the nearest folder with a .dvc, else the
    current folder. DVC keeps a DVC_ROOT that it inherits, which may be of another project.
    """
    here, root = Path.cwd().resolve(), os.environ.get("DVC_ROOT")
    if root and here.is_relative_to((Path(root) / ".dvc" / "tmp").resolve()):
        return Path(root).resolve()
    return next((each for each in (here, *here.parents) if (each / ".dvc").is_dir()), here)


def to_url(path: Path, scheme: str = "file://") -> str:
    """Return an absolute path as a URL; `scheme` is file:// or SQLITE.

    SQLAlchemy decodes a SQLite URI, and MLflow creates the parent of its path *undecoded*. So only
    the characters in _SPECIAL are escaped there; from the first name with one of them on, the
    slashes are escaped too, and the parent that MLflow creates is a folder that exists.

    Raises: StoreError if the path is not UTF-8, which MLflow would decode to another path.
    """
    try:
        text = str(path)
        text.encode()
    except UnicodeEncodeError:
        raise StoreError(f"the folder {str(path)!a} must have a name in UTF-8") from None
    if scheme != SQLITE:
        return scheme + quote(text)
    plain = list(takewhile(lambda name: not _SPECIAL.search(name), path.parts[1:]))
    escaped = [_SPECIAL.sub(lambda c: quote(c[0]), name) for name in path.parts[1 + len(plain) :]]
    return f"{SQLITE}/{'/'.join([*plain, '%2F'.join(escaped)] if escaped else plain)}"


def from_url(url: str) -> Path:
    """Return the path of a SQLite URI, as SQLAlchemy reads it."""
    return Path(unquote(url.removeprefix(SQLITE)))


def store_uri() -> str:
    """Return where runs are recorded.

    A relative SQLite path is relative to the workspace, so that an experiment in a temporary folder
    does not create a store of its own. Makes no network call: whether the server answers is checked
    later, so that training does not wait for it.

    Raises: StoreError if no run could ever be recorded there: a SQLite address that is not a file
    (as in memory), an address that MLflow does not accept, a database whose driver is missing.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{SQLITE}mlruns/mlflow.db"
    scheme, separator, rest = uri.partition("://")
    if separator:  # any case is valid (RFC 3986, 3.1), but MLflow accepts only lower case
        uri = f"{scheme.lower()}{separator}{rest}"
    if not uri.startswith("sqlite"):
        _require_form(uri)
        return uri
    name = uri.removeprefix(SQLITE)
    path = workspace() / from_url(uri)
    if name in (uri, "") or re.search(r"^~|^:memory:|[?#]|%00|/$", name) or path.is_dir():
        raise StoreError(
            "MLFLOW_TRACKING_URI must be sqlite:/// and the path of a file, without ~ and options"
            f" (got {redacted(uri)})"
        )
    return to_url(path, SQLITE)


def _require_form(uri: str) -> None:
    """Refuse an address that is neither a server's nor a database's. Raises: StoreError."""
    scheme, separator, _ = uri.partition("://")
    if separator and scheme.partition("+")[0] in _DATABASES:
        _require_driver(uri)
    elif not (uri == "databricks" or _is_web(uri)):
        hint = f": http://{uri}?" if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri) else ""
        raise StoreError(
            "MLFLOW_TRACKING_URI must be http:// or https:// and a host, sqlite:/// and a file, or"
            f" a database such as postgresql://USER:PASSWORD@HOST/NAME{hint} (got {redacted(uri)})"
        )


def _is_web(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        port = parts.port  # raises if it is not a number, or too large
    except ValueError:
        return False
    host = parts.hostname and not re.search(r"\s", uri)
    return parts.scheme in ("http", "https") and bool(host) and port != 0


def _require_driver(uri: str) -> None:
    """Refuse the address of a database whose driver is not installed. Raises: StoreError."""
    import sqlalchemy  # takes half a second, so only users of a database pay for it

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
    """Return a store's URI as it may be printed: without password, token and query values.

    A password may contain any character, even one that should have been escaped.
    """
    bare = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", uri)
    bare = re.sub(r"^(https?://)[^:/@]+@", r"\1***@", bare, flags=re.IGNORECASE)
    return re.sub(r"([?&][^=&]*=)[^&]*", r"\1***", bare)


def sqlite_file() -> Path | None:
    """Return the store's SQLite file, embedded or the user's own; None if it is no SQLite store."""
    uri = store_uri()
    return from_url(uri) if uri.startswith(SQLITE) else None


def local_store() -> Path | None:
    """Return the embedded store's file; None if MLFLOW_TRACKING_URI names another store."""
    file, embedded = sqlite_file(), workspace() / "mlruns" / "mlflow.db"
    return embedded if file is not None and file.resolve() == embedded.resolve() else None


def is_store(database: Path) -> bool:
    """Return whether a store is there; an empty file, as `sqlite3 FILE` leaves one, is none."""
    return database.exists() and database.stat().st_size > 0


def artifacts() -> str:
    """Return the URI of a SQLite store's artifacts, as MLflow writes it.

    They are beside the database, so several checkouts that share one share its artifacts too.
    """
    database = sqlite_file()
    if database is None or local_store():
        return to_url(workspace() / "mlruns" / "artifacts")
    return to_url(database.resolve().parent / f"{database.stem}-artifacts")


def moved_from(store: Path) -> str | None:
    """Return an artifact URI from before the embedded store's workspace moved, or None.

    Raises: sqlite3.Error.
    """
    return next(iter(_old_locations(store)), None)


def follow_move(store: Path) -> None:
    """Update the embedded store's artifact paths after its workspace was moved or copied.

    MLflow stores absolute paths, so it would look for the artifacts of a moved store, and write new
    ones, in the store's old folder. MLflow has no call that changes them.

    Raises: sqlite3.Error.
    """
    old_locations, new = _old_locations(store), artifacts()
    if not old_locations:
        return
    with closing(sqlite3.connect(store, timeout=30)) as connection, connection:
        for old in old_locations:
            for table, column in _PATH_COLUMNS:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?)"
                    f" where substr({column}, 1, ?) in (? || '/', ?)",
                    [new, len(old) + 1, len(old) + 1, old, old],
                )
    print(f"samerun: the store has moved: its artifacts are in {new}", file=sys.stderr)


def _old_locations(store: Path) -> list[str]:
    """Return where the experiments of the embedded store had their artifacts before a move.

    An experiment may have its artifacts elsewhere, such as in a bucket; those stay where they are.
    """
    with closing(sqlite3.connect(store, timeout=30)) as connection:
        rows = connection.execute(
            "select distinct artifact_location from experiments"
            " where artifact_location <> ? and artifact_location like '%/mlruns/artifacts'"
            " and (artifact_location like 'file:/%' or artifact_location like '/%')"
            " order by artifact_location",
            [artifacts()],
        ).fetchall()
    return [str(row[0]) for row in rows]
