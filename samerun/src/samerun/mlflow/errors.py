"""How mlflow is called: quietly, with short timeouts, and with its errors turned into ours."""

# ruff: noqa: E402 — mlflow reads variables of the environment when it is imported
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samerun.core import address, variables
from samerun.core.errors import StoreError

# One of the user's variables may make writes fail silently, or name another run or experiment.
for _name in variables.unheeded_by_mlflow(list(os.environ)):
    del os.environ[_name]

# mlflow reads these when it is imported. Telemetry is off, and a dead server costs seconds: with
# mlflow's defaults a call would block for 246 s.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("PGCONNECT_TIMEOUT", "4")  # read by PostgreSQL's library

os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"  # with a level it does not know, mlflow fails

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

# This logger prints a traceback of database errors that are raised too: a full disk, a locked file.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

_STORE_CODES = {  # errors of the store or of the connection to it; any other is a bug of ours
    codes.ErrorCode.Name(code)
    for code in (codes.INTERNAL_ERROR, codes.TEMPORARILY_UNAVAILABLE, codes.UNAUTHENTICATED,
                 codes.PERMISSION_DENIED, codes.REQUEST_LIMIT_EXCEEDED)
}  # fmt: skip

_UNREACHABLE_CODES = _STORE_CODES - {codes.ErrorCode.Name(codes.INTERNAL_ERROR)}

ABSENT_CODES = {
    codes.ErrorCode.Name(code)
    for code in (codes.RESOURCE_DOES_NOT_EXIST, codes.INVALID_PARAMETER_VALUE)
}

BAD_REQUEST = codes.ErrorCode.Name(codes.BAD_REQUEST)
ALREADY_THERE = codes.ErrorCode.Name(codes.RESOURCE_ALREADY_EXISTS)


@contextmanager
def without_retries() -> Iterator[None]:
    """Do not repeat a request whose answer was lost, since it may have created something.

    The next attempt of the whole operation finds what was created and completes it.
    """
    retries = os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = retries


@contextmanager
def store_errors(uri: str, *, every: bool = False) -> Iterator[None]:
    """Turn errors of the store, or of the connection to it, into StoreError.

    every: whether any other error that mlflow raises becomes a StoreError too.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        code = error.error_code if isinstance(error, MlflowException) else None
        if not (every or code is None or code in _STORE_CODES):
            raise
        shown_uri = address.redacted(uri)
        raise StoreError(
            f"the MLflow store {shown_uri} must answer (got {cause(error)})"
        ) from error


def check_reachable(uri: str) -> None:
    """Connect to a database once: mlflow would try fifteen times, for two minutes.

    Raises: StoreError if it does not answer.
    """
    with store_errors(uri):
        engine = create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def cause(error: Exception) -> str:
    """Return the cause of an error in a few words: requests wraps it in four other errors."""
    text = str(error).strip() or type(error).__name__
    if match := re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text):
        return match[1].strip().lower()
    if "Read timed out" in text or "ConnectTimeout" in text:
        return f"no answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} seconds"
    if match := re.search(r"too many (\d+) error responses", text):
        return f"status {match[1]}"
    if "RemoteDisconnected" in text:
        return "connection closed without an answer"
    if match := re.search(r"\(found version (\w+), but expected (\w+)\)", text):
        return _about_schema(match[1])
    return text.splitlines()[0][:200]


def _about_schema(found: str) -> str:
    """Return what to do about a database whose schema is another version's. found: that version.

    MLflow advises to upgrade it in any case, which does nothing if it is of a newer MLflow.
    """
    own = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    if any(own.glob(f"{found}_*.py")):
        return "the schema of an older MLflow: back it up, then run `mlflow db upgrade` on it"
    return f"the schema of a newer MLflow than {mlflow.__version__}: install that one"


def is_unreachable(error: BaseException | None) -> bool:
    """Return whether the network, the server or a missing permission failed, not the files."""
    while error is not None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return error.response.status_code != 404
        if isinstance(error, requests.RequestException | PermissionError | ImportError):
            return True
        if isinstance(error, MlflowException) and error.error_code in _UNREACHABLE_CODES:
            return True
        error = error.__cause__ or error.__context__
    return False
