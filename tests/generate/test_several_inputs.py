"""`generate` for models with other terms or several inputs: draws, tables, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from knownline.core import parquet
from knownline.core.layout import SUMMARY
from knownline.core.least_squares import LeastSquares
from knownline.core.summary import Summary
from knownline.generate.draw import CHUNK_ROWS
from knownline.generate.holdout import held_out
from knownline.model import PLANE, QUADRATIC
from tests.generate.running import generate, small_chunks, split, write_params

pytestmark = pytest.mark.usefixtures("folder")

Array = npt.NDArray[np.float64]

SEED = 7
ROWS = CHUNK_ROWS + 1000
"""A chunk and a part of one."""

PLANE_OF_TWO: dict[str, Any] = {
    "model": "plane",
    "truth": {"w_area": 3.0, "w_age": -2.0, "b": 10.0},
    "generate__columns": {"x": ["area", "age"], "y": "price"},
    "generate__x": {
        "area": {"spacing": "uniform", "low": 20.0, "high": 200.0},
        "age": {"spacing": "uniform", "low": 0.0, "high": 50.0},
    },
    "generate__seed": SEED,
}
"""Parameters of a plane that is drawn."""

OF_A_TABLE: dict[str, Any] = {
    "model": "plane",
    "truth": None,
    "generate__columns": {"x": ["a", "b"], "y": "y"},
    "generate__holdout": 0,
}
"""Parameters of a plane through the rows of a table."""


def philox(stream: int, chunk: int) -> np.random.Generator:
    """Return numpy's own generator with the key of a stream's chunk."""
    key = np.array([SEED, (stream << 48) | chunk], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def by_chunk(stream: int, draw: Callable[[np.random.Generator, int], Array]) -> Array:
    return np.concatenate([draw(philox(stream, 0), CHUNK_ROWS), draw(philox(stream, 1), 1000)])


def rows_in_order() -> pd.DataFrame:
    """Return all rows of a run without a holdout."""
    train, holdout = split()
    assert len(holdout) == 0
    return train


# Drawn points


def test_each_input_has_its_spacing_and_a_stream_of_numpys_own() -> None:
    generate(**PLANE_OF_TWO, generate__rows=ROWS, generate__holdout=0)
    rows = rows_in_order()
    assert list(rows.columns) == ["area", "age", "y"]
    area = by_chunk(1, lambda random, n: random.uniform(20.0, 200.0, n))
    age = by_chunk(17, lambda random, n: random.uniform(0.0, 50.0, n))
    noise = by_chunk(2, lambda random, n: 1.5 * random.standard_normal(n))
    assert rows["area"].to_list() == area.tolist()
    assert rows["age"].to_list() == age.tolist()
    assert np.array_equal(rows["y"], (area * 3.0 + age * -2.0 + 10.0) + noise)
    assert abs(np.corrcoef(area, age)[0, 1]) < 4 / np.sqrt(ROWS)


def test_one_input_may_be_a_grid_and_another_random() -> None:
    spacings = {
        "area": {"spacing": "grid", "low": 20.0, "high": 200.0},
        "age": {"spacing": "uniform", "low": -1.0, "high": 1.0},
    }
    generate(**PLANE_OF_TWO | {"generate__x": spacings}, generate__rows=500, generate__holdout=0)
    rows = rows_in_order()
    assert rows["area"].to_list() == np.linspace(20.0, 200.0, 500).tolist()
    assert rows["age"].to_list() == philox(17, 0).uniform(-1.0, 1.0, 500).tolist()


def test_one_spacing_for_all_inputs_draws_each_of_its_own() -> None:
    spacing = {"spacing": "uniform", "low": 0.0, "high": 1.0}
    generate(**PLANE_OF_TWO | {"generate__x": spacing}, generate__rows=500, generate__holdout=0)
    rows = rows_in_order()
    assert rows["area"].to_list() == philox(1, 0).uniform(0.0, 1.0, 500).tolist()
    assert rows["age"].to_list() == philox(17, 0).uniform(0.0, 1.0, 500).tolist()


def test_another_input_moves_neither_x_nor_the_noise_nor_the_holdout() -> None:
    spacing = {"spacing": "uniform", "low": 20.0, "high": 200.0}
    every = {"model": "plane", "generate__seed": SEED, "generate__rows": 2000}
    found = []
    for names in (["area"], ["area", "age"], ["area", "age", "rooms"]):
        generate(
            **every,
            truth={**{f"w_{name}": 0.0 for name in names}, "b": 0.0},  # so y is the noise
            generate__columns={"x": names, "y": "price"},
            generate__x=spacing,
        )
        train, holdout = split()
        found.append(
            [frame[name].to_list() for frame in (train, holdout) for name in ("area", "y")]
        )
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("spacing", ["grid", "uniform"])
def test_a_quadratics_y_is_its_terms_and_noise(spacing: str) -> None:
    generate(
        model="quadratic",
        truth={"b": 5.0, "w": -2.0, "c": 0.5},
        generate__x__spacing=spacing,
        generate__seed=SEED,
        generate__rows=1000,
        generate__holdout=0,
    )
    rows = rows_in_order()
    x = rows["x"].to_numpy()
    noise = 1.5 * philox(2, 0).standard_normal(1000)
    assert np.array_equal(rows["y"], (x * x * 0.5 + x * -2.0 + 5.0) + noise)
    fit = LeastSquares(QUADRATIC, Summary.read(SUMMARY, ("x",)).train)
    expected = np.polynomial.Polynomial.fit(x, rows["y"], 2).convert().coef
    assert list(fit.solution.values()) == pytest.approx(expected[::-1], rel=1e-9)


def test_shards_of_several_inputs_have_the_bytes_of_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        with small_chunks(8, 3):
            generate(**PLANE_OF_TWO, generate__rows=300)
        found.append({path.name: path.read_bytes() for path in Path("data").rglob("*.parquet")})
        assert len(parquet.paths(Path("data/train"))) > 5
    assert found[0] == found[1]


# Tables


def test_a_table_of_several_columns_is_written_and_summarised(
    own: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.uniform(0.0, 9.0, (400, 4)), columns=["y", "b", "note", "a"])
    generate(**OF_A_TABLE, generate__table=own(frame.to_csv(index=False)))
    out = capsys.readouterr().out
    assert out == "generate: 400 rows, 0 of them held out; columns not used: note\n"
    assert np.array_equal(rows_in_order()[["a", "b", "y"]], frame[["a", "b", "y"]])
    summary = Summary.read(SUMMARY, ("a", "b"))
    fit = LeastSquares(PLANE(("a", "b")), summary.train)
    columns = np.column_stack([frame["a"], frame["b"], np.ones(400)])
    expected = np.linalg.lstsq(columns, frame["y"], rcond=None)[0]
    assert list(fit.solution.values()) == pytest.approx(expected, rel=1e-10)
    assert summary.sample.tolist() == frame[["a", "b", "y"]].to_numpy().T.tolist()


def test_a_csv_with_decimal_commas_gives_the_bytes_of_one_with_points(
    own: Callable[..., str],
) -> None:
    frame = pd.DataFrame(np.random.default_rng(4).standard_normal((90, 3)), columns=["a", "y", "b"])
    found = []
    for separator, decimal in ((",", "."), (";", ","), ("\t", ",")):
        table = own(frame.to_csv(index=False, sep=separator, decimal=decimal))
        csv = {"separator": separator, "decimal": decimal}
        generate(**OF_A_TABLE, generate__table=table, generate__csv=csv)
        found.append(Path("data/SHA256SUMS").read_bytes())
    assert found[0] == found[1] == found[2]


def test_a_line_of_a_table_takes_a_column_of_any_name(own: Callable[..., str]) -> None:
    table = own("living area,y\n1,2\n2,3\n4,5\n")
    columns = {"x": "living area", "y": "y"}
    generate(truth=None, generate__table=table, generate__columns=columns, generate__holdout=0)
    assert list(rows_in_order().columns) == ["x", "y"]


# What is refused

FOUR = "a,b,y\n1,2,3\n2,5,3\n4,4,5\n6,1,0\n"


def test_a_column_that_follows_from_others_is_refused_by_its_parameter(
    own: Callable[..., str], refused: Callable[..., None]
) -> None:
    a, b = np.random.default_rng(5).uniform(0.0, 9.0, (2, 50))
    table = own({"a": a, "b": b, "sum": a + b, "y": a})
    columns = {"x": ["a", "b", "sum"], "y": "y"}
    write_params(**OF_A_TABLE | {"generate__columns": columns}, generate__table=table)
    refused(
        r"model must have terms that are not collinear in data/train/ \(got w_sum,"
        r" which is collinear with the terms before it\)"
    )


def test_a_quadratic_through_two_different_x_is_refused(
    own: Callable[..., str], refused: Callable[..., None]
) -> None:
    table = own("x,y\n1,1\n1,2\n2,3\n2,4\n")
    write_params(model="quadratic", truth=None, generate__table=table, generate__holdout=0)
    refused(r"model must have terms .* \(got w, which is collinear with the terms before it\)")


@pytest.mark.parametrize("name", ["a", "b"])
def test_an_input_that_is_constant_is_refused_by_name(
    own: Callable[..., str], refused: Callable[..., None], name: str
) -> None:
    columns = {"a": np.arange(9.0), "b": np.arange(9.0) ** 2, "y": np.arange(9.0)}
    table = own(columns | {name: np.full(9, 7.0)})
    write_params(**OF_A_TABLE, generate__table=table)
    refused(
        rf"data/own/own\.parquet column {name} must hold two different values or more"
        r" \(got 7\.0 only\)"
    )


def test_rows_of_which_one_value_of_an_input_is_left_to_train_on_are_refused_by_its_name(
    own: Callable[..., str], refused: Callable[..., None]
) -> None:
    table = own({"a": np.arange(40.0), "b": [1.0] * 39 + [2.0], "y": np.arange(40.0)})
    for seed in range(200):
        params: dict[str, Any] = {"generate__holdout": 0.5, "generate__seed": seed}
        write_params(**OF_A_TABLE | params, generate__table=table)
        if held_out(0, 40, fraction=0.5, seed=seed, grows=True)[39]:
            refused(r"generate\.holdout must leave two different b to train on \(got 0\.5, .*\)")
            return
    pytest.fail("no seed holds out the last row")


@pytest.mark.parametrize(
    ("params", "fewest"),
    [
        ({"model": "line", "generate__columns": {"x": "a", "y": "y"}}, 3),
        ({"model": "quadratic", "generate__columns": {"x": "a", "y": "y"}}, 4),
        ({"model": "plane", "generate__columns": {"x": ["a"], "y": "y"}}, 3),
        ({"model": "plane", "generate__columns": {"x": ["a", "b", "c"], "y": "y"}}, 5),
    ],
)
def test_a_table_must_have_a_row_more_than_the_model_has_parameters(
    own: Callable[..., str], refused: Callable[..., None], params: dict[str, Any], fewest: int
) -> None:
    random = np.random.default_rng(6)
    every = {"truth": None, "generate__holdout": 0, **params}
    for rows in (fewest, fewest - 1):
        table = own({name: random.uniform(0.0, 9.0, rows) for name in ("a", "b", "c", "y")})
        if rows == fewest:
            generate(**every, generate__table=table)
        else:
            write_params(**every, generate__table=table)
            rule = rf"must have {fewest} rows or more \(got {rows}\)"
            refused(rf"data/own/own\.parquet {rule}")


def test_columns_of_a_model_that_the_table_lacks_are_refused_by_name(
    own: Callable[..., str], refused: Callable[..., None]
) -> None:
    columns = {"x": ["a", "size", "b"], "y": "y"}
    write_params(**OF_A_TABLE | {"generate__columns": columns}, generate__table=own(FOUR))
    refused(
        r"generate\.columns\.x must name a column of data/own/own\.csv, which has a, b, y"
        r" \(got size\)"
    )


@pytest.mark.parametrize(
    ("content", "csv", "got"),
    [
        ("a;b;y\n1,5;2;3\n1.5;5;3\n", {"separator": ";", "decimal": ","}, r"got 1\.5 in row 2, .*"),
        ("a,b,y\n1,2,3\n1,2020-09-10,3\n", {}, r"got 2020-09-10 in row 2, line 3: a date\? .*"),
        ("a,b,y\n1,9007199254740992,3\n1,9007199254740993,3\n", {}, r"got 9007\d+ in row 2, .*"),
    ],
    ids=["a point beside decimal commas", "a date", "neighbours beyond 2^53"],
)
def test_a_value_that_would_be_read_wrongly_is_refused_in_one_line(
    own: Callable[..., str],
    refused: Callable[..., None],
    content: str,
    csv: dict[str, str],
    got: str,
) -> None:
    write_params(**OF_A_TABLE, generate__table=own(content), generate__csv=csv)
    refused(rf"data/own/own\.csv column [ab] must hold .* \({got}\)")
