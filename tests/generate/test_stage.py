"""The stage `generate`, run in a folder of its own: what it writes, and what it refuses."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from knownline.__main__ import main
from support.files import tree
from tests.generate.running import PARAMS, generate, split, write_params

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("folder")


def together() -> pd.DataFrame:
    return pd.concat(split()).sort_values("x", kind="stable", ignore_index=True)


# What is written


def test_the_shipped_params_give_99_points_20_of_them_held_out(capsys: Capture) -> None:
    generate()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("generate: 99 rows, 20 of them held out\n", "")
    train, holdout = split()
    assert (len(train), len(holdout)) == (79, 20)
    whole = together()
    assert whole["x"].to_list() == np.linspace(1.0, 99.0, 99).tolist()
    assert (whole["y"] - (20.0 * whole["x"] + 5.0)).abs().max() < 1.5 * 5


@pytest.mark.parametrize(
    ("rows", "per_thousand"), [(3, 0), (3, 166), (10, 290), (1000, 997), (200_001, 500)]
)
def test_every_row_goes_to_one_side_in_order_and_the_shares_are_exact(
    rows: int, per_thousand: int
) -> None:
    generate(generate__rows=rows, generate__holdout=per_thousand / 1000)
    train, holdout = split()
    assert len(holdout) == (2 * rows * per_thousand + 1000) // 2000  # halves up, in whole numbers
    assert len(train) == rows - len(holdout)
    assert train["x"].is_monotonic_increasing
    assert holdout["x"].is_monotonic_increasing
    assert together()["x"].to_list() == np.linspace(1.0, 99.0, rows).tolist()


def test_the_seal_passes_sha256sum_and_lists_every_file() -> None:
    generate(generate__rows=100_000)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd="data", capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = [line.removesuffix(": OK") for line in done.stdout.splitlines()]
    assert listed == ["holdout/part-00000.parquet", "train/part-00000.parquet"]
    assert sorted(map(str, Path("data").glob("*/*"))) == [f"data/{name}" for name in listed]


def test_outputs_are_the_same_bytes_at_another_time_and_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"generate__rows": 70_000, "generate__x__spacing": "uniform"}
    generate(**params)
    one = tree(folder / "data")
    generate(**params)
    assert tree(folder / "data") == one
    other = folder / "elsewhere" / "deeper"
    other.mkdir(parents=True)
    shutil.copy("dvc.yaml", other)
    monkeypatch.chdir(other)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    generate(**params)
    assert {**tree(other / "data"), "own": None} == one


def test_nothing_of_an_earlier_run_is_left(folder: Path) -> None:
    generate(generate__seed=2)
    fresh = tree(folder / "data")
    generate(generate__seed=1)
    assert tree(folder / "data").keys() == fresh.keys()
    assert Path("data/SHA256SUMS").read_bytes() != fresh["SHA256SUMS"]
    Path("data/train/part-00007.parquet").write_bytes(b"from a larger run")
    Path("data/holdout/notes.txt").write_text("mine")
    generate(generate__seed=2)
    assert tree(folder / "data") == fresh


def test_files_that_dvcs_cache_shares_are_not_written_into() -> None:
    generate()
    Path("cache").mkdir()
    for number, path in enumerate([*Path("data").rglob("*.parquet"), Path("data/SHA256SUMS")]):
        os.link(path, f"cache/{number}")
    before = tree(Path("cache"))
    generate(generate__seed=2)
    assert tree(Path("cache")) == before


def test_the_truth_of_a_table_may_be_unknown(own: Callable[..., str]) -> None:
    generate(truth=None, generate__table=own("x,y\n1,2\n2,3\n4,5\n"), generate__holdout=0)
    assert split()[0].to_numpy().tolist() == [[1.0, 2.0], [2.0, 3.0], [4.0, 5.0]]


def test_a_large_csv_and_the_same_parquet_are_split_into_the_same_bytes_and_no_row_is_lost(
    own: Callable[..., str], folder: Path
) -> None:
    x, y = np.arange(72_000.0), np.random.default_rng(2).standard_normal(72_000)
    columns = {"speed": x, "distance": y}
    written = []
    for table in (own(pd.DataFrame(columns).to_csv(index=False)), own(columns)):
        generate(
            generate__table=table,
            generate__columns={"x": "speed", "y": "distance"},
            generate__holdout=0.25,
        )
        written.append({name: tree(folder)[name] for name in tree(folder) if "part-" in name})
    assert written[0] == written[1]
    train, holdout = split()
    assert (len(train), len(holdout)) == (54_000, 18_000)
    assert together()["x"].to_list() == x.tolist()
    assert together()["y"].to_list() == y.tolist()
    assert train["x"].is_monotonic_increasing
    assert holdout["x"].is_monotonic_increasing


# Memory

PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "knownline", "generate"], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A child begins with the peak of the process that forks it, so a small one must do that."""


@pytest.mark.parametrize("drawn", [True, False])
def test_memory_does_not_grow_with_the_rows(own: Callable[..., str], drawn: bool) -> None:
    few, many = 200_000, 6_000_000 if drawn else 3_000_000
    peaks = []
    for rows in (few, many):
        if drawn:
            write_params(generate__rows=rows)
        else:
            x, y = np.random.default_rng(3).standard_normal((2, rows))  # no codec makes them less
            write_params(generate__table=own({"x": x, "y": y}, row_group_size=few))
        done = subprocess.run([sys.executable, "-Ic", PEAK], stdout=subprocess.PIPE, check=True)
        peaks.append(int(done.stdout) * (1 if sys.platform == "darwin" else 1024))
    x_and_y = (many - few) * 16
    assert peaks[1] - peaks[0] < 0.75 * x_and_y


# Tables that are refused; tests/generate/test_tables.py has every mistake

HEAD = "x,y\n1,2\n2,3\n3,5\n"
LONG_ROW = f"1,2,{'a' * 1000}\n"


def mistakes() -> Iterator[Any]:
    def case(name: str, content: Any, match: str, **params: Any) -> Any:
        return pytest.param(content, params, match, id=name)

    csv = r"data/own/own\.csv "
    yield case("text", HEAD + "4,oops\n", rf"{csv}column y .*\(got oops in row 4, line 5\)")
    far_down = f"x,y,n\n{LONG_ROW * 2000}2,oops,\n"
    yield case("text far down", far_down, rf"{csv}.*\(got oops in row 2001, line 2002\)")
    yield case("an empty file", "", r"generate\.columns\.x must name a column .*which has none.*")
    yield case("a header alone", "x,y\n", rf"{csv}must have 3 rows or more \(got 0\)")
    yield case("two rows", "x,y\n1,2\n2,3\n", rf"{csv}must have 3 rows or more \(got 2\)")
    yield case(
        "one x",
        "x,y\n7,1\n7,2\n7,3\n",
        rf"{csv}column x must hold two different .*\(got 7\.0 only\)",
    )
    yield case(
        "a holdout that leaves two rows",
        "x,y\n1,2\n2,3\n3,4\n4,5\n",
        r"generate\.holdout must leave 3 rows of 4 to train on \(got 0\.5\)",
        generate__holdout=0.5,
    )


@pytest.mark.parametrize("seed_before", [None, 1], ids=["fresh", "with earlier outputs"])
@pytest.mark.parametrize(("content", "params", "match"), list(mistakes()))
def test_a_table_with_a_mistake_is_refused_and_nothing_is_written(
    own: Callable[..., str],
    refused: Callable[..., None],
    seed_before: int | None,
    content: Any,
    params: dict[str, Any],
    match: str,
) -> None:
    if seed_before:
        generate(generate__seed=seed_before)
    write_params(generate__table=own(content), **params)
    refused(match)


@pytest.mark.parametrize("table", ["data/own/none.csv", "data/own/none.parquet", "data/own/f.csv"])
def test_a_table_that_is_no_file_is_refused(refused: Callable[..., None], table: str) -> None:
    Path("data/own/f.csv").mkdir()
    write_params(generate__table=table)
    refused(rf"generate\.table must be a file \(got {re.escape(table)}, which is not one\)")


@pytest.mark.parametrize("drawn", [True, False])
def test_rows_of_which_one_x_is_left_to_train_on_are_refused(
    own: Callable[..., str], refused: Callable[..., None], drawn: bool
) -> None:
    """It depends on the seed: some are accepted and others are refused."""
    if drawn:
        neighbours = {"spacing": "uniform", "low": 1.0, "high": float(np.nextafter(1.0, 2.0))}
        params = {"generate__x": neighbours, "generate__rows": 3, "generate__holdout": 0}
    else:
        params = {"generate__table": own("x,y\n7,1\n7,2\n7,3\n8,4\n"), "generate__holdout": 0.25}
    outcomes = set()
    for seed in range(20):
        write_params(**params, generate__seed=seed)
        if main(["generate"]) == 0:
            assert split()[0]["x"].nunique() == 2
            outcomes.add("accepted")
        else:
            refused(r"generate\.holdout must leave two different x to train on \(got .* only\)")
            outcomes.add("refused")
        if len(outcomes) == 2:
            return
    pytest.fail(f"all seeds are {outcomes}")


# Parameters, arguments and disks that are refused


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            yaml.safe_dump(PARAMS).replace("rows: 99", "rows: 2"),
            r"generate\.rows must be 3 or mor.*",
        ),
        ("a: [", r"params\.yaml must be valid YAML.*"),
        ("# é", r"params\.yaml must be UTF-8.*"),
        (None, r"params\.yaml must be in the current folder.*"),
    ],
    ids=["a value out of range", "no YAML", "Latin-1", "no file"],
)
def test_params_with_a_mistake_are_refused_and_nothing_is_written(
    refused: Callable[..., None], content: str | None, match: str
) -> None:
    generate()
    Path("params.yaml").unlink()
    if content is not None:
        Path("params.yaml").write_text(content, encoding="latin-1")
    refused(match)


def test_an_argument_is_refused(refused: Callable[..., None]) -> None:
    refused("unrecognized arguments: --rows=5.*", "--rows=5")
