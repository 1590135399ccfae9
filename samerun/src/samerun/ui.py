"""`samerun ui`: MLflow's own UI on 127.0.0.1, showing the store that runs are recorded in."""

import os
import socket
import sys

from samerun import config
from samerun.core import address
from samerun.core.errors import UsageError
from samerun.mlflow import tracking
from samerun.mlflow.experiment_page import VIEW

HOST = "127.0.0.1"


def main(*, port: int = 5000) -> int:
    """Replace this process by MLflow's server, which Ctrl-C ends.

    If the runs are on a server already, print its address and return 0.
    """
    port = _free_port(port) if address.sqlite_file() else port  # checked before a store is created
    own = config.here()
    store = tracking.Store(own)  # creates an empty store, so that the server finds one
    store.add_experiment_tags()
    # Not MLflow's start page, which is about traces and judges, but the table of runs in our view.
    runs_page = f"#/experiments/{store.experiment}/runs?workflowType=machine_learning"
    runs_page += f"&viewStateShareKey={VIEW}" if own.columns else ""
    if not store.uri.startswith("sqlite:"):
        uri = store.shown_uri
        print(f"The runs are at {uri.rstrip('/')}/{runs_page}" if uri.startswith("http") else uri)
        return 0
    print(f"MLflow: http://{HOST}:{port}/{runs_page}  (Ctrl-C ends it)", flush=True)
    # `mlflow ui` ignores MLFLOW_TRACKING_URI and would create a store of its own.
    command = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    return os.execv(sys.executable, [sys.executable, *command])


def _free_port(port: int) -> int:
    """Return the port, or any free one for 0. Raises: UsageError if the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(f"--port must be free on {HOST} (got {port}: {error})") from None
        return int(probe.getsockname()[1])
