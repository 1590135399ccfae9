import copy
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from knownline.core.errors import ParamsError
from knownline.params import MIN_ROWS, Params, holdout_rows

SHIPPED = (Path(__file__).resolve().parent.parent / "params.yaml").read_text(encoding="utf-8")
LOADED = yaml.safe_load(SHIPPED)

DOCUMENTED = {
    "truth.w": 20.0,
    "truth.b": 5.0,
    "generate.table": None,
    "generate.columns.x": "x",
    "generate.columns.y": "y",
    "generate.rows": 99,
    "generate.x.spacing": "grid",
    "generate.x.low": 1.0,
    "generate.x.high": 99.0,
    "generate.noise.kind": "normal",
    "generate.noise.scale": 1.5,
    "generate.holdout": 0.2,
    "generate.seed": 20200910,
    "train.epochs": 100,
    "train.learning_rate": 0.25,
    "train.standardize": True,
    "train.compress": True,
    "train.dtype": "float64",
    "train.device": "auto",
    "train.seed": 0,
    "evaluate.z": 4.0,
    "evaluate.optimiser_tolerance": 1.0e-9,
}
FLOATS = [key for key, value in DOCUMENTED.items() if type(value) is float]
INTS = [key for key, value in DOCUMENTED.items() if type(value) is int]
BOOLS = [key for key, value in DOCUMENTED.items() if type(value) is bool]
CHOICES = ["generate.x.spacing", "generate.noise.kind", "train.dtype", "train.device"]
NAMES = ["generate.columns.x", "generate.columns.y"]
SECTIONS = ["truth", "generate", "generate.columns", "generate.x", "generate.noise", "train"]
SECTIONS += ["evaluate"]


def with_values(values: dict[str, Any]) -> str:
    mapping = copy.deepcopy(LOADED)
    for name, value in values.items():
        *sections, key = name.split(".")
        place = mapping
        for section in sections:
            place = place[section]
        place[key] = value
    return yaml.safe_dump(mapping)


def without(name: str) -> str:
    mapping = copy.deepcopy(LOADED)
    *sections, key = name.split(".")
    place = mapping
    for section in sections:
        place = place[section]
    del place[key]
    return yaml.safe_dump(mapping)


def in_yaml(old: str, new: str) -> str:
    assert SHIPPED.count(old) == 1
    return SHIPPED.replace(old, new)


def refusal(text: str) -> str:
    with pytest.raises(ParamsError) as caught:
        Params.parse(text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def leaf(params: Params, name: str) -> Any:
    value: Any = params
    for part in name.split("."):
        value = getattr(value, part)
    return value


# The shipped file


def test_the_shipped_file_holds_the_documented_defaults() -> None:
    params = Params.parse(SHIPPED)
    assert {name: leaf(params, name) for name in DOCUMENTED} == DOCUMENTED
    assert {name: type(leaf(params, name)) for name in DOCUMENTED} == {
        name: type(value) for name, value in DOCUMENTED.items()
    }


def test_flat_has_every_leaf_of_the_shipped_file_under_its_dotted_name() -> None:
    assert Params.parse(SHIPPED).flat() == DOCUMENTED


def test_flat_has_a_truth_that_is_null() -> None:
    text = with_values({"truth": None, "generate.table": "data/own/a.csv"})
    expected = {name: value for name, value in DOCUMENTED.items() if not name.startswith("truth.")}
    expected |= {"truth": None, "generate.table": "data/own/a.csv"}
    assert Params.parse(text).flat() == expected


@pytest.mark.parametrize("name", [*DOCUMENTED, *SECTIONS])
def test_params_cannot_be_changed_after_reading(name: str) -> None:
    params = Params.parse(SHIPPED)
    *sections, key = name.split(".")
    place = leaf(params, ".".join(sections)) if sections else params
    with pytest.raises(ValidationError, match="frozen"):
        setattr(place, key, leaf(params, name))


def test_a_byte_order_mark_and_crlf_of_a_windows_editor_change_nothing() -> None:
    text = "\ufeff" + SHIPPED.replace("\n", "\r\n")
    assert Params.parse(text) == Params.parse(SHIPPED)


# Rules of one key


@pytest.mark.parametrize(
    ("name", "value", "rule", "got"),
    [
        ("truth.w", math.inf, "a finite number", "inf"),
        ("truth.b", -math.inf, "a finite number", "-inf"),
        ("truth.b", math.nan, "a finite number", "nan"),
        ("generate.rows", 2, "3 or more", "2"),
        ("generate.rows", -99, "3 or more", "-99"),
        ("generate.rows", 2**48, f"less than {2**48}", str(2**48)),
        ("generate.x.low", -math.inf, "a finite number", "-inf"),
        ("generate.x.high", math.nan, "a finite number", "nan"),
        ("generate.x.spacing", "Grid", "grid or uniform", "'Grid'"),
        ("generate.noise.kind", "gauss", "normal, integer or shared-integer", "'gauss'"),
        ("generate.noise.scale", -0.5, "0.* or more", "-0.5"),
        ("generate.noise.scale", math.inf, "a finite number", "inf"),
        ("generate.noise.scale", math.nan, "a finite number", "nan"),
        ("generate.holdout", -0.1, "0.* or more", "-0.1"),
        ("generate.holdout", 1.0, "less than 1", "1.0"),
        ("generate.holdout", 1, "less than 1", "1"),
        ("generate.holdout", math.nan, "less than 1", "nan"),
        ("generate.holdout", math.inf, "less than 1", "inf"),
        ("generate.seed", -1, "0 or more", "-1"),
        ("generate.seed", 2**63, f"less than {2**63}", str(2**63)),
        ("train.epochs", 0, "greater than 0", "0"),
        ("train.learning_rate", 0, "greater than 0", "0"),
        ("train.learning_rate", -0.1, "greater than 0", "-0.1"),
        ("train.learning_rate", math.inf, "a finite number", "inf"),
        ("train.learning_rate", math.nan, "a finite number|greater than 0", "nan"),
        ("train.dtype", "float16", "float64 or float32", "'float16'"),
        ("train.device", "gpu", "auto, cpu, cuda, mps or xpu", "'gpu'"),
        ("train.seed", -1, "0 or more", "-1"),
        ("train.seed", 2**63, f"less than {2**63}", str(2**63)),
        ("evaluate.z", 0.0, "greater than 0", "0.0"),
        ("evaluate.z", math.nan, "a finite number|greater than 0", "nan"),
        ("evaluate.optimiser_tolerance", -1.0e-9, "greater than 0", "-1e-09"),
        ("evaluate.optimiser_tolerance", math.inf, "a finite number", "inf"),
        ("generate.columns.x", "", "not be empty", "''"),
    ],
)
def test_a_value_out_of_range_is_refused_with_name_rule_and_value(
    name: str, value: Any, rule: str, got: str
) -> None:
    with pytest.raises(
        ParamsError, match=rf"^{re.escape(name)} must .*({rule}).* \(got .*{re.escape(got)}.*\)$"
    ):
        Params.parse(with_values({name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generate.rows", 2**48 - 1),
        ("generate.seed", 0),
        ("generate.seed", 2**63 - 1),
        ("generate.holdout", 0),
        ("generate.holdout", 0.0),
        ("generate.noise.scale", 0),
        ("generate.x.low", -1.0e6),
        ("truth.w", 0),
        ("truth.b", -3),
        ("train.epochs", 1),
        ("train.learning_rate", 1),
        ("evaluate.z", 5e-324),
    ],
)
def test_a_value_at_the_edge_of_its_range_is_taken(name: str, value: float) -> None:
    assert leaf(Params.parse(with_values({name: value})), name) == value


def test_of_two_mistakes_the_first_is_named() -> None:
    with pytest.raises(ParamsError, match=r"^generate\.rows must be 3 or more \(got 2\)$"):
        Params.parse(with_values({"generate.rows": 2, "train.epochs": 0, "evaluate.z": -1}))


def test_more_epochs_than_any_memory_can_hold_are_refused_by_name() -> None:
    with pytest.raises(ParamsError, match=r"^train\.epochs must be .*\(got 9223372036854775808\)$"):
        Params.parse(with_values({"train.epochs": 2**63}))


@pytest.mark.parametrize("name", [*FLOATS, *INTS])
@pytest.mark.parametrize("value", [True, False])
def test_true_is_not_a_number(name: str, value: bool) -> None:
    got = str(value).lower()
    with pytest.raises(
        ParamsError, match=rf"^{re.escape(name)} must be a (whole )?number \(got {got}\)$"
    ):
        Params.parse(with_values({name: value}))


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize(("value", "got"), [(1, "1"), (0, "0"), (1.0, "1.0"), ("true", "'true'")])
def test_only_true_and_false_are_true_and_false(name: str, value: Any, got: str) -> None:
    with pytest.raises(
        ParamsError, match=rf"^{re.escape(name)} must be true or false \(got .*{got}\)$"
    ):
        Params.parse(with_values({name: value}))


@pytest.mark.parametrize("name", INTS)
@pytest.mark.parametrize("value", [1.0, 99.0, 1.5])
def test_a_count_with_a_point_is_refused(name: str, value: float) -> None:
    with pytest.raises(
        ParamsError, match=rf"^{re.escape(name)} must be a whole number \(got {value}\)$"
    ):
        Params.parse(with_values({name: value}))


@pytest.mark.parametrize("name", FLOATS)
def test_a_whole_number_is_taken_where_a_point_is_not_needed(name: str) -> None:
    value = 0 if name == "generate.holdout" else 2
    value = 100 if name == "generate.x.high" else value
    assert leaf(Params.parse(with_values({name: value})), name) == value


@pytest.mark.parametrize("name", [*FLOATS, *INTS])
def test_text_where_a_number_belongs_is_refused(name: str) -> None:
    with pytest.raises(
        ParamsError, match=rf"^{re.escape(name)} must be a (whole )?number \(got .*'many'\)$"
    ):
        Params.parse(with_values({name: "many"}))


@pytest.mark.parametrize("written", ["1e-3", "1E5", "2.5e6"])
def test_a_number_that_yaml_takes_for_text_is_refused_with_the_way_to_write_it(
    written: str,
) -> None:
    text = in_yaml("learning_rate: 0.25", f"learning_rate: {written}")
    with pytest.raises(
        ParamsError, match=rf"^train\.learning_rate must be a number \(got .*'{written}'.*1\.0e-3"
    ):
        Params.parse(text)


def test_a_whole_number_with_a_power_is_refused_with_the_way_to_write_it() -> None:
    rule = r"^generate\.rows must be a whole number \(got the text '1e6'; write it out: 1000000\)$"
    with pytest.raises(ParamsError, match=rule):
        Params.parse(in_yaml("rows: 99", "rows: 1e6"))


@pytest.mark.parametrize("name", [*FLOATS, *INTS, *BOOLS, *CHOICES, *NAMES])
def test_null_is_refused_by_every_key_that_has_no_null(name: str) -> None:
    with pytest.raises(ParamsError, match=rf"^{re.escape(name)} must .* \(got null\)$"):
        Params.parse(with_values({name: None}))


_TEXT = st.text(max_size=20)
_LISTS = st.lists(st.integers() | st.floats() | _TEXT, max_size=3)
_MAPPINGS = st.dictionaries(_TEXT, st.integers(), max_size=3)
_WRONG: dict[str, st.SearchStrategy[Any]] = {
    **{name: _TEXT | st.booleans() | st.none() | _LISTS | _MAPPINGS for name in FLOATS},
    **{name: _TEXT | st.booleans() | st.none() | st.floats() | _LISTS | _MAPPINGS for name in INTS},
    **{
        name: _TEXT | st.integers() | st.none() | st.floats() | _LISTS | _MAPPINGS for name in BOOLS
    },
    **{
        name: st.booleans() | st.integers() | st.none() | st.floats() | _LISTS | _MAPPINGS
        for name in [*CHOICES, *NAMES]
    },
    "generate.table": st.booleans() | st.integers() | st.floats() | _LISTS | _MAPPINGS,
}


def test_the_wrong_types_cover_every_leaf() -> None:
    assert sorted(_WRONG) == sorted(DOCUMENTED)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(sorted(_WRONG)).flatmap(lambda name: st.tuples(st.just(name), _WRONG[name])))
def test_any_leaf_of_the_wrong_type_is_refused_under_its_dotted_name(
    changed: tuple[str, Any],
) -> None:
    name, value = changed
    message = refusal(with_values({name: value}))
    assert message.startswith(f"{name} must ")
    assert re.search(r"\(got .*\)$", message)


@settings(deadline=None)
@given(st.sampled_from(CHOICES), _TEXT)
def test_a_word_that_is_no_choice_is_refused_and_the_choices_are_named(
    name: str, word: str
) -> None:
    assume(
        word not in ("grid", "uniform", "normal", "integer", "shared-integer", "float64", "float32")
    )
    assume(word not in ("auto", "cpu", "cuda", "mps", "xpu"))
    message = refusal(with_values({name: word}))
    assert message.startswith(f"{name} must be {DOCUMENTED[name]}") or " or " in message


# Keys that are there and keys that are not


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_an_unknown_key_is_refused_at_every_level(section: str) -> None:
    name = f"{section}.colour".removeprefix(".")
    with pytest.raises(ParamsError, match=rf"^{re.escape(name)} .*not a key.*\(got 7\)$"):
        Params.parse(with_values({name: 7}))


@pytest.mark.parametrize("name", [*DOCUMENTED, *SECTIONS])
def test_a_missing_key_is_refused_at_every_level(name: str) -> None:
    with pytest.raises(ParamsError, match=rf"^{re.escape(name)} must be given \(got nothing\)$"):
        Params.parse(without(name))


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(("value", "got"), [(5, "5"), ([], "[]"), ("x", "'x'"), (True, "true")])
def test_a_section_that_is_no_mapping_is_refused(section: str, value: Any, got: str) -> None:
    with pytest.raises(
        ParamsError, match=rf"^{re.escape(section)} must be a mapping .*\(got .*{re.escape(got)}\)$"
    ):
        Params.parse(with_values({section: value}))


@pytest.mark.parametrize(
    ("text", "got"), [("", "null"), ("# nothing\n", "null"), ("- 1\n", r"\[1\]"), ("5", "5")]
)
def test_a_file_that_is_no_mapping_is_refused(text: str, got: str) -> None:
    with pytest.raises(ParamsError, match=rf"^params\.yaml must be a mapping .*\(got {got}\)$"):
        Params.parse(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SHIPPED + "\ntrain: {}\n", "train"),
        (in_yaml("w: 20.0", "w: 20.0, w: 3.0"), "w"),
        (in_yaml("  epochs: 100", "  epochs: 100\n  epochs: 7"), "epochs"),
        (in_yaml("low: 1.0", "low: 1.0, 'low': 1.0"), "low"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(text: str, key: str) -> None:
    line = max(i for i, line in enumerate(text.splitlines(), 1) if re.search(rf"\b{key}'?:", line))
    with pytest.raises(
        ParamsError, match=rf"^params\.yaml must have each key once .*\b{key}\b.*line {line}\b"
    ):
        Params.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "truth: {w: 1",
        "truth:\n\t- 1\n",
        "truth: !!python/object/apply:os.system [ls]\n",
        "truth: \0\n",
        SHIPPED + "\n---\na: 1\n",
        "? [a]\n: 1\n",
        "a: *b\n",
        "%\n",
    ],
)
def test_what_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match=r"^params\.yaml must be valid YAML \(.+\)$"):
        Params.parse(text)
    assert refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SHIPPED + "\n1: 2\n", id="a number as a key"),
        pytest.param(SHIPPED + "\nno: 2\n", id="a key that YAML reads as false"),
        pytest.param(in_yaml("w: 20.0", "w: 20.0, ~: 1"), id="null as a key in a section"),
        pytest.param(in_yaml("w: 20.0", "w: 2020-13-45"), id="a date that is none"),
        pytest.param(in_yaml("w: 20.0", 'w: !!float "abc"'), id="a tag its text does not fit"),
        pytest.param(in_yaml("rows: 99", "rows: " + "9" * 5000), id="5000 digits"),
        pytest.param(in_yaml("table: null", 'table: "\\ud800"'), id="half a character"),
        pytest.param("[" * 20000, id="brackets without end"),
    ],
)
def test_what_pyyaml_trips_over_is_refused_and_not_a_crash(text: str) -> None:
    assert refusal(text)


# Rules that bind several keys


@pytest.mark.parametrize(
    ("low", "high"), [(99.0, 99.0), (99.5, 99.0), (0, 0), (1.0e300, -1.0e300), (0.0, -0.0)]
)
def test_low_must_be_less_than_high(low: float, high: float) -> None:
    bound, got = re.escape(str(float(high))), re.escape(str(float(low)))
    with pytest.raises(
        ParamsError,
        match=rf"^generate\.x\.low must be less than generate\.x\.high, {bound} \(got {got}\)$",
    ):
        Params.parse(with_values({"generate.x.low": low, "generate.x.high": high}))


def test_a_span_past_float64_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"^generate\.x\.low must .*float64.*\(got -1e\+308\)$"):
        Params.parse(with_values({"generate.x.low": -1.0e308, "generate.x.high": 1.0e308}))


@pytest.mark.parametrize("kind", ["integer", "shared-integer"])
@pytest.mark.parametrize("scale", [1.5, 0.1, 2.0**53, 1.0e300])
def test_integer_noise_takes_a_whole_scale_alone(kind: str, scale: float) -> None:
    with pytest.raises(
        ParamsError,
        match=rf"^generate\.noise\.scale must be a whole number .*{kind} "
        rf"\(got {re.escape(str(scale))}\)$",
    ):
        Params.parse(with_values({"generate.noise": {"kind": kind, "scale": scale}}))


@pytest.mark.parametrize("kind", ["integer", "shared-integer"])
@pytest.mark.parametrize("scale", [0, 1, 10.0, 2**53 - 1])
def test_integer_noise_takes_a_whole_scale_with_or_without_a_point(kind: str, scale: float) -> None:
    params = Params.parse(with_values({"generate.noise": {"kind": kind, "scale": scale}}))
    assert params.generate.noise.scale == scale


@pytest.mark.parametrize(
    ("rows", "holdout"), [(99, 0.98), (99, 0.999), (3, 0.2), (4, 0.5), (5, 0.5), (3, 0.17)]
)
def test_a_holdout_that_leaves_fewer_than_3_rows_is_refused(rows: int, holdout: float) -> None:
    with pytest.raises(
        ParamsError,
        match=rf"^generate\.holdout must leave 3 rows of {rows} to train on \(got {holdout}\)$",
    ):
        Params.parse(with_values({"generate.rows": rows, "generate.holdout": holdout}))


@pytest.mark.parametrize(("rows", "holdout"), [(3, 0.0), (3, 0.16), (6, 0.5), (99, 0.97)])
def test_a_holdout_that_leaves_just_3_rows_or_more_is_taken(rows: int, holdout: float) -> None:
    params = Params.parse(with_values({"generate.rows": rows, "generate.holdout": holdout}))
    assert params.generate.rows - holdout_rows(rows, holdout) >= MIN_ROWS == 3


def test_the_holdout_of_a_table_is_not_judged_by_the_rows_that_are_not_used() -> None:
    text = with_values(
        {"generate.table": "data/own/a.csv", "generate.rows": 3, "generate.holdout": 0.9}
    )
    assert Params.parse(text).generate.holdout == 0.9


@pytest.mark.parametrize(
    "table",
    [
        "a.csv",
        "own/a.csv",
        "data/a.csv",
        "data/own",
        "data/own/",
        "data/ownership/a.csv",
        "/data/own/a.csv",
        "/tmp/a.csv",
        "data/own/../a.csv",
        "data/own/../../a.csv",
        "data/own/b/../a.csv",
        "../data/own/a.csv",
        "data/../data/own/a.csv",
        "data\\own\\a.csv",
        "https://example.org/data/own/a.csv",
        "",
    ],
)
def test_a_table_outside_data_own_is_refused(table: str) -> None:
    with pytest.raises(
        ParamsError,
        match=rf"^generate\.table must name a file in data/own/ \(got .*'{re.escape(table)}'\)$",
    ):
        Params.parse(with_values({"generate.table": table}))


@pytest.mark.parametrize(
    "table",
    ["data/own/a.txt", "data/own/a", "data/own/a.CSV", "data/own/a.csv.gz", "data/own/.csv"],
)
def test_a_table_of_another_kind_is_refused(table: str) -> None:
    with pytest.raises(
        ParamsError,
        match=rf"^generate\.table must end in \.csv or \.parquet \(got .*'{re.escape(table)}'\)$",
    ):
        Params.parse(with_values({"generate.table": table}))


@pytest.mark.parametrize(
    "table", ["data/own/a.csv", "data/own/a.parquet", "data/own/my tables/größe 1.csv"]
)
def test_a_table_in_data_own_is_taken(table: str) -> None:
    assert Params.parse(with_values({"generate.table": table})).generate.table == table


def test_x_and_y_must_be_two_columns() -> None:
    with pytest.raises(
        ParamsError,
        match=r"^generate\.columns\.x must name another column than generate\.columns\.y"
        r" \(got .*'t'\)$",
    ):
        Params.parse(with_values({"generate.columns": {"x": "t", "y": "t"}}))


def test_points_cannot_be_drawn_without_a_truth() -> None:
    with pytest.raises(
        ParamsError, match=r"^truth must be given where generate\.table is null \(got null\)$"
    ):
        Params.parse(with_values({"truth": None}))


def test_mps_has_no_float64() -> None:
    with pytest.raises(
        ParamsError, match=r"^train\.dtype must be float32 on device mps.*\(got .*'float64'\)$"
    ):
        Params.parse(with_values({"train.device": "mps"}))
    assert Params.parse(with_values({"train.device": "mps", "train.dtype": "float32"}))


def test_a_very_long_value_does_not_make_a_very_long_message() -> None:
    assert len(refusal(with_values({"train.epochs": "9" * 5000}))) < 250
    assert len(refusal(with_values({"train.epochs": list(range(5000))}))) < 250


# How many rows are held out


@settings(deadline=None, max_examples=400)
@given(
    rows=st.integers(3, 2**48),
    digits=st.integers(1, 15),
    numerator=st.integers(0, 10**15 - 1),
)
@example(rows=100, digits=2, numerator=29)
@example(rows=3, digits=1, numerator=5)
@example(rows=10**9, digits=9, numerator=1)
def test_the_holdout_is_the_decimal_share_of_the_rows_with_halves_rounded_up(
    rows: int, digits: int, numerator: int
) -> None:
    numerator %= 10**digits
    fraction = float(Decimal(numerator).scaleb(-digits))
    twice = 2 * 10**digits  # nearest whole number, in whole numbers: floor((2rk + d) / 2d)
    assert holdout_rows(rows, fraction) == (2 * rows * numerator + 10**digits) // twice


@settings(deadline=None)
@given(rows=st.integers(1, 10**6), fraction=st.floats(0, 1, exclude_max=True))
def test_one_more_row_never_takes_a_row_out_of_the_holdout(rows: int, fraction: float) -> None:
    assert holdout_rows(rows + 1, fraction) - holdout_rows(rows, fraction) in (0, 1)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("epochz", "train.epochs"),
        ("learning-rate", "train.learning_rate"),
        ("drift_levle", "retrain.drift_level"),  # which no stage reads, and every stage refuses
    ],
)
def test_a_misspelt_key_is_told_what_it_is_like(typed: str, meant: str) -> None:
    section, _, key = meant.partition(".")
    text = SHIPPED.replace(f"{key}:", f"{typed}:")
    with pytest.raises(ParamsError, match=rf"^{section}\.{typed} .*: {re.escape(meant)}\? \(got"):
        Params.parse(text)


def test_a_key_that_is_like_none_is_told_nothing() -> None:
    with pytest.raises(
        ParamsError, match=r"^train\.qqqq is not a key that is known here \(got 1\)$"
    ):
        Params.parse(SHIPPED.replace("train:\n", "train:\n  qqqq: 1\n"))
