"""data/summary.json: read bit for bit, refused if it is not of the files beside it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knownline.core import checksums, summary
from knownline.core.least_squares import LeastSquares
from knownline.core.moments import Compressed, Pivot, compress
from knownline.core.summary import SAMPLE, Summary
from knownline.model import LINE, QUADRATIC
from samerun.core.errors import DamagedError, MissingError
from tests.file_contents import changed_bytes, cut_short, overwritten

Array = npt.NDArray[np.float64]

finite = st.floats(allow_nan=False, allow_infinity=False)
LINES = ("x",)
"""The inputs of a line."""


@st.composite
def sets(draw: st.DrawFn, terms: int) -> Compressed:
    """Draw any numbers for the moments of so many terms."""
    slopes = st.tuples(*[finite] * terms)
    pivot = Pivot(draw(slopes), draw(finite), draw(slopes))
    count = (terms + 1) + (terms + 1) * (terms + 2) // 2
    rows = float(draw(st.integers(1, 2**40)))
    return Compressed(pivot, (rows, *draw(st.tuples(*[finite] * count))))


@st.composite
def summaries(draw: st.DrawFn) -> Summary:
    """Draw a summary of a model with any number of inputs, and of terms."""
    inputs = draw(st.lists(st.sampled_from(["x", "age", "größe", "a b"]), unique=True, max_size=3))
    terms = draw(st.integers(1, 4))
    row = st.tuples(*[finite] * (len(inputs) + 1))
    sample = np.array(draw(st.lists(row, min_size=1, max_size=9))).T.copy()
    holdout = draw(st.none() | sets(terms))
    return Summary(tuple(inputs), draw(sets(terms)), holdout, sample)


def points(rows: int, offset: float = 0.0, noise: float = 1.5) -> tuple[Array, Array]:
    draws = np.random.default_rng(rows)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return x, 20.0 * x + 5.0 + noise * draws.standard_normal(rows)


def bits_of(part: Compressed | None) -> list[str]:
    """Return every number of a set of rows in hex, which tells -0.0 from 0.0."""
    if part is None:
        return []
    p = part.pivot
    return [float(number).hex() for number in (*p.terms, p.y, *p.slopes, *part.moments)]


def summary_of(
    train: tuple[Array, Array], holdout: tuple[Array, Array] | None, sample: Array
) -> Summary:
    """Return the summary of a line's x and y."""
    parts = [compress([([part[0]], part[1])]) if part else None for part in (train, holdout)]
    assert parts[0] is not None
    return Summary(LINES, parts[0], parts[1], sample)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data files and their sums."""
    file = tmp_path / "train" / "part-00000.parquet"
    file.parent.mkdir()
    file.write_bytes(b"rows")
    checksums.write(tmp_path, {file: "0" * 64})
    return tmp_path


@pytest.fixture
def path(data: Path) -> Path:
    """A summary that was written."""
    summary_of(points(50), points(10), np.array(points(7))).write(data / "summary.json")
    return data / "summary.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("summary")
    checksums.write(folder, {})
    return folder


@settings(deadline=None, max_examples=200)
@given(written=summaries())
def test_what_was_written_is_read_bit_for_bit(folder: Path, written: Summary) -> None:
    written.write(folder / "summary.json")
    found = Summary.read(folder / "summary.json", written.inputs)
    assert found.inputs == written.inputs
    assert bits_of(found.train) == bits_of(written.train)
    assert bits_of(found.holdout) == bits_of(written.holdout)
    assert found.sample.tobytes() == np.ascontiguousarray(written.sample).tobytes()
    before = (folder / "summary.json").read_bytes()
    found.write(folder / "summary.json")
    assert (folder / "summary.json").read_bytes() == before


def test_the_file_is_plain_json_of_the_files_beside_it(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["sums"] == checksums.digest(path.parent)
    assert content["train"]["moments"][0] == 50
    assert content["holdout"]["moments"][0] == 10
    assert [len(content["sample"][name]) for name in ("x", "y")] == [7, 7]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_lacks_is_not_written(path: Path, number: float) -> None:
    before = path.read_bytes()
    whole = Summary.read(path, LINES)
    with pytest.raises(ValueError, match="JSON"):
        replace(whole, sample=np.full((2, 3), number)).write(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("noise", [1.5, 1e-4])
def test_all_rows_are_those_of_both_folders(offset: float, noise: float) -> None:
    (x, y), (u, v) = points(800, offset, noise), points(200, offset, noise)
    both = np.concatenate([x, u]), np.concatenate([y, v])
    joined, whole = (
        LeastSquares(LINE, rows)
        for rows in (
            summary_of((x, y), (u, v), np.empty((2, 0))).all_rows,
            compress([([both[0]], both[1])]),
        )
    )
    assert joined.rows.rows == 1000
    assert joined.rows.mean_terms == pytest.approx([np.mean(both[0])], rel=1e-14)
    assert joined.sds == pytest.approx(whole.sds, rel=1e-12)
    assert joined.rows.var_y == pytest.approx(whole.rows.var_y, rel=1e-12)
    assert joined.solution["w"] == pytest.approx(whole.solution["w"], rel=1e-13)
    # r of the one pivot keeps no more digits than y has.
    digits = 1e-12 + 2.0**-52 * (offset + 100.0) * 20.0 / noise
    assert joined.mean_squared_error(joined.solution) == pytest.approx(
        whole.mean_squared_error(whole.solution), rel=8 * digits
    )


def test_without_a_holdout_all_rows_are_the_training_rows() -> None:
    whole = summary_of(points(800), None, np.empty((2, 0)))
    assert bits_of(whole.all_rows) == bits_of(whole.train)


# The sample


@pytest.mark.parametrize("rows", [1, 3, 1999, 2000, 2001, 4000, 4001, 65_536, 10**8, 10**12])
def test_the_stride_is_the_smallest_power_of_two_that_keeps_few_enough(rows: int) -> None:
    every = summary.stride(rows)
    assert every.bit_count() == 1
    assert -(-rows // every) <= SAMPLE
    assert every == 1 or -(-rows // (every // 2)) > SAMPLE


# Damage


def no_mapping(content: Any) -> Any:
    return [content]


def no_holdout(content: Any) -> Any:
    del content["holdout"]
    return content


def no_sample(content: Any) -> Any:
    return content | {"sample": {"x": [1.0]}}


def ragged_sample(content: Any) -> Any:
    return content | {"sample": {"x": [1.0], "y": [1.0, 2.0]}}


def another_moment(content: Any) -> Any:
    content["train"]["moments"].append(1.0)
    return content


def another_slope(content: Any) -> Any:
    content["holdout"]["pivot"]["slopes"].append(1.0)
    return content


def other_sums(content: Any) -> Any:
    return content | {"sums": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        no_mapping,
        no_holdout,
        no_sample,
        ragged_sample,
        another_moment,
        another_slope,
        other_sums,
    ],
)
def test_another_content_is_refused_by_name_in_one_line(
    path: Path, change: Callable[[Any], Any]
) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(
        DamagedError, match=r"^\S*summary\.json is damaged .*`dvc repro --force`$"
    ) as e:
        Summary.read(path, LINES)
    assert "\n" not in str(e.value)


def test_a_file_cut_short_anywhere_is_refused_by_name(path: Path) -> None:
    content = path.read_bytes()
    for short in overwritten(path, cut_short(content)):
        if short + b"\n" == content:
            continue  # only the newline is missing
        with pytest.raises(DamagedError, match=r"summary\.json is damaged"):
            Summary.read(path, LINES)


def test_bytes_that_are_no_text_are_refused_by_name(path: Path) -> None:
    some = changed_bytes(path.read_bytes()[:40], lambda byte: (0xFF, 0x00))
    for _ in overwritten(path, some):
        with pytest.raises(DamagedError, match=r"summary\.json is damaged"):
            Summary.read(path, LINES)


@pytest.mark.parametrize("inputs", [(), ("z",), ("x", "z"), ("y",)])
def test_a_summary_of_other_columns_is_refused(path: Path, inputs: tuple[str, ...]) -> None:
    with pytest.raises(
        DamagedError, match=r"summary\.json is damaged \(it summarises other columns: x\)"
    ):
        Summary.read(path, inputs)


def test_other_data_files_are_refused(path: Path) -> None:
    checksums.write(path.parent, {path.parent / "train" / "part-00000.parquet": "1" * 64})
    with pytest.raises(DamagedError, match=r"it summarises other files than SHA256SUMS lists"):
        Summary.read(path, LINES)


def test_what_is_not_there_is_refused_by_name(path: Path) -> None:
    (path.parent / checksums.SUMS).unlink()
    with pytest.raises(MissingError, match=r"SHA256SUMS is missing: run `dvc repro`"):
        Summary.read(path, LINES)
    path.unlink()
    with pytest.raises(MissingError, match=r"summary\.json is missing: run `dvc repro`"):
        Summary.read(path, LINES)
    path.mkdir()
    with pytest.raises(DamagedError, match=r"summary\.json is damaged"):
        Summary.read(path, LINES)


def test_a_summary_of_a_model_with_other_terms_is_refused(path: Path) -> None:
    assert Summary.of(LINE, path).inputs == LINE.inputs
    with pytest.raises(DamagedError, match="it summarises another model, with 1 term\\)"):
        Summary.of(QUADRATIC, path)
