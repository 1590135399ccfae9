import copy
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from knownline.__main__ import main
from knownline.generate import tables
from knownline.scan import dataset
from samerun.core import files

Array = npt.NDArray[np.float64]
Capture = pytest.CaptureFixture[str]

ROOT = Path(__file__).resolve().parents[2]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
OUTPUTS = ("data/train", "data/holdout", "data/SHA256SUMS")

NO_CODE = "stages: {generate: {deps: []}}\n"
"""A dvc.yaml for a folder in which the stage runs without the code beside it."""


def write_params(**values: Any) -> None:
    """Write params.yaml; `generate__x__low=1.0` sets generate.x.low."""
    mapping = copy.deepcopy(PARAMS)
    for name, value in values.items():
        *sections, key = name.split("__")
        place = mapping
        for section in sections:
            place = place[section]
        place[key] = value
    Path("params.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def split() -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_parquet("data/train"), pd.read_parquet("data/holdout")


def together() -> pd.DataFrame:
    return pd.concat(split()).sort_values("x", kind="stable", ignore_index=True)


def nearest(rows: int, per_thousand: int) -> int:
    return (2 * rows * per_thousand + 1000) // 2000  # halves up, in whole numbers


def refusal(capsys: Capture, *arguments: str) -> str:
    """Run the stage, which must refuse on one line, and return what comes after the prefix."""
    capsys.readouterr()
    assert main(["generate", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\n")
    assert len(said.err.splitlines()) == 1
    prefix = "knownline: error: "
    assert said.err.startswith(prefix)
    return said.err.removeprefix(prefix).rstrip("\n")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DVC_STAGE", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(NO_CODE)
    Path("data/own").mkdir(parents=True)
    write_params()
    return tmp_path


@pytest.fixture(params=["fresh", "with outputs from before"])
def before(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A workspace in which nothing may change, with and without what an earlier run left."""
    if request.param != "fresh":
        write_params(generate__seed=1)
        assert main(["generate"]) == 0
    return folder


@pytest.fixture
def own(folder: Path) -> Callable[..., str]:
    """Return what writes data/own/own.csv or .parquet and names it."""

    def write(content: bytes | str | dict[str, Any], **options: Any) -> str:
        if isinstance(content, dict):
            table = "data/own/own.parquet"
            pq.write_table(pa.table(content), table, **options)
        else:
            table = "data/own/own.csv"
            (folder / table).write_bytes(content.encode() if isinstance(content, str) else content)
        return table

    return write


# Points that are drawn


def test_the_shipped_params_give_99_points_20_of_them_held_out(capsys: Capture) -> None:
    assert main(["generate"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("generate: 99 rows, 20 of them held out\n", "")
    train, holdout = split()
    assert (len(train), len(holdout)) == (79, 20)
    whole = together()
    assert whole["x"].to_list() == np.linspace(1.0, 99.0, 99).tolist()
    assert (whole["y"] - (20.0 * whole["x"] + 5.0)).abs().max() < 1.5 * 5


@pytest.mark.parametrize(
    ("rows", "per_thousand"),
    [(3, 0), (3, 166), (10, 290), (99, 333), (1000, 997), (131_072, 1), (200_001, 500)],
)
def test_every_row_goes_to_one_side_in_order_and_the_shares_are_exact(
    rows: int, per_thousand: int
) -> None:
    write_params(generate__rows=rows, generate__holdout=per_thousand / 1000)
    assert main(["generate"]) == 0
    train, holdout = split()
    assert len(holdout) == nearest(rows, per_thousand)
    assert len(train) == rows - len(holdout)
    assert train["x"].is_monotonic_increasing
    assert holdout["x"].is_monotonic_increasing
    assert together()["x"].to_list() == np.linspace(1.0, 99.0, rows).tolist()


def test_the_seal_passes_sha256sum_and_lists_every_file() -> None:
    write_params(generate__rows=100_000)
    assert main(["generate"]) == 0
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd="data",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = [line.removesuffix(": OK") for line in done.stdout.splitlines()]
    data = Path("data")
    written = [path for name in ("train", "holdout") for path in (data / name).iterdir()]
    assert sorted(listed) == sorted(path.relative_to(data).as_posix() for path in written)


def test_outputs_are_the_same_bytes_at_another_time_and_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(generate__rows=70_000, generate__x__spacing="uniform")
    params = Path("params.yaml").read_text()
    assert main(["generate"]) == 0
    one = tree(folder / "data")
    assert main(["generate"]) == 0
    assert tree(folder / "data") == one
    other = folder / "elsewhere" / "deeper"
    other.mkdir(parents=True)
    monkeypatch.chdir(other)
    Path("dvc.yaml").write_text(NO_CODE)
    Path("params.yaml").write_text(params)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert main(["generate"]) == 0
    assert {**tree(other / "data"), "own": None} == one


def test_another_seed_gives_other_bytes() -> None:
    seals = []
    for seed in (1, 2):
        write_params(generate__seed=seed)
        assert main(["generate"]) == 0
        seals.append(Path("data/SHA256SUMS").read_bytes())
    assert seals[0] != seals[1]


def test_nothing_of_an_earlier_run_is_left(folder: Path) -> None:
    assert main(["generate"]) == 0
    once = tree(folder / "data")
    Path("data/train/part-00007.parquet").write_bytes(b"from a larger run")
    Path("data/holdout/notes.txt").write_text("mine")
    assert main(["generate"]) == 0
    assert tree(folder / "data") == once


def test_files_that_dvcs_cache_shares_are_not_written_into() -> None:
    assert main(["generate"]) == 0
    Path("cache").mkdir()
    for number, name in enumerate(sorted(Path("data").rglob("*.parquet"))):
        os.link(name, f"cache/{number}")
    os.link("data/SHA256SUMS", "cache/sums")
    shared = tree(Path("cache"))
    write_params(generate__seed=2)
    assert main(["generate"]) == 0
    assert tree(Path("cache")) == shared


def test_the_answer_of_a_table_may_be_unknown(own: Callable[..., str]) -> None:
    write_params(truth=None, generate__table=own("x,y\n1,2\n2,3\n4,5\n"), generate__holdout=0)
    assert main(["generate"]) == 0
    assert split()[0].to_numpy().tolist() == [[1.0, 2.0], [2.0, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_many_rows_is_split_without_a_row_lost_or_changed(
    own: Callable[..., str], suffix: str
) -> None:
    x = np.arange(150_000.0)
    y = np.random.default_rng(1).standard_normal(len(x))
    frame = pd.DataFrame({"speed": x, "distance": y})
    table = own(frame.to_csv(index=False) if suffix == "csv" else {"speed": x, "distance": y})
    columns = {"x": "speed", "y": "distance"}
    write_params(generate__table=table, generate__columns=columns, generate__holdout=0.25)
    assert main(["generate"]) == 0
    train, holdout = split()
    assert (len(train), len(holdout)) == (112_500, 37_500)
    assert together()["x"].to_list() == x.tolist()
    assert together()["y"].to_list() == y.tolist()
    assert train["x"].is_monotonic_increasing
    assert holdout["x"].is_monotonic_increasing


def test_csv_and_parquet_of_the_same_numbers_give_the_same_bytes(
    own: Callable[..., str], folder: Path
) -> None:
    x, y = np.random.default_rng(2).standard_normal((2, 70_000))
    written = []
    for table in (
        own(pd.DataFrame({"x": x, "y": y}).to_csv(index=False)),
        own({"x": x, "y": y}),
    ):
        write_params(generate__table=table)
        assert main(["generate"]) == 0
        written.append({name: tree(folder)[name] for name in tree(folder) if "part-" in name})
    assert written[0] == written[1]


# Tables that are refused

HEAD = "x,y\n1,2\n2,3\n3,5\n"


def mistakes() -> Iterator[Any]:
    def case(name: str, content: Any, match: str, **params: Any) -> Any:
        return pytest.param(content, params, match, id=name)

    csv, place = r"^data/own/own\.csv ", r"in row 4, line 5\)$"
    yield case("text", HEAD + "4,oops\n", rf"{csv}column y must hold .*\(got oops {place}")
    yield case("an empty field", HEAD + "4,\n", rf"{csv}column y must hold .*\(got nothing {place}")
    yield case("nan", HEAD + "nan,4\n", rf"{csv}column x must hold .*\(got nan {place}")
    yield case("inf", HEAD + "4,inf\n", rf"{csv}column y must hold .*\(got inf {place}")
    yield case("a short row", HEAD + "4\n", rf"{csv}must be a readable table")
    yield case("a long row", HEAD + "4,5,6\n", rf"{csv}must be a readable table")
    yield case("an empty file", "", r"^generate\.columns\.x must name a column .*which has none")
    yield case("a header alone", "x,y\n", rf"{csv}must have 3 rows or more \(got 0\)$")
    yield case("two rows", "x,y\n1,2\n2,3\n", rf"{csv}must have 3 rows or more \(got 2\)$")
    yield case(
        "a missing column",
        "a,b\n1,2\n",
        r"^generate\.columns\.x must name a column of data/own/own\.csv, which has a, b \(got x\)$",
    )
    yield case("a column twice", "x,y,y\n1,2,3\n", r"^generate\.columns\.y must name only one")
    yield case("Latin-1", "x,y,é\n1,2,3\n".encode("latin-1"), rf"{csv}must be UTF-8 \(got .*0xe9")
    yield case("UTF-16", HEAD.encode("utf-16"), rf"{csv}must be UTF-8")
    yield case("binary", bytes(range(256)) * 8, r"data/own/own\.csv")
    yield case(
        "one x", "x,y\n7,1\n7,2\n7,3\n7,4\n", rf"{csv}column x must hold two different .*\(got 7\.0"
    )
    yield case(
        "far down", "x,y\n" + "1,2\n" * 69_999 + "2,oops\n", r"got oops in row 70000, line 70001\)$"
    )
    yield case(
        "a holdout that leaves two rows",
        "x,y\n1,2\n2,3\n3,4\n4,5\n",
        r"^generate\.holdout must leave 3 rows of 4 to train on \(got 0\.5\)$",
        generate__holdout=0.5,
    )
    yield case(
        "a null", {"x": [1, 2, None, 4], "y": [1, 2, 3, 4]}, r"column x .*\(got nothing in row 3\)$"
    )
    yield case(
        "a Parquet nan", {"x": [1.0, 2, 3], "y": [1, 2, np.nan]}, r"y .*\(got nan in row 3\)$"
    )
    yield case(
        "true and false", {"x": [1, 2, 3], "y": [True, False, True]}, r"y must hold numbers .*bool"
    )
    stamps = pa.array([1, 2, 3], pa.timestamp("ms"))
    yield case("time stamps", {"x": stamps, "y": [1, 2, 3]}, r"x must hold numbers \(got timestamp")
    yield case("another Parquet", {"a": [1, 2, 3]}, r"which has a \(got x\)$")
    yield case("no Parquet rows", {"x": pa.array([], pa.float64()), "y": pa.nulls(0)}, r"own\.parq")


@pytest.mark.parametrize(("content", "params", "match"), list(mistakes()))
def test_a_table_with_a_mistake_is_refused_and_nothing_is_written(
    own: Callable[..., str],
    before: Path,
    capsys: Capture,
    content: Any,
    params: dict[str, Any],
    match: str,
) -> None:
    write_params(generate__table=own(content), **params)
    whole = tree(before)
    assert re.search(match, refusal(capsys))
    assert tree(before) == whole


@pytest.mark.parametrize("table", ["data/own/none.csv", "data/own/none.parquet", "data/own/f.csv"])
def test_a_table_that_is_no_file_is_refused_and_nothing_is_written(
    before: Path, capsys: Capture, table: str
) -> None:
    Path("data/own/f.csv").mkdir()
    write_params(generate__table=table)
    whole = tree(before)
    assert re.search(
        rf"^generate\.table must be a file \(got {re.escape(table)}, which is none\)$",
        refusal(capsys),
    )
    assert tree(before) == whole


def test_a_damaged_parquet_is_refused_and_nothing_is_written(
    own: Callable[..., str], before: Path, capsys: Capture
) -> None:
    table = own({"x": [1.0, 2.0, 3.0], "y": [3.0, 4.0, 5.0]})
    content = bytearray(Path(table).read_bytes())
    content[4] ^= 1  # the first page's header
    Path(table).write_bytes(content)
    write_params(generate__table=table)
    whole = tree(before)
    assert re.search(r"^data/own/own\.parquet must be a readable table", refusal(capsys))
    assert tree(before) == whole


def test_a_holdout_that_leaves_one_x_is_refused_and_nothing_is_written(
    own: Callable[..., str], before: Path, capsys: Capture
) -> None:
    refused = 0
    for seed in range(12):
        write_params(
            generate__table=own("x,y\n7,1\n7,2\n7,3\n8,4\n"),
            generate__holdout=0.25,
            generate__seed=seed,
        )
        whole = tree(before)
        capsys.readouterr()
        if main(["generate"]) == 0:
            assert 8.0 in split()[0]["x"].to_list()
            continue
        refused += 1
        assert re.fullmatch(
            r"knownline: error: generate\.holdout must leave two different x to train on"
            r" \(got 0\.25, which leaves x = 7\.0 only\)\n",
            capsys.readouterr().err,
        )
        assert tree(before) == whole
    assert 0 < refused < 12


@pytest.mark.parametrize("grown_by", [1, 100_000])
@pytest.mark.parametrize("per_thousand", [0, 200])
def test_a_table_that_grows_while_it_is_read_is_refused_and_nothing_is_written(
    own: Callable[..., str],
    before: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    grown_by: int,
    per_thousand: int,
) -> None:
    table = own(HEAD + "4,4\n5,5\n")
    write_params(generate__table=table, generate__holdout=per_thousand / 1000)
    whole = tree(before)
    chunks, readings = tables.Table.chunks, []

    def grow(self: tables.Table) -> Iterator[tuple[Array, Array]]:
        readings.append(self)
        if len(readings) == 2:
            with Path(table).open("a") as stream:
                stream.write("6,6\n" * grown_by)
        return chunks(self)

    monkeypatch.setattr(tables.Table, "chunks", grow)
    assert re.search(
        r"^data/own/own\.csv must not change while it is read \(got \d+ rows\)$", refusal(capsys)
    )
    after = tree(before)
    assert {name: after[name] for name in after if name != table} == {
        name: whole[name] for name in whole if name != table
    }


# Parameters and arguments that are refused


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"^params\.yaml must be a mapping"),
        ("a: [", r"^params\.yaml must be valid YAML"),
        ("a: 1\n", r"^truth must be given|^a is not"),
        (yaml.safe_dump(PARAMS | {"truth": None}), r"^truth must be given .*\(got null\)$"),
        (
            yaml.safe_dump(PARAMS).replace("rows: 99", "rows: 2"),
            r"^generate\.rows must be 3 or mor",
        ),
    ],
)
def test_params_with_a_mistake_are_refused_and_nothing_is_written(
    before: Path, capsys: Capture, text: str, match: str
) -> None:
    Path("params.yaml").write_text(text)
    whole = tree(before)
    assert re.search(match, refusal(capsys))
    assert tree(before) == whole


def test_params_that_are_not_there_are_refused(before: Path, capsys: Capture) -> None:
    Path("params.yaml").unlink()
    whole = tree(before)
    assert re.search(r"^params\.yaml must be in the current folder", refusal(capsys))
    assert tree(before) == whole


def test_params_that_are_not_utf8_are_refused(before: Path, capsys: Capture) -> None:
    Path("params.yaml").write_bytes(b"# \xe9\n" + Path("params.yaml").read_bytes())
    whole = tree(before)
    assert re.search(r"^params\.yaml must be UTF-8", refusal(capsys))
    assert tree(before) == whole


@pytest.mark.parametrize("argument", ["now", "--rows=5", "--seed"])
def test_arguments_it_does_not_take_are_refused(
    before: Path, capsys: Capture, argument: str
) -> None:
    whole = tree(before)
    assert re.search(rf"^knownline generate must .*\(got {argument}\)$", refusal(capsys, argument))
    assert tree(before) == whole


@pytest.mark.parametrize("rows", [99, 150_000])
def test_a_line_past_float64_is_refused_and_nothing_is_written(
    before: Path, capsys: Capture, rows: int
) -> None:
    write_params(truth__w=1.82e306, generate__rows=rows)  # 99 times that is too much
    whole = tree(before)
    assert re.search(r"^truth must give a finite y for every x", refusal(capsys))
    assert tree(before) == whole


def test_a_refusal_after_some_chunks_says_one_line_and_not_what_python_thinks_of_it(
    folder: Path,
) -> None:
    write_params(truth__w=1.82e306, generate__rows=150_000)
    done = subprocess.run(
        [sys.executable, "-m", "knownline", "generate"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "knownline: error: truth must give a finite y for every x of generate.x (got one past"
        " float64)"
    ]


def test_drawn_x_that_are_all_one_number_are_refused_and_nothing_is_written(
    before: Path, capsys: Capture
) -> None:
    high = float(np.nextafter(1.0, 2.0))
    refused = 0
    for seed in range(20):
        write_params(
            generate__x={"spacing": "uniform", "low": 1.0, "high": high},
            generate__rows=3,
            generate__holdout=0,
            generate__seed=seed,
        )
        whole = tree(before)
        capsys.readouterr()
        if main(["generate"]) == 0:
            assert split()[0]["x"].nunique() == 2
            continue
        refused += 1
        assert "two different x to train on" in capsys.readouterr().err
        assert tree(before) == whole
    assert 0 < refused < 20


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_more_is_named_and_nothing_is_written(
    before: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    write_params(generate__seed=2)
    whole = tree(before)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        assert re.search(rf"must be readable and writable .*{os.strerror(code)}", refusal(capsys))
    assert tree(before) == whole


# Memory

PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "knownline", "generate"], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A child begins with the peak of the process that forks it, so a small one must do that."""


def peak_bytes() -> int:
    done = subprocess.run(
        [sys.executable, "-c", PEAK], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


FEW, MANY = 200_000, 3_000_000
LESS_THAN_A_COPY = (MANY - FEW) * 16 * 3 // 4
"""Three quarters of what x and y of the rows weigh, 32 MiB."""


def test_memory_does_not_grow_with_the_rows_that_are_drawn() -> None:
    peaks = []
    for rows in (FEW, MANY):
        write_params(generate__rows=rows)
        peaks.append(peak_bytes())
    assert peaks[1] - peaks[0] < LESS_THAN_A_COPY


def test_memory_does_not_grow_with_the_rows_of_a_table(own: Callable[..., str]) -> None:
    peaks = []
    for rows in (FEW, MANY):
        x, y = np.random.default_rng(3).standard_normal((2, rows))  # no codec makes them less
        write_params(generate__table=own({"x": x, "y": y}, row_group_size=FEW))
        peaks.append(peak_bytes())
    assert peaks[1] - peaks[0] < LESS_THAN_A_COPY


# Threads


@pytest.mark.parametrize("spacing", ["grid", "uniform"])
@pytest.mark.parametrize("kind", ["normal", "integer", "shared-integer"])
def test_the_bytes_do_not_depend_on_how_many_draw(
    spacing: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(
        generate__rows=7 * 65_536 + 11,
        generate__x={"spacing": spacing, "low": -3.0, "high": 5.0},
        generate__noise={"kind": kind, "scale": 2.0},
    )
    found = []
    for workers, threads in ((None, "1"), (None, "2"), ("1", "1"), ("3", "1"), ("16", "2")):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.delenv("KNOWNLINE_WORKERS", raising=False)
        if workers:
            monkeypatch.setenv("KNOWNLINE_WORKERS", workers)
        assert main(["generate"]) == 0
        found.append(tree(folder / "data"))
    assert all(other == found[0] for other in found)


def test_a_y_past_float64_in_a_later_chunk_is_refused_and_nothing_is_written(
    capsys: Capture, before: Path
) -> None:
    write_params(
        generate__rows=5 * 65_536,
        generate__x={"spacing": "grid", "low": 0.0, "high": 1e300},
        truth={"w": 1.79769e8, "b": 1e307},
    )
    was = tree(before / "data")
    assert "truth must give a finite y for every x" in refusal(capsys)
    assert tree(before / "data") == was


def test_what_generate_hashed_is_not_hashed_again_unless_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_params()
    assert main(["generate"]) == 0
    hashed: list[str] = []
    sum_of = files.sha256_of

    def sha256_of(path: Path) -> str:
        hashed.append(path.as_posix())
        return sum_of(path)

    monkeypatch.setattr(files, "sha256_of", sha256_of)
    train, holdout = Path("data/train"), Path("data/holdout")
    dataset.check(train)
    dataset.check(holdout)
    assert hashed == []
    path = train / "part-00000.parquet"
    path.write_bytes(path.read_bytes())
    dataset.check(train)
    assert hashed == [path.as_posix()]


def test_looks_that_cannot_be_kept_are_no_reason_to_fail() -> None:
    write_params()
    Path("mlruns").write_text("in the way of the folder")
    assert main(["generate"]) == 0
