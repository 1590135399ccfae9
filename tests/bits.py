"""One hash of all that the pipeline makes, for the tests that hold it to be the same everywhere."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from knownline.core.moments import Pivot
from knownline.scan.numpy_backend import Begin
from tests.conftest import Workspace

ROWS = 9_000_000
"""Two files for training and one held out: enough for workers to share, and for processes to fork;
and so large that another process reads them while torch is imported."""

ROWS_ONE_BY_ONE = 1_500_000
"""Eighteen chunks and a part of one: what fits into memory where nothing is compressed."""

PARTS = {
    "data": ("data/train/*.parquet", "data/holdout/*.parquet"),
    "moments": ("mlruns/moments/?*",),
    "history": ("reports/history.csv",),
    "line": ("models/line.json",),
}


Array = npt.NDArray[np.float64]


def drawn(seed: int, rows: int, offset: float = 0.0) -> Array:
    """Return points about a line: x and y, (2, rows)."""
    draws = np.random.default_rng(seed)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return np.stack([x, 20.0 * x + 5.0 + 1.5 * draws.standard_normal(rows)])


def moments_of(begin: Begin, x: Array, y: Array, pivot: Pivot) -> list[Array]:
    """Return the moments of pieces, (chunks, 6) each, read by two hands in turn.

    x, y: (pieces, chunks, rows).
    """
    pieces, chunks, rows = x.shape
    arithmetic = begin(pivot, chunks, rows, 2)
    for piece in range(pieces):
        read = zip(x[piece], y[piece], strict=True)
        arithmetic.take(piece, arithmetic.read(read, (rows,) * chunks, piece % 2))
    found = arithmetic.moments()
    return [found[piece] for piece in range(pieces)]


def simd() -> dict[str, dict[str, str]]:
    """Return the environment of each width of SIMD that this CPU has, the widest first."""
    found: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    widest = [name for name in found if name.startswith("AVX512")]
    widths = {"widest": {}, "none": _without(found, "default")}
    if widest and len(found) > len(widest):
        widths["AVX2"] = _without(widest, "avx2")
    return widths if found else {"widest": {}}


def _without(features: list[str], torch: str) -> dict[str, str]:
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(features), "ATEN_CPU_CAPABILITY": torch}


def configure(workspace: Workspace, *, compress: bool = True) -> None:
    """Make a checkout draw enough rows to share."""
    rows = ROWS if compress else ROWS_ONE_BY_ONE
    workspace.replace("params.yaml", "rows: 99", f"rows: {rows}")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 20")
    if not compress:
        workspace.replace("params.yaml", "compress: true", "compress: false")


def made(workspace: Workspace, *, workers: int, threads: int, **env: str) -> str:
    """Draw and fit, nothing kept of before; return the hash of what was made."""
    more = {"KNOWNLINE_WORKERS": str(workers), "OMP_NUM_THREADS": str(threads), **env}
    clear(workspace)
    for stage in ("generate", "train"):
        workspace.knownline(stage, ok=True, **more)
    return of(workspace)


def made_after_kills(
    workspace: Workspace, dice: random.Random, *, workers: int, threads: int, **env: str
) -> tuple[str, int]:
    """Draw and fit, each killed at its start, middle or end, and done again after.

    Returns the hash of what was made, and how many kills found something to kill.
    """
    more = {"KNOWNLINE_WORKERS": str(workers), "OMP_NUM_THREADS": str(threads), **env}
    clear(workspace)
    kills = 0
    for stage in ("generate", "train"):
        began = time.monotonic()
        workspace.knownline(stage, ok=True, **more)  # how long it takes
        took = time.monotonic() - began
        if stage == "train":
            clear(workspace)
        process = subprocess.Popen(
            ["python", "src/knownline", stage],
            cwd=workspace.path,
            env=workspace.env(**more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(dice.uniform(0.2, 1.0) * took)
        except subprocess.TimeoutExpired:
            kills += 1
        while left := workspace.processes(lambda words: True):  # torchrun's have sessions of theirs
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            process.wait()
        workspace.knownline(stage, ok=True, **more)
    return of(workspace), kills


def clear(workspace: Workspace) -> None:
    """Forget what is known of data."""
    shutil.rmtree(workspace.path / "mlruns" / "moments", ignore_errors=True)


def of(workspace: Workspace) -> str:
    """Return the hash of what lies in a workspace: data, moments, history and line."""
    whole = hashlib.sha256()
    for part, patterns in PARTS.items():
        files = sorted(path for p in patterns for path in workspace.path.glob(p) if path.is_file())
        assert files, part
        for path in files:
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
