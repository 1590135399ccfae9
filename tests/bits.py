"""One hash of all that the pipeline makes, for the tests that hold it to be the same everywhere."""

import hashlib
import shutil

import numpy as np

from tests.conftest import Workspace

ROWS = 1_500_000
"""Eighteen chunks and a part of one, in several spans: enough for workers to share."""

PARTS = {
    "data": ("data/train/*.parquet", "data/holdout/*.parquet"),
    "moments": ("mlruns/moments/?*",),
    "history": ("reports/history.csv",),
    "line": ("models/line.json",),
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


def configure(workspace: Workspace, *, compress: bool = True, rows: int = ROWS) -> None:
    """Make a checkout draw so many rows."""
    workspace.replace("params.yaml", "rows: 99", f"rows: {rows}")
    workspace.replace("params.yaml", "epochs: 100", "epochs: 20")
    if not compress:
        workspace.replace("params.yaml", "compress: true", "compress: false")


def made(workspace: Workspace, *, workers: int, threads: int, **env: str) -> str:
    """Draw and fit, nothing kept of before; return the hash of what was made."""
    shutil.rmtree(workspace.path / "mlruns/moments", ignore_errors=True)
    more = {"KNOWNLINE_WORKERS": str(workers), "OMP_NUM_THREADS": str(threads), **env}
    for stage in ("generate", "train"):
        workspace.knownline(stage, ok=True, **more)
    return of(workspace)


def of(workspace: Workspace) -> str:
    """Return the hash of what lies in a workspace: data, moments, history and line."""
    whole = hashlib.sha256()
    for part, patterns in PARTS.items():
        files = sorted(path for p in patterns for path in workspace.path.glob(p) if path.is_file())
        assert files, part
        for path in files:
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
