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
from knownline.core.moments import Compressed, Moments, Pivot, compress
from knownline.core.summary import SAMPLE, Summary
from samerun.core.errors import DamagedError, MissingError
from tests.file_contents import changed_bytes, cut_short, overwritten

Array = npt.NDArray[np.float64]

finite = st.floats(allow_nan=False, allow_infinity=False)
pivots = st.builds(Pivot, finite, finite, finite)
sets = st.builds(Compressed, pivots, st.builds(Moments, st.integers(1, 2**40), *([finite] * 5)))
samples = st.lists(st.tuples(finite, finite), min_size=1, max_size=9).map(
    lambda points: np.array(points).T.copy()
)


def points(rows: int, offset: float = 0.0, noise: float = 1.5) -> tuple[Array, Array]:
    draws = np.random.default_rng(rows)
    x = offset + draws.uniform(1.0, 99.0, rows)
    return x, 20.0 * x + 5.0 + noise * draws.standard_normal(rows)


def bits_of(part: Compressed | None) -> list[str]:
    """Return every number of a set of rows in hex, which tells -0.0 from 0.0."""
    if part is None:
        return []
    m, p = part.moments, part.pivot
    numbers = (p.x0, p.y0, p.slope, m.mean_u, m.mean_r, m.uu, m.ur, m.rr)
    return [str(m.rows), *(float(number).hex() for number in numbers)]


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
    whole = compress([points(50)])
    Summary(whole, compress([points(10)]), np.array(points(7))).write(data / "summary.json")
    return data / "summary.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("summary")
    checksums.write(folder, {})
    return folder


@settings(deadline=None, max_examples=200)
@given(train=sets, holdout=st.none() | sets, sample=samples)
def test_what_was_written_is_read_bit_for_bit(
    folder: Path, train: Compressed, holdout: Compressed | None, sample: Array
) -> None:
    written = Summary(train, holdout, sample)
    written.write(folder / "summary.json")
    found = Summary.read(folder / "summary.json")
    assert bits_of(found.train) == bits_of(train)
    assert bits_of(found.holdout) == bits_of(holdout)
    assert found.sample.tobytes() == np.ascontiguousarray(sample).tobytes()
    before = (folder / "summary.json").read_bytes()
    found.write(folder / "summary.json")
    assert (folder / "summary.json").read_bytes() == before


def test_the_file_is_plain_json_of_the_files_beside_it(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["sums"] == checksums.digest(path.parent)
    assert content["train"]["moments"]["rows"] == 50
    assert content["holdout"]["moments"]["rows"] == 10
    assert [len(content["sample"][name]) for name in ("x", "y")] == [7, 7]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_lacks_is_not_written(path: Path, number: float) -> None:
    before = path.read_bytes()
    whole = Summary.read(path)
    with pytest.raises(ValueError, match="JSON"):
        replace(whole, sample=np.full((2, 3), number)).write(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("noise", [1.5, 1e-4])
def test_all_rows_are_those_of_both_folders(offset: float, noise: float) -> None:
    (x, y), (u, v) = points(800, offset, noise), points(200, offset, noise)
    joined = Summary(compress([(x, y)]), compress([(u, v)]), np.empty((2, 0))).all_rows
    both = np.concatenate([x, u]), np.concatenate([y, v])
    whole = compress([both])
    assert joined.rows == 1000
    assert joined.mean_x == pytest.approx(np.mean(both[0]), rel=1e-14)
    assert joined.sd_x == pytest.approx(whole.sd_x, rel=1e-12)
    assert joined.var_y == pytest.approx(whole.var_y, rel=1e-12)
    assert joined.least_squares().w == pytest.approx(whole.least_squares().w, rel=1e-13)
    # r of the one pivot keeps no more digits than y has.
    digits = 1e-12 + 2.0**-52 * (offset + 100.0) * 20.0 / noise
    assert joined.mean_squared_error(joined.least_squares()) == pytest.approx(
        whole.mean_squared_error(whole.least_squares()), rel=8 * digits
    )


def test_without_a_holdout_all_rows_are_the_training_rows() -> None:
    train = compress([points(800)])
    assert bits_of(Summary(train, None, np.empty((2, 0))).all_rows) == bits_of(train)


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
    content["train"]["moments"]["uuu"] = 1.0
    return content


def other_sums(content: Any) -> Any:
    return content | {"sums": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [no_mapping, no_holdout, no_sample, ragged_sample, another_moment, other_sums],
)
def test_another_content_is_refused_by_name_in_one_line(
    path: Path, change: Callable[[Any], Any]
) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DamagedError, match=r"^\S*summary\.json must be .*`dvc repro --force") as e:
        Summary.read(path)
    assert "\n" not in str(e.value)


def test_a_file_cut_short_anywhere_is_refused_by_name(path: Path) -> None:
    content = path.read_bytes()
    for short in overwritten(path, cut_short(content)):
        if short + b"\n" == content:
            continue  # only the newline is missing
        with pytest.raises(DamagedError, match=r"summary\.json must be"):
            Summary.read(path)


def test_bytes_that_are_no_text_are_refused_by_name(path: Path) -> None:
    some = changed_bytes(path.read_bytes()[:40], lambda byte: (0xFF, 0x00))
    for _ in overwritten(path, some):
        with pytest.raises(DamagedError, match=r"summary\.json must be"):
            Summary.read(path)


def test_other_data_files_are_refused(path: Path) -> None:
    checksums.write(path.parent, {path.parent / "train" / "part-00000.parquet": "1" * 64})
    with pytest.raises(DamagedError, match=r"got a summary of other files than SHA256SUMS"):
        Summary.read(path)


def test_what_is_not_there_is_refused_by_name(path: Path) -> None:
    (path.parent / checksums.SUMS).unlink()
    with pytest.raises(MissingError, match=r"SHA256SUMS must be there: run `dvc repro`"):
        Summary.read(path)
    path.unlink()
    with pytest.raises(MissingError, match=r"summary\.json must be there: run `dvc repro`"):
        Summary.read(path)
    path.mkdir()
    with pytest.raises(DamagedError, match=r"summary\.json must be"):
        Summary.read(path)
