"""`knownline ui`: MLflow's own UI, on 127.0.0.1, on the store that runs are recorded in."""

import os
import socket
import sys

from knownline import door, tracking
from knownline.content import VIEW
from knownline.errors import UsageError

HOST = "127.0.0.1"


def main(argv: list[str]) -> int:
    """Become the MLflow server; Ctrl-C ends it."""
    parser = door.Arguments("ui", "Open MLflow on 127.0.0.1.", "knownline ui --port 5001")
    parser.add_argument("--port", type=int, default=5000, help="the port to listen on (5000)")
    port = parser.parse_args(argv).port
    store = tracking.Store()  # an empty store is created before the server looks for it
    store.furnish()
    # MLflow's own start page is of traces and judges: this is the table of runs, in our view of it.
    runs = f"#/experiments/{store.experiment}/runs?viewStateShareKey={VIEW}"
    runs += "&workflowType=machine_learning"
    if not store.uri.startswith("sqlite:"):
        where = store.shown_uri
        print(f"The runs are at {where.rstrip('/')}/{runs}" if where.startswith("http") else where)
        return 0
    _require_free(port)
    runs = f"http://{HOST}:{port}/{runs}"
    print(f"MLflow: {runs}  (Ctrl-C ends it)", flush=True)
    # `mlflow ui` ignores MLFLOW_TRACKING_URI and makes a store of its own: it must be told.
    command = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    return os.execv(sys.executable, [sys.executable, *command])


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UsageError(f"--port must be free on {HOST} (got {port}: {error})") from None
