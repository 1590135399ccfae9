"""One side of a comparison, in its own process: `python -m benchmarks.sides SIDE ARGUMENT…`.

Prints an answer as JSON: the fitted parameters, the SHA-256 of files, or seconds by its own clock
if the start of the process does not count.
"""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Array = npt.NDArray[np.float64]

GROUP = 1 << 16
FILE = 64 * GROUP
TABLE_GROUP = 1 << 20

FIELDS = [pa.field(name, pa.float64(), nullable=False) for name in ("x", "y")]
SCHEMA = pa.schema(FIELDS)
PLAIN = {"compression": "none", "use_dictionary": False, "write_statistics": False,
         "store_schema": False}  # fmt: skip
"""The settings of knownline's own Parquet: with the same rows, the files have the same bytes."""

DEFAULTS: dict[str, Any] = {}
"""Those of pyarrow: dictionaries where they help, Snappy, statistics."""


def draw(folder: str, rows: str, *, philox: bool = True, settings: dict[str, Any] = PLAIN) -> Any:
    """Draw the rows of params.yaml in numpy, write them as Parquet, hash the files: one thread.

    philox: with the keys that knownline uses, so that the rows are the same to the bit;
    otherwise by numpy's default, PCG64, which is faster.
    """
    count, sums = int(rows), []
    step, default = 98.0 / (count - 1), np.random.default_rng(20200910)
    for first in range(0, count, FILE):
        path = Path(folder) / f"part-{first // FILE:05d}.parquet"
        with pq.ParquetWriter(path, SCHEMA, **settings) as writer:
            for start in range(first, min(first + FILE, count), GROUP):
                stop = min(start + GROUP, count)
                key = np.array([20200910, (2 << 48) | start // GROUP], dtype=np.uint64)
                random = np.random.Generator(np.random.Philox(key=key)) if philox else default
                x = np.arange(start, stop) * step + 1.0
                if stop == count:
                    x[-1] = 99.0
                y = x * 20.0 + 5.0 + random.standard_normal(stop - start) * 1.5
                writer.write_table(pa.table([x, y], schema=SCHEMA))
        sums.append(_sha256(path))
    return {"sums": sums}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def table(path: str, rows: str) -> Any:
    """Write a user's table: the same x, noise by PCG64, with pyarrow's defaults."""
    count, random = int(rows), np.random.default_rng(7)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, count, TABLE_GROUP):
            stop = min(start + TABLE_GROUP, count)
            x = 1.0 + 98.0 / (count - 1) * np.arange(start, stop)
            y = 20.0 * x + 5.0 + 1.5 * random.standard_normal(stop - start)
            writer.write_table(pa.table([x, y], schema=SCHEMA))
    return {}


def plane_table(path: str, rows: str, inputs: str) -> Any:
    """Write such a table with inputs x0, x1, …, all uniform from 1 to 99, and y."""
    count, random, slopes = int(rows), np.random.default_rng(7), np.arange(1.0, int(inputs) + 1)
    names = [*(f"x{index}" for index in range(len(slopes))), "y"]
    schema = pa.schema([pa.field(name, pa.float64(), nullable=False) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, TABLE_GROUP):
            size = min(TABLE_GROUP, count - start)
            columns = random.uniform(1.0, 99.0, (len(slopes), size))
            y = slopes @ columns + 5.0 + 1.5 * random.standard_normal(size)
            writer.write_table(pa.table([*columns, y], schema=schema))
    return {}


def rewrite(
    folder: str, path: str, *, settings: dict[str, Any] = PLAIN, hashed: bool = False
) -> Any:
    """Read a Parquet table and write it again by pyarrow, batch by batch: one thread.

    hashed: take the SHA-256 of the copy too.
    """
    copy = Path(folder) / "copy.parquet"
    with (
        pq.ParquetFile(path, pre_buffer=False) as file,
        pq.ParquetWriter(copy, file.schema_arrow, **settings) as writer,
    ):
        for batch in file.iter_batches(GROUP, use_threads=False):
            writer.write_batch(batch)
    return {"sums": [_sha256(copy)] if hashed else []}


def generate(workspace: str) -> Any:
    """Our stage `generate` without the start of its process."""
    from knownline.generate import stage

    os.chdir(workspace)
    for old in ("data/train", "data/holdout"):  # DVC removes a stage's outputs before it runs
        shutil.rmtree(old, ignore_errors=True)
    began = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        stage.main()
    return {"seconds": time.perf_counter() - began}


def epochs() -> Any:
    """A thousand epochs on three points, without the start of the process."""
    import torch

    from knownline.model import LINE
    from knownline.train import descent

    x, y = np.array([0.0, -1.5, 1.5]), np.array([1.0, 2.0, 3.0])
    began = time.perf_counter()
    cpu = torch.device("cpu")
    descent.fit([x], y, kind=LINE, epochs=1000, learning_rate=0.2, dtype="float64", device=cpu)
    return {"seconds": time.perf_counter() - began}


def duckdb(path: str) -> Any:
    """DuckDB's regr_slope and regr_intercept, its own number of threads."""
    sql = f"select regr_slope(y, x), regr_intercept(y, x) from read_parquet('{path}')"
    return {"parameters": importlib.import_module("duckdb").sql(sql).fetchall()[0]}


def polars(path: str) -> Any:
    """Polars, streaming, its own number of threads: covariance over variance."""
    pl: Any = importlib.import_module("polars")
    x, y = pl.col("x"), pl.col("y")
    rows = pl.scan_parquet(path).select(
        w=pl.cov(x, y, ddof=0) / x.var(ddof=0), x=x.mean(), y=y.mean()
    )
    w, mean_x, mean_y = rows.collect(engine="streaming").row(0)
    return {"parameters": (w, mean_y - w * mean_x)}


def scikit_learn(path: str) -> Any:
    """scikit-learn's LinearRegression on all rows in memory."""
    from sklearn.linear_model import LinearRegression

    x, y = pq.read_table(path)
    fit = LinearRegression().fit(x.to_numpy()[:, None], y.to_numpy())
    return {"parameters": (float(fit.coef_[0]), float(fit.intercept_))}


def plane_scikit_learn(path: str) -> Any:
    """The same with any number of inputs, with the fastest settings: by pandas, without a copy."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    rows = pd.read_parquet(path)
    fit = LinearRegression(copy_X=False).fit(rows.drop(columns="y"), rows["y"])
    return {"parameters": [*fit.coef_.tolist(), float(fit.intercept_)]}


def plane_statsmodels(path: str) -> Any:
    """OLS of statsmodels by a QR decomposition, which is faster than its default, an inverse."""
    import pandas as pd
    import statsmodels.api as sm

    rows = pd.read_parquet(path)
    design = sm.add_constant(rows.drop(columns="y"), prepend=False)
    return {"parameters": sm.OLS(rows["y"], design).fit(method="qr").params.tolist()}


def plane_duckdb(path: str) -> Any:
    """DuckDB's sums of products; covar_pop and the more exact fsum take several times as long."""
    pairs = combinations_with_replacement([*_inputs(path), "1", "y"], 2)
    sql = f"select {', '.join(f'sum({a} * {b})' for a, b in pairs)} from read_parquet('{path}')"
    return {"parameters": _solution(importlib.import_module("duckdb").sql(sql).fetchall()[0])}


def plane_polars(path: str) -> Any:
    """Polars' sums of products, streaming."""
    pl: Any = importlib.import_module("polars")
    pairs = combinations_with_replacement([*_inputs(path), "1", "y"], 2)
    sums = [(pl.col(a) * pl.col(b)).sum().alias(f"{a} {b}") for a, b in pairs]
    rows = pl.scan_parquet(path).with_columns(pl.lit(1.0).alias("1"))
    return {"parameters": _solution(rows.select(sums).collect(engine="streaming").row(0))}


def _inputs(path: str) -> list[str]:
    return [name for name in pq.read_schema(path).names if name != "y"]


def _solution(products: Sequence[float]) -> list[float]:
    """Return the parameters, given the sum of products of each pair of the inputs, 1 and y."""
    size = int((2 * len(products)) ** 0.5)  # of size (size + 1) / 2 pairs
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = products
    matrix += np.triu(matrix, 1).T
    solution: list[float] = np.linalg.solve(matrix[:-1, :-1], matrix[:-1, -1]).tolist()
    return solution


def article(path: str) -> Any:
    """The article's loop, 100 epochs over all rows in memory (float32); it does not converge."""
    import torch

    columns = pq.read_table(path)
    x, y = (torch.tensor(column.to_numpy(), dtype=torch.float32) for column in columns)
    w: Any = torch.tensor(0.0, requires_grad=True)
    b: Any = torch.tensor(0.0, requires_grad=True)
    for _ in range(100):
        loss: Any = torch.mean((y - (w * x + b)) ** 2)
        loss.backward()
        with torch.no_grad():
            w -= 1e-5 * w.grad
            b -= 1e-5 * b.grad
        w.grad.zero_()
        b.grad.zero_()
    return {}


SIDES = {
    **{f.__name__: f for f in (draw, table, rewrite, generate, epochs)},
    **{f.__name__: f for f in (duckdb, polars, scikit_learn, article)},
    **{f.__name__: f for f in (plane_table, plane_scikit_learn, plane_statsmodels)},
    **{f.__name__: f for f in (plane_duckdb, plane_polars)},
    "draw_pcg64": partial(draw, philox=False),
    "draw_defaults": partial(draw, settings=DEFAULTS),
    "rewrite_defaults": partial(rewrite, settings=DEFAULTS),
    "rewrite_hashed": partial(rewrite, hashed=True),
}

if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](*sys.argv[2:])))
