"""params.yaml: rules that bind several keys, and how many rows a share of them is."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knownline.params import Params, holdout_rows
from tests.test_params import TABLE, changed, error_for, error_of


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"generate.x.low": 99.0, "generate.x.high": 99},
            "generate.x.low must be less than generate.x.high, 99.0 (got 99.0)",
        ),
        (
            {"generate.x.low": 0.0, "generate.x.high": -0.0},
            "generate.x.low must be less than generate.x.high, -0.0 (got 0.0)",
        ),
        (
            {"generate.x.low": -1.0e308, "generate.x.high": 1.0e308},
            "generate.x.low must lie within the float64 range of generate.x.high (got -1e+308)",
        ),
        (
            {"generate.columns": {"x": "t", "y": "t"}},
            "generate.columns.x must name another column than generate.columns.y"
            " (got the text 't')",
        ),
        ({"truth": None}, "truth must be given where generate.table is null (got null)"),
        (
            {"train.device": "mps"},
            "train.dtype must be float32 on device mps, which has no float64"
            " (got the text 'float64')",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    values: dict[str, Any], message: str
) -> None:
    assert error_of(changed(values)) == message


def test_mps_takes_float32() -> None:
    assert Params.parse(changed({"train.device": "mps", "train.dtype": "float32"}))


@pytest.mark.parametrize("kind", ["integer", "shared-integer"])
def test_integer_noise_takes_only_a_whole_scale(kind: str) -> None:
    def noise(scale: float) -> str:
        return changed({"generate.noise": {"kind": kind, "scale": scale}})

    for scale in (0, 1, 10.0, 2**53 - 1):
        assert Params.parse(noise(scale)).generate.noise.scale == scale
    for scale in (1.5, 0.1, 2.0**53, 1.0e300):
        message = error_of(noise(scale))
        assert message.startswith("generate.noise.scale must be a whole number ")
        assert message.endswith(f"{kind} (got {scale})")


@pytest.mark.parametrize(
    ("rows", "holdout", "enough"),
    [
        (99, 0.98, False), (99, 0.999, False), (3, 0.2, False), (4, 0.5, False), (5, 0.5, False),
        (3, 0.17, False), (3, 0.0, True), (3, 0.16, True), (6, 0.5, True), (99, 0.97, True),
    ],
)  # fmt: skip
def test_a_holdout_must_leave_3_rows(rows: int, holdout: float, enough: bool) -> None:
    values = {"generate.rows": rows, "generate.holdout": holdout}
    if enough:
        assert Params.parse(changed(values))
    else:
        rule = f"generate.holdout must leave 3 rows of {rows} to train on (got {holdout})"
        assert error_of(changed(values)) == rule
    # A table has rows of its own.
    assert Params.parse(changed({**values, "generate.table": TABLE}))


OUTSIDE = """a.csv own/a.csv data/a.csv data/own data/own/ data/ownership/a.csv /data/own/a.csv
/tmp/a.csv data/own/../a.csv data/own/../../a.csv data/own/b/../a.csv ../data/own/a.csv
data/../data/own/a.csv data\\own\\a.csv https://example.org/data/own/a.csv"""
OTHER_KIND = "data/own/a.txt data/own/a data/own/a.CSV data/own/a.csv.gz data/own/.csv"


@pytest.mark.parametrize("table", ["", *OUTSIDE.split()])
def test_a_table_outside_data_own_is_refused(table: str) -> None:
    rule = f"generate.table must name a file in data/own/ (got the text '{table}')"
    assert error_for("generate.table", table) == rule


@pytest.mark.parametrize("table", OTHER_KIND.split())
def test_a_table_that_is_neither_csv_nor_parquet_is_refused(table: str) -> None:
    rule = f"generate.table must end in .csv or .parquet (got the text '{table}')"
    assert error_for("generate.table", table) == rule


@pytest.mark.parametrize("table", [TABLE, "data/own/a.parquet", "data/own/my tables/größe 1.csv"])
def test_a_table_in_data_own_is_taken(table: str) -> None:
    assert Params.parse(changed({"generate.table": table})).generate.table == table


# The number of rows in the holdout


@settings(deadline=None, max_examples=150)
@given(
    rows=st.integers(3, 2**48),
    digits=st.integers(1, 15),
    numerator=st.integers(0, 10**15 - 1),
)
@example(rows=100, digits=2, numerator=29)
@example(rows=10, digits=2, numerator=15)  # 0.15 in binary is less than 0.15
@example(rows=3, digits=1, numerator=5)
@example(rows=10**9, digits=9, numerator=1)
def test_the_holdout_is_the_decimal_share_of_the_rows_with_halves_rounded_up(
    rows: int, digits: int, numerator: int
) -> None:
    numerator %= 10**digits
    fraction = float(Decimal(numerator).scaleb(-digits))
    twice = 2 * 10**digits  # rounds in whole numbers: floor((2 rows k + d) / 2d)
    held_out = holdout_rows(rows, fraction)
    assert held_out == (2 * rows * numerator + 10**digits) // twice
    assert holdout_rows(rows + 1, fraction) - held_out in (0, 1)  # it only ever grows
