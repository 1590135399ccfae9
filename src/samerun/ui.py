"""`knownline ui`: MLflow's own UI, on 127.0.0.1, on the store that runs are recorded in."""

import os
import socket
import sys

from samerun.core import address
from samerun.core.errors import UsageError
from samerun.mlflow import tracking
from samerun.mlflow.run_metadata import VIEW

HOST = "127.0.0.1"


def main(*, port: int = 5000) -> int:
    """Become the MLflow server; Ctrl-C ends it."""
    port = _free(port) if address.sqlite_file() else port  # before a store is made
    store = tracking.Store()  # an empty store is created before the server looks for it
    store.furnish()
    # MLflow's own start page is of traces and judges: this is the table of runs, in our view of it.
    runs = f"#/experiments/{store.experiment}/runs?viewStateShareKey={VIEW}"
    runs += "&workflowType=machine_learning"
    if not store.uri.startswith("sqlite:"):
        where = store.shown_uri
        print(f"The runs are at {where.rstrip('/')}/{runs}" if where.startswith("http") else where)
        return 0
    runs = f"http://{HOST}:{port}/{runs}"
    print(f"MLflow: {runs}  (Ctrl-C ends it)", flush=True)
    # `mlflow ui` ignores MLFLOW_TRACKING_URI and makes a store of its own: it must be told.
    command = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    return os.execv(sys.executable, [sys.executable, *command])


def _free(port: int) -> int:
    """Return the port, or one that is free for 0. Raises: UsageError where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"--port (make ui PORT=) must be free on {HOST} (got {port}: {error})"
            ) from None
        return int(probe.getsockname()[1])
