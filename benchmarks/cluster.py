"""`generate` by two Dask workers on this machine, one thread each. No network is involved."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import ROOT, Run, stage

AVAILABLE = (ROOT / "src/knownline/generate/cluster.py").exists() and bool(
    importlib.util.find_spec("distributed")
)


def generate(workspace: Path) -> Run:
    """Time the stage on a running cluster; its start and end are not timed."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "scheduler.json"
        options = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
        work = ["worker", *options, "--nthreads", "1", "--no-nanny", "--local-directory", folder]
        for words in (["scheduler", "--port", "0", *options], work, work):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words], stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
        while not (file.exists() and file.read_text()):
            time.sleep(0.1)
        time.sleep(3)  # for the workers to start; without them the stage would wait, on the clock
        address = json.loads(file.read_text())["address"]
        return stage("generate", workspace, KNOWNLINE_SCHEDULER=address)
