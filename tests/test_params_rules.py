"""params.yaml: rules that bind several keys, and how many rows a share of them is."""

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knownline import model
from knownline.core.errors import ParamsError
from knownline.core.kinds import Linear
from knownline.params import Params, with_seed
from knownline.params.data import Columns, holdout_rows
from tests.test_params import SHIPPED, TABLE, changed, error_for, error_of


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
            "generate.x.low must be within the float64 range of generate.x.high (got -1e+308)",
        ),
        (
            {"generate.columns": {"x": "t", "y": "t"}},
            "generate.columns.x must name another column than generate.columns.y"
            " (got the text 't')",
        ),
        ({"truth": None}, "truth must be given if generate.table is null (got null)"),
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


# Models, their columns and their truth

GRID = {"spacing": "grid", "low": 0.0, "high": 1.0}
PLANE: dict[str, Any] = {
    "model": "plane",
    "truth": {"b": 5.0, "w_b": 2.0, "w_a": 1.0},
    "generate.columns": {"x": ["a", "b"], "y": "y"},
}


def of_columns(*x: str, y: str = "y") -> dict[str, Any]:
    """Return the values of a plane over columns of a table."""
    return PLANE | {
        "truth": None, "generate.table": TABLE, "generate.columns": {"x": [*x], "y": y},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ("w", "b")),
        ({"model": "quadratic", "truth": {"c": 1.0, "w": 2.0, "b": 3.0}}, ("c", "w", "b")),
        (PLANE, ("w_a", "w_b", "b")),
        (of_columns("living area (m²)", "age"), ("w_living_area_m", "w_age", "b")),
        (of_columns("x"), ("w_x", "b")),
    ],
)
def test_a_model_has_its_parameters_and_the_truth_is_in_their_order(
    values: dict[str, Any], names: tuple[str, ...]
) -> None:
    params = Params.parse(changed(values))
    assert params.kind.names == names
    if params.truth is None:
        assert params.true_parameters is None
    else:
        assert params.true_parameters == params.truth
        assert tuple(params.true_parameters) == names


@pytest.mark.parametrize("name", ["cubic", "Line", "LINE", "", "any", "callable", "re", "linear"])
def test_another_name_than_a_models_is_refused_with_their_names(name: str) -> None:
    models = "line, quadratic, plane, exponential, mlp, each an object in capitals in model.py"
    assert error_for("model", name) == f"model must be one of {models} (got the text '{name}')"


def test_a_model_of_ones_own_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = Linear(("t",), {"s": lambda t: t**3})
    monkeypatch.setattr(model, "WAVE", wave, raising=False)
    assert Params.parse(changed({"model": "wave", "truth": {"s": 2.0}})).kind is wave
    monkeypatch.setattr(model, "LOSS", Linear(("t",), {"loss": lambda t: t}), raising=False)
    rule = "model must not have a parameter named loss, which is the name of a metric"
    rule += " (got the text 'loss')"
    assert error_of(changed({"model": "loss", "truth": {"loss": 2.0}})) == rule


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"truth": {"w": 1.0, "b": 2.0, "c": 3.0}},
            "truth.c must be a parameter of the model line: w, b (got the text 'c')",
        ),
        ({"truth": {"w": 1.0}}, "truth.b must be given (got nothing)"),
        ({"truth": {}}, "truth.b must be given (got nothing)"),
        ({"model": "quadratic"}, "truth.c must be given (got nothing)"),
        (PLANE | {"truth": {"w_a": 1.0, "b": 2.0}}, "truth.w_b must be given (got nothing)"),
        (
            {"generate.columns": {"x": ["a", "b"], "y": "y"}},
            "generate.columns.x must name 1 column for the model line (got the text 'a, b')",
        ),
        (
            {"generate.columns": {"x": ["a", "a"], "y": "y"}},
            "generate.columns.x must name each column once (got the text 'a')",
        ),
        (
            of_columns("a", "b", y="b"),
            "generate.columns.x must name another column than generate.columns.y"
            " (got the text 'b')",
        ),
        (
            of_columns("a", "y", y="price"),
            "generate.columns.x must not name a column y, which is the name of the target in data/"
            " (got the text 'y')",
        ),
        (
            of_columns("a b", "a-b"),
            "generate.columns.x must have names that differ in their letters and digits"
            " (got the text 'a b, a-b')",
        ),
        (
            {"model": "quadratic", "truth": {"c": 1.0, "w": 2.0, "b": 3.0}, "generate.rows": 3},
            "generate.rows must be 4 or more (got 3)",
        ),
        (PLANE | {"generate.rows": 3}, "generate.rows must be 4 or more (got 3)"),
        (
            PLANE | {"generate.rows": 5, "generate.holdout": 0.4},
            "generate.holdout must leave 4 rows of 5 to train on (got 0.4)",
        ),
    ],
)
def test_a_truth_columns_or_rows_that_do_not_fit_the_model_are_refused(
    values: dict[str, Any], message: str
) -> None:
    assert error_of(changed(values)) == message


def test_a_line_may_read_a_column_named_y_as_its_x() -> None:
    """data/ calls it x."""
    columns = {"generate.columns": {"x": "y", "y": "price"}, "generate.table": TABLE}
    assert Params.parse(changed(columns)).kind.inputs == ("x",)


def test_one_column_is_text_in_flat_and_several_are_a_list() -> None:
    for x in ("a", ["a"]):
        found = Params.parse(changed({"generate.columns": {"x": x, "y": "y"}}))
        assert found.generate.columns.x == ["a"]
        assert found.flat()["generate.columns.x"] == "a"
    assert Params.parse(changed(PLANE)).flat()["generate.columns.x"] == ["a", "b"]


def test_names_in_a_plot_are_cut() -> None:
    columns = Columns(x=["a" * 32, "b" * 33], y="c")
    assert columns.short == (["a" * 32, "b" * 31 + "…"], "c")


# The spacing of each input


def test_a_spacing_holds_for_all_inputs_or_for_each() -> None:
    for_all = Params.parse(changed(PLANE | {"generate.x": GRID})).generate
    assert [spacing.model_dump() for spacing in for_all.spacings] == [GRID, GRID]
    other = {"spacing": "uniform", "low": -1.0, "high": 2.0}
    each = Params.parse(changed(PLANE | {"generate.x": {"b": other, "a": GRID}})).generate
    assert [spacing.model_dump() for spacing in each.spacings] == [GRID, other]
    one = Params.parse(changed({"generate.x": {"x": other}})).generate
    assert [spacing.model_dump() for spacing in one.spacings] == [other]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"a": GRID}, "generate.x must have a spacing for each of a, b (got the text 'a')"),
        (
            {"a": GRID, "b": GRID, "c": GRID},
            "generate.x must have a spacing for each of a, b (got the text 'a, b, c')",
        ),
        ({"a": GRID, "b": {**GRID, "low": "x"}}, "generate.x.b.low must be a number"),
        ({"a": GRID, "b": {"spacing": "grid", "low": 0.0}}, "generate.x.b.high must be given"),
        ({"a": GRID, "b": {**GRID, "low": 2.0}}, "generate.x.b.low must be less than "),
        ({"a": GRID, "b": {**GRID, "step": 1}}, "unknown key generate.x.b.step"),
        ({"a": GRID, "b": 5}, "generate.x.b must be a mapping of keys to values (got 5)"),
        ({"low": GRID, "b": GRID}, "generate.x must have a spacing for each of a, b"),
        ({**GRID, "low": {}}, "generate.x.low must be a number (got {})"),
        ({}, "generate.x.spacing must be given"),
    ],
)
def test_a_spacing_that_is_missing_or_wrong_is_refused_by_its_key(
    x: dict[str, Any], message: str
) -> None:
    found = error_of(changed(PLANE | {"generate.x": x}))
    assert found.startswith(message)


# How a CSV is written


@pytest.mark.parametrize("separator", [",", "\n", "\r", '"', " ", "é", "…"])
def test_a_separator_that_a_number_or_a_field_may_hold_is_refused(separator: str) -> None:
    message = error_of(changed({"generate.csv": {"separator": separator, "decimal": ","}}))
    assert message.startswith("generate.csv.separator must be an ASCII character other than the")


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ({"separator": ";;"}, "generate.csv.separator must be one character (got the text ';;')"),
        ({"separator": ""}, "generate.csv.separator must not be empty (got the text '')"),
        ({"decimal": "x"}, "generate.csv.decimal must be . or , (got the text 'x')"),
        (
            {"separater": ";"},
            "unknown key generate.csv.separater: did you mean generate.csv.separator?",
        ),
    ],
)
def test_another_way_to_write_a_csv_is_refused(csv: dict[str, str], message: str) -> None:
    assert error_of(changed({"generate.csv": csv})) == message


def test_a_tab_may_be_written_as_yaml_writes_it() -> None:
    text = SHIPPED.replace('separator: ","', 'separator: "\\t"')
    assert Params.parse(text).generate.csv.separator == "\t"


# The rules of quality


def test_no_rule_of_quality_is_set_in_the_shipped_file_and_each_can_be() -> None:
    assert not Params.parse(SHIPPED).evaluate.has_quality
    rules: dict[str, Any] = {"min_r2": 0.9, "max_rmse": 2.0, "beats_mean": True}
    rules |= {"bend": 0.001, "scatter": 0.01, "normality": 0.05}
    for key, value in rules.items():
        found = Params.parse(changed({f"evaluate.{key}": value})).evaluate
        assert found.has_quality
        is_test = key in ("bend", "scatter", "normality")
        assert found.residual_levels == ({key: value} if is_test else {})


def test_a_rule_about_the_champion_is_none_that_the_gate_judges() -> None:
    found = Params.parse(changed({"evaluate.beats_champion": True})).evaluate
    assert found.beats_champion
    assert not found.has_quality


# A network

NETWORK: dict[str, Any] = {"model": "mlp", "truth": None, "generate.table": TABLE}


def test_a_network_has_a_table_and_no_truth() -> None:
    assert Params.parse(changed(NETWORK)).kind.names == ()
    assert error_of(changed(NETWORK | {"truth": {"w": 1.0}})).startswith(
        "truth must be null for the model mlp, whose parameters have no names (got "
    )
    assert error_of(changed(NETWORK | {"generate.table": None})) == (
        "generate.table must name a table: no points can be drawn around the model mlp (got null)"
    )
    assert error_of(changed({"model": "mlp"})).startswith("truth must be null for the model mlp")


@pytest.mark.parametrize("size", [0, -1, 1.5, "all", True, 2**48])
def test_a_minibatch_is_a_number_of_rows(size: Any) -> None:
    assert error_for("train.batch_size", size)
    assert Params.parse(changed({"train.batch_size": 1})).train.batch_size == 1


@pytest.mark.parametrize("level", [0, 1, -0.1, 2, math.nan, "no", True])
def test_the_level_at_which_a_network_beats_the_linear_model_is_one(level: Any) -> None:
    assert error_for("evaluate.beats_linear", level)
    assert Params.parse(changed({"evaluate.beats_linear": None})).evaluate.beats_linear is None


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


# The seed of a retraining


@pytest.mark.parametrize("old", ["20200910", "0o17", "1_000"])
def test_another_seed_changes_nothing_else_of_the_file(old: str) -> None:
    text = SHIPPED.replace("seed: 20200910", f"seed: {old}  # größe, 📈")
    text = "# größe, 📈\n" + text
    assert text.count(old) == 1
    assert with_seed(text, 7) == text.replace(old, "7")


def test_another_seed_is_refused_if_an_alias_shares_it() -> None:
    text = SHIPPED.replace("seed: 20200910", "seed: &s 5").replace("seed: 0", "seed: *s")
    assert Params.parse(text).train.seed == 5
    with pytest.raises(ParamsError, match=r"^generate\.seed must be a plain number "):
        with_seed(text, 7)
