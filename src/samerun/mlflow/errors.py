"""How mlflow is called: quiet, told soon that a server is dead, its errors turned into ours."""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from samerun.core import address
from samerun.core.errors import StoreError

# Read by mlflow when it is imported. Nothing we start reports to anyone, and a dead server costs
# seconds: mlflow's own defaults block for 246 s.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("PGCONNECT_TIMEOUT", "4")  # read by PostgreSQL's library

import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

# It prints the traceback of a database error that it raises as well: a full disk, a locked file.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

_ELSEWHERE = {  # the store's fault, or that of the way to it; anything else is ours
    codes.ErrorCode.Name(code)
    for code in (codes.INTERNAL_ERROR, codes.TEMPORARILY_UNAVAILABLE, codes.UNAUTHENTICATED,
                 codes.PERMISSION_DENIED, codes.REQUEST_LIMIT_EXCEEDED)
}  # fmt: skip


_UNREACHABLE = _ELSEWHERE - {codes.ErrorCode.Name(codes.INTERNAL_ERROR)}

ABSENT = {
    codes.ErrorCode.Name(code)
    for code in (codes.RESOURCE_DOES_NOT_EXIST, codes.INVALID_PARAMETER_VALUE)
}

BAD_REQUEST = codes.ErrorCode.Name(codes.BAD_REQUEST)
ALREADY_THERE = codes.ErrorCode.Name(codes.RESOURCE_ALREADY_EXISTS)


@contextmanager
def without_retries() -> Iterator[None]:
    """Do not send a request again whose answer is lost: it may have made something already.

    What was made is found and completed when the whole is tried again.
    """
    retries = os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = retries


@contextmanager
def store_errors(uri: str, *, every: bool = False) -> Iterator[None]:
    """Turn what the store or the way to it does wrong into StoreError; `every` mlflow error."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        code = error.error_code if isinstance(error, MlflowException) else None
        if not (every or code is None or code in _ELSEWHERE):
            raise
        where = address.redacted(uri)
        raise StoreError(f"the MLflow store {where} must answer (got {cause(error)})") from error


def check_reachable(uri: str) -> None:
    """Ask a database once whether it is there: mlflow asks fifteen times, for two minutes.

    Raises: StoreError where it does not answer.
    """
    with store_errors(uri):
        engine = create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def cause(error: Exception) -> str:
    """Return why, in a few words: requests wraps what the network said in four other errors."""
    text = str(error).strip() or type(error).__name__
    if found := re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text):
        return found[1].strip().lower()
    if "Read timed out" in text or "ConnectTimeout" in text:
        return f"no answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} seconds"
    if found := re.search(r"too many (\d+) error responses", text):
        return f"status {found[1]}"
    if "RemoteDisconnected" in text:
        return "connection closed without an answer"
    return text.splitlines()[0][:200]


def is_unreachable(error: BaseException | None) -> bool:
    """Return whether a network, a server or a right is what fails, not the files themselves."""
    while error is not None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return error.response.status_code != 404
        if isinstance(error, requests.RequestException | PermissionError | ImportError):
            return True
        if isinstance(error, MlflowException) and error.error_code in _UNREACHABLE:
            return True
        error = error.__cause__ or error.__context__
    return False
