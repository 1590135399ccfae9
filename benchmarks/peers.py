"""One side of a comparison, in a process of its own: `python -m benchmarks.peers SIDE FOLDER`.

Prints JSON: seconds of each repetition, the most memory the process held (bytes), and the line that
was found, where one is. A side is called once before the clock runs, where that is not too long:
the files are in the system's cache then, and whatever is compiled or started is.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Array = npt.NDArray[np.float64]
Found = tuple[float, float] | None

LONG = 20.0
"""Seconds after which a side is not repeated."""

EPOCHS = 100


def bare_read(folder: Path) -> Found:
    """Read every byte of the columns with pyarrow, a file at a time, and do nothing with them."""
    for path in _files(folder):
        pq.read_table(path)
    return None


def one_pass(folder: Path) -> Found:
    """Our pass: rows read, moments and sample taken; the files were hashed once before."""
    from knownline.scan import dataset

    os.chdir(folder.parent.parent)
    known = dataset.summarize(Path("data/train"), reread=True)
    assert known is not None
    line = known.rows.least_squares()
    return line.w, line.b


def first_pass(folder: Path) -> Found:
    """The same where nothing is known of the files: each is hashed as well."""
    shutil.rmtree(folder.parent.parent / "mlruns" / "moments", ignore_errors=True)
    return one_pass(folder)


def duckdb(folder: Path) -> Found:
    """DuckDB's regr_slope and regr_intercept on the same files, its own number of threads."""
    sql = f"select regr_slope(y, x), regr_intercept(y, x) from read_parquet('{folder}/*.parquet')"
    w, b = importlib.import_module("duckdb").sql(sql).fetchall()[0]
    return w, b


def polars(folder: Path) -> Found:
    """Polars, streaming: covariance over variance."""
    pl: Any = importlib.import_module("polars")
    x, y = pl.col("x"), pl.col("y")
    rows = pl.scan_parquet(f"{folder}/*.parquet").select(
        w=pl.cov(x, y, ddof=0) / x.var(ddof=0), x=x.mean(), y=y.mean()
    )
    w, mean_x, mean_y = rows.collect(engine="streaming").row(0)
    return w, mean_y - w * mean_x


def scikit_learn(folder: Path) -> Found:
    """scikit-learn's LinearRegression, the reading of the files included."""
    from sklearn.linear_model import LinearRegression

    x, y = _columns(folder)
    found = LinearRegression().fit(x[:, None], y)
    return float(found.coef_[0]), float(found.intercept_)


def our_epochs(folder: Path) -> Found:
    """A thousand epochs of ours after the pass, which is kept."""
    import torch

    from knownline.scan import dataset
    from knownline.train import descent

    os.chdir(folder.parent.parent)
    known = dataset.summarize(Path("data/train"))
    assert known is not None
    scaling = descent.Scaling(known.rows.mean_x, known.rows.sd_x)
    began = time.perf_counter()
    fitted = descent.fit(
        *known.rows.three_points(standardize=True),
        epochs=10 * EPOCHS, learning_rate=0.25, dtype="float64",
        device=torch.device("cpu"), scaling=scaling,
    )  # fmt: skip
    _own_clock.append(time.perf_counter() - began)
    return fitted.line.w, fitted.line.b


def our_stage(folder: Path) -> Found:
    """Our whole stage `train`, 100 epochs, in a process of its own, right after `generate`.

    No pass is kept; how the files look that `generate` hashed is.
    """
    root = folder.parent.parent
    for kept in (root / "mlruns" / "moments").glob("*"):
        if kept.is_file():
            kept.unlink()
    began = time.perf_counter()
    subprocess.run([sys.executable, "src/knownline", "train"], cwd=root, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    _own_clock.append(time.perf_counter() - began)
    line = json.loads((root / "models" / "line.json").read_text())
    return float(line["w"]), float(line["b"])


def first_stage(folder: Path) -> Found:
    """The same where nothing is known of the files: each is hashed as well."""
    shutil.rmtree(folder.parent.parent / "mlruns" / "moments", ignore_errors=True)
    return our_stage(folder)


def article(folder: Path) -> Found:
    """The article's loop, 100 epochs over all rows in memory (float32), the reading left out."""
    import torch

    x, y = (torch.as_tensor(column, dtype=torch.float32) for column in _columns(folder))
    w: Any = torch.tensor(0.0, requires_grad=True)
    b: Any = torch.tensor(0.0, requires_grad=True)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        loss: Any = torch.mean((y - (w * x + b)) ** 2)
        loss.backward()
        with torch.no_grad():
            w -= 1e-5 * w.grad
            b -= 1e-5 * b.grad
        w.grad.zero_()
        b.grad.zero_()
    _own_clock.append(time.perf_counter() - began)
    return None


def our_drawing(folder: Path) -> Found:
    """Our stage `generate` without its start: drawn, split, written, synced, hashed."""
    from knownline.generate import stage

    with tempfile.TemporaryDirectory(dir=folder.parent.parent) as name:
        root = Path(name)
        for needed in ("params.yaml", "dvc.yaml", "src"):
            (root / needed).symlink_to((folder.parent.parent / needed).resolve())
        (root / "data").mkdir()
        os.chdir(root)
        began = time.perf_counter()
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            stage.main()
        _own_clock.append(time.perf_counter() - began)
        os.chdir(folder.parent.parent)
    return None


def plain_drawing(folder: Path) -> Found:
    """Numpy's draws and pyarrow's writing in one thread, nothing checked, synced or hashed."""
    rows = sum(pq.read_metadata(path).num_rows for path in _files(folder))
    draws, group, number = np.random.default_rng(7), 1 << 16, 0
    with tempfile.TemporaryDirectory(dir=folder.parent.parent) as name:
        began = time.perf_counter()
        schema = pa.schema([pa.field("x", pa.float64()), pa.field("y", pa.float64())])
        with pq.ParquetWriter(Path(name) / "plain.parquet", schema, compression="none",
                              use_dictionary=False, write_statistics=False) as writer:  # fmt: skip
            while number < rows:
                count = min(group, rows - number)
                x = 1.0 + 98.0 / rows * np.arange(number, number + count)
                y = 20.0 * x + 5.0 + 1.5 * draws.standard_normal(count)
                writer.write_table(pa.table([x, y], schema=schema))
                number += count
        _own_clock.append(time.perf_counter() - began)
    return None


SIDES: dict[str, Callable[[Path], Found]] = {
    side.__name__: side
    for side in (bare_read, one_pass, first_pass, duckdb, polars, scikit_learn, our_epochs,
                 our_stage, first_stage, article, our_drawing, plain_drawing)
}  # fmt: skip

_own_clock: list[float] = []
"""Seconds of the repetitions of a side whose preparation does not count."""


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _columns(folder: Path) -> tuple[Array, Array]:
    """Return x and y of all rows, each (rows,), filled file by file."""
    paths = _files(folder)
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    x, y, start = np.empty(rows), np.empty(rows), 0
    for path in paths:
        table = pq.read_table(path)
        stop = start + len(table)
        x[start:stop], y[start:stop] = table["x"].to_numpy(), table["y"].to_numpy()
        start = stop
    return x, y


def main() -> None:
    """Time one side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("folder", type=Path, help="of Parquet files, data/train of a workspace")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    side, folder = SIDES[given.side], given.folder.resolve()
    sys.path.insert(0, str(folder.parent.parent / "src"))
    took: list[float] = []
    found: Found = None
    for repetition in range(given.times + 1):
        _own_clock.clear()
        began = time.perf_counter()
        found = side(folder)
        seconds = _own_clock[0] if _own_clock else time.perf_counter() - began
        if repetition == 0 and time.perf_counter() - began < LONG:
            continue  # this one warmed everything up
        took.append(seconds)
        if sum(took) > 3 * LONG:
            break
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({"seconds": took, "peak": peak * 1024, "line": found}))


if __name__ == "__main__":
    main()
