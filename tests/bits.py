"""One hash of all that the pipeline makes, for the tests that hold it to be the same everywhere."""

import hashlib
import random
import subprocess
import time

import numpy as np

from tests.conftest import Workspace

ROWS = 21_000_000
"""Five shards, of which the last is small: enough for every number of threads to differ."""

ROWS_ONE_BY_ONE = 1_500_000
"""Eighteen chunks and a part of one: what fits into memory where nothing is compressed."""

PARTS = {
    "data": ("data/train/*.parquet", "data/holdout/*.parquet", "data/SHA256SUMS"),
    "summary": ("data/summary.json",),
    "history": ("reports/history.csv",),
    "model": ("models/model.json",),
}


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


def configure(workspace: Workspace, *, compress: bool = True, rows: int | None = None) -> None:
    """Make a checkout draw so many rows; by default enough for several shards, or for memory."""
    rows = rows or (ROWS if compress else ROWS_ONE_BY_ONE)
    workspace.replace("params.yaml", "rows: 99", f"rows: {rows}")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 20")
    if not compress:
        workspace.replace("params.yaml", "compress: true", "compress: false")


def made(workspace: Workspace, *, threads: int, **env: str) -> str:
    """Draw and fit; return the hash of what was made."""
    for stage in ("generate", "train"):
        workspace.knownline(stage, ok=True, OMP_NUM_THREADS=str(threads), **env)
    return of(workspace)


def made_after_kills(
    workspace: Workspace, dice: random.Random, *, threads: int, **env: str
) -> tuple[str, int]:
    """Draw and fit, each killed at its start, middle or end, and done again after.

    Returns the hash of what was made, and how many kills found something to kill.
    """
    more = {"OMP_NUM_THREADS": str(threads), **env}
    kills = 0
    for stage in ("generate", "train"):
        began = time.monotonic()
        workspace.knownline(stage, ok=True, **more)  # how long it takes
        took = time.monotonic() - began
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
            process.kill()
            process.wait()
        workspace.knownline(stage, ok=True, **more)
    return of(workspace), kills


def of(workspace: Workspace) -> str:
    """Return the hash of what lies in a workspace: data, their summary, history and model."""
    whole = hashlib.sha256()
    for part, patterns in PARTS.items():
        files = sorted(path for p in patterns for path in workspace.path.glob(p) if path.is_file())
        assert files, part
        for path in files:
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
