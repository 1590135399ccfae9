"""What `generate` keeps of the rows in data/summary.json, against the rows in the files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knownline.core.layout import SUMMARY
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import Compressed
from knownline.core.summary import SAMPLE, Summary, stride
from knownline.model import LINE
from tests.generate.running import generate, small_chunks, split

pytestmark = pytest.mark.usefixtures("folder")


def write_tables(rows: int) -> tuple[str, str]:
    """Write a table as CSV, whose length is not known, and as Parquet, whose length is."""
    x = np.random.default_rng(rows).uniform(1.0, 99.0, rows)
    frame = pd.DataFrame({"x": x, "y": 20.0 * x + 5.0})
    frame.to_csv("data/own/t.csv", index=False, quoting=csv.QUOTE_NONE)
    pq.write_table(pa.table(frame), "data/own/t.parquet", row_group_size=50_000)
    return "data/own/t.csv", "data/own/t.parquet"


@pytest.mark.parametrize("holdout", [0.0, 0.2])
@pytest.mark.parametrize("rows", [17, 2000, 2001, 5001, 140_000])
def test_the_sample_is_every_nth_training_row_whether_or_not_the_length_is_known(
    rows: int, holdout: float
) -> None:
    tables: list[dict[str, Any]] = [{"generate__table": table} for table in write_tables(rows)]
    for params in (*tables, {"generate__rows": rows}):
        generate(generate__holdout=holdout, **params)
        train = split()[0]
        sample = Summary.read(SUMMARY, ("x",)).sample
        every = stride(len(train))
        assert sample.tolist() == train.iloc[::every].to_numpy().T.tolist()
        assert SAMPLE / 2 < sample.shape[1] <= SAMPLE or every == 1


def test_the_sample_is_thinned_over_many_shards() -> None:
    with small_chunks(8, 3, sample=5):
        for rows in (24, 25, 49, 400, 1000):
            for table in write_tables(rows):
                generate(generate__table=table)
                train = split()[0]
                every = next(2**n for n in range(20) if len(train) <= 5 * 2**n)
                expected = train.iloc[::every].to_numpy().T.tolist()
                assert Summary.read(SUMMARY, ("x",)).sample.tolist() == expected


def assert_describes(found: Compressed, rows: pd.DataFrame) -> None:
    """Compare with numpy's long double, from the rows' own centre."""
    x, y = (rows[name].to_numpy().astype(np.longdouble) for name in ("x", "y"))
    u, v = x - x.mean(), y - y.mean()
    assert found.rows == len(rows)
    assert found.mean_terms == pytest.approx([float(x.mean())], rel=1e-15)
    assert found.mean_y == pytest.approx(float(y.mean()), rel=1e-15)
    fitted = LeastSquares(LINE, found)
    assert fitted.sds[0] ** 2 == pytest.approx(float((u * u).mean()), rel=1e-13)
    assert found.var_y == pytest.approx(float((v * v).mean()), rel=1e-12)
    w = float((u * v).sum() / (u * u).sum())
    line = fitted.solution
    assert line["w"] == pytest.approx(w, rel=1e-13)
    residual = v - (u * v).sum() / (u * u).sum() * u
    noise, size = float((residual**2).mean()), float(np.abs(y).max())
    # A residual is what is left of y, and so has its last digits.
    digits = 1e-12 + 8 * 2.0**-52 * size / noise**0.5
    assert fitted.mean_squared_error(line) == pytest.approx(noise, rel=digits)


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("scale", [1.5, 1e-6])
@pytest.mark.parametrize("small", [True, False], ids=["many shards", "one shard"])
def test_the_moments_are_those_of_the_rows_in_the_files(
    offset: float, scale: float, small: bool
) -> None:
    params: dict[str, Any] = {
        "generate__x": {"spacing": "uniform", "low": offset + 1.0, "high": offset + 99.0},
        "generate__noise": {"kind": "normal", "scale": scale},
    }
    if small:
        with small_chunks(64, 3):
            generate(generate__rows=2_000, **params)
        assert len(list(Path("data/train").iterdir())) == 9
    else:
        generate(generate__rows=200_000, **params)
    whole = Summary.read(SUMMARY, ("x",))
    train, holdout = split()
    assert whole.holdout is not None
    assert_describes(whole.train, train)
    assert_describes(whole.holdout, holdout)
    assert_describes(whole.all_rows, pd.concat([train, holdout]))


def test_without_a_holdout_there_is_none_in_the_summary() -> None:
    generate(generate__holdout=0)
    assert Summary.read(SUMMARY, ("x",)).holdout is None
