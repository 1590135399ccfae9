"""params.yaml: every key has a type and a rule, and an error names key, rule and value."""

import io
import math
import re
from typing import Any

import pytest
from dvc.utils.serialize._yaml import _dump, parse_yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from knownline.core.errors import ParamsError
from knownline.params import Params
from tests.conftest import ROOT

SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")

DEFAULTS: dict[str, Any] = {
    "model": "line",
    "truth.w": 20.0,
    "truth.b": 5.0,
    "generate.table": None,
    "generate.columns.x": "x",
    "generate.columns.y": "y",
    "generate.csv.separator": ",",
    "generate.csv.decimal": ".",
    "generate.rows": 99,
    "generate.x.spacing": "grid",
    "generate.x.low": 1.0,
    "generate.x.high": 99.0,
    "generate.noise.kind": "normal",
    "generate.noise.scale": 1.5,
    "generate.holdout": 0.2,
    "generate.seed": 20200910,
    "train.epochs": 100,
    "train.optimizer": "gd",
    "train.learning_rate": 0.25,
    "train.batch_size": None,
    "train.standardize": True,
    "train.compress": True,
    "train.dtype": "float64",
    "train.device": "auto",
    "train.seed": 0,
    "evaluate.z": 4.0,
    "evaluate.optimiser_tolerance": 1.0e-9,
    "evaluate.min_r2": None,
    "evaluate.max_rmse": None,
    "evaluate.beats_mean": False,
    "evaluate.beats_linear": 0.01,
    "evaluate.beats_champion": False,
    "evaluate.bend": None,
    "evaluate.scatter": None,
    "evaluate.normality": None,
}
OPTIONAL = ["model", "generate.csv", "train.optimizer", "train.batch_size"]
OPTIONAL += ["evaluate.beats_linear", "experiment"]
OPTIONAL += [f"generate.csv.{key}" for key in ("separator", "decimal")]
OPTIONAL += [f"evaluate.{key}" for key in ("min_r2", "max_rmse", "beats_mean", "beats_champion")]
OPTIONAL += [f"evaluate.{key}" for key in ("bend", "scatter", "normality")]
"""Keys that may be left out of params.yaml."""
FLOATS = [key for key, value in DEFAULTS.items() if type(value) is float]
INTS = [key for key, value in DEFAULTS.items() if type(value) is int]
BOOLS = [key for key, value in DEFAULTS.items() if type(value) is bool]
CHOICES = {
    "generate.x.spacing": "grid or uniform",
    "generate.noise.kind": "normal, integer or shared-integer",
    "train.optimizer": "gd, adam or lbfgs",
    "train.dtype": "float64 or float32",
    "train.device": "auto, cpu, cuda, mps or xpu",
}
NAMES = ["model", "generate.columns.y", "generate.csv.separator", "generate.csv.decimal"]
TESTS = ["bend", "scatter", "normality"]
NULLABLE = [f"evaluate.{key}" for key in ("min_r2", "max_rmse", "bend", "scatter", "normality")]
NULLABLE += ["train.batch_size", "evaluate.beats_linear"]
SECTIONS = ["truth", "generate", "generate.columns", "generate.csv", "generate.x"]
SECTIONS += ["generate.noise", "train", "evaluate"]
TABLE = "data/own/a.csv"


def changed(values: dict[str, Any], *, without: str = "") -> str:
    """Return params.yaml with other values by dotted name, and without one key."""
    mapping = YAML(typ="safe").load(SHIPPED)
    for name in [*values, *([without] if without else [])]:
        *sections, key = name.split(".")
        section = mapping
        for each in sections:
            section = section[each]
        if name == without:
            del section[key]
        else:
            section[key] = values[name]
    writer, stream = YAML(typ="safe"), io.StringIO()
    writer.default_flow_style = False
    writer.dump(mapping, stream)
    return stream.getvalue()


def replaced(old: str, new: str) -> str:
    assert SHIPPED.count(old) == 1
    return SHIPPED.replace(old, new)


def error_of(text: str) -> str:
    with pytest.raises(ParamsError) as raised:
        Params.parse(text)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    return message


def error_for(name: str, value: Any) -> str:
    """Return the error of one changed value; it begins with the key and ends with the value."""
    message = error_of(changed({name: value}))
    assert message.startswith(f"{name} must ")
    assert re.search(r"\(got .*\)$", message)
    return message


def value_of(params: Params, name: str) -> Any:
    value: Any = params
    for part in name.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value[0] if name == "generate.columns.x" else value


# The shipped file


def test_the_shipped_file_has_the_documented_defaults() -> None:
    params = Params.parse(SHIPPED)
    for name, value in DEFAULTS.items():
        found = value_of(params, name)
        assert (found, type(found)) == (value, type(value))
    assert params.flat() == DEFAULTS


def test_flat_has_a_truth_that_is_null() -> None:
    expected = {name: value for name, value in DEFAULTS.items() if not name.startswith("truth.")}
    expected |= {"truth": None, "generate.table": TABLE}
    assert Params.parse(changed({"truth": None, "generate.table": TABLE})).flat() == expected


def test_params_cannot_be_changed_after_reading() -> None:
    params = Params.parse(SHIPPED)
    for name in [*DEFAULTS, *SECTIONS]:
        *sections, key = name.split(".")
        section = value_of(params, ".".join(sections)) if sections else params
        if isinstance(section, dict):  # the truth, whose keys are those of the model
            continue
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, value_of(params, name))


def test_a_byte_order_mark_and_crlf_of_a_windows_editor_change_nothing() -> None:
    text = "\ufeff" + SHIPPED.replace("\n", "\r\n")
    assert Params.parse(text) == Params.parse(SHIPPED)


# Ranges


@pytest.mark.parametrize(
    ("name", "value", "rule", "got"),
    [
        ("truth.w", math.inf, "a finite number", "inf"),
        ("truth.b", -math.inf, "a finite number", "-inf"),
        ("truth.b", math.nan, "a finite number", "nan"),
        ("generate.rows", 2, "3 or more", "2"),
        ("generate.rows", 2**48, f"less than {2**48}", str(2**48)),
        ("generate.x.low", -math.inf, "a finite number", "-inf"),
        ("generate.x.high", math.nan, "a finite number", "nan"),
        ("generate.noise.scale", -0.5, "0.* or more", "-0.5"),
        ("generate.noise.scale", math.inf, "a finite number", "inf"),
        ("generate.holdout", -0.1, "0.* or more", "-0.1"),
        ("generate.holdout", 1, "less than 1", "1"),
        ("generate.holdout", math.nan, "less than 1", "nan"),
        ("generate.seed", -1, "0 or more", "-1"),
        ("generate.seed", 2**63, f"less than {2**63}", str(2**63)),
        ("train.epochs", 0, "greater than 0", "0"),
        ("train.epochs", 2**63, "less than", str(2**63)),  # more than any memory holds
        ("train.learning_rate", 0, "greater than 0", "0"),
        ("train.learning_rate", -0.1, "greater than 0", "-0.1"),
        ("train.learning_rate", math.inf, "a finite number", "inf"),
        ("train.learning_rate", math.nan, "a finite number|greater than 0", "nan"),
        ("train.seed", -1, "0 or more", "-1"),
        ("train.seed", 2**63, f"less than {2**63}", str(2**63)),
        ("evaluate.z", 0.0, "greater than 0", "0.0"),
        ("evaluate.z", math.nan, "a finite number|greater than 0", "nan"),
        ("evaluate.optimiser_tolerance", -1.0e-9, "greater than 0", "-1e-09"),
        ("evaluate.optimiser_tolerance", math.inf, "a finite number", "inf"),
        ("generate.columns.x", "", "not be empty", "''"),
        ("generate.columns.x", ["x", ""], "not be empty", "''"),
        ("generate.columns.x", ["x", 3], "text", "3"),
        ("generate.columns.x", [], "not be empty", "[]"),
        ("generate.columns.x", {"x": 1}, "text or a list of texts", "{'x': 1}"),
        ("evaluate.min_r2", 1, "less than 1", "1"),
        ("evaluate.min_r2", math.nan, "a finite number", "nan"),
        ("evaluate.max_rmse", 0, "greater than 0", "0"),
        ("evaluate.max_rmse", math.inf, "a finite number", "inf"),
        *((f"evaluate.{key}", 0.0009, "0.001 or more", "0.0009") for key in TESTS),
        *((f"evaluate.{key}", 0.5, "less than 0.5", "0.5") for key in TESTS),
        *((f"evaluate.{key}", math.nan, "less than 0.5", "nan") for key in TESTS),
    ],
)
def test_a_value_out_of_range_is_refused_with_key_rule_and_value(
    name: str, value: Any, rule: str, got: str
) -> None:
    message = error_for(name, value)
    assert re.search(rf"must .*({rule}).* \(got .*{re.escape(got)}\)$", message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generate.rows", 2**48 - 1),
        ("generate.seed", 0),
        ("generate.seed", 2**63 - 1),
        ("generate.holdout", 0),
        ("generate.noise.scale", 0),
        ("generate.x.low", -1.0e6),
        ("generate.x.high", 100),
        ("truth.w", 0),
        ("truth.b", -3),
        ("train.epochs", 1),
        ("train.learning_rate", 1),
        ("evaluate.z", 5e-324),
        ("evaluate.optimiser_tolerance", 2),
        ("evaluate.min_r2", -3),
        ("evaluate.max_rmse", 7),
        ("evaluate.bend", 0.499),
        ("evaluate.normality", 0.001),
    ],
)
def test_a_value_at_the_end_of_its_range_and_a_float_without_a_point_are_taken(
    name: str, value: float
) -> None:
    assert value_of(Params.parse(changed({name: value})), name) == value


def test_the_first_of_several_mistakes_is_named() -> None:
    text = changed({"generate.seed": -2, "train.epochs": 0, "evaluate.z": -1})
    assert error_of(text) == "generate.seed must be 0 or more (got -2)"


# Types


@pytest.mark.parametrize("name", [*FLOATS, *INTS])
def test_only_a_number_is_a_number(name: str) -> None:
    kind = "a whole number" if name in INTS else "a number"
    for value, got in ((True, "true"), (False, "false"), ("many", "the text 'many'")):
        assert error_for(name, value) == f"{name} must be {kind} (got {got})"


@pytest.mark.parametrize("name", INTS)
@pytest.mark.parametrize("value", [1.0, 1.5])
def test_a_count_with_a_point_is_refused(name: str, value: float) -> None:
    assert error_for(name, value) == f"{name} must be a whole number (got {value})"


@pytest.mark.parametrize("name", BOOLS)
@pytest.mark.parametrize(("value", "got"), [(1, "1"), (1.0, "1.0"), ("true", "the text 'true'")])
def test_only_true_and_false_are_true_and_false(name: str, value: Any, got: str) -> None:
    assert error_for(name, value) == f"{name} must be true or false (got {got})"


@pytest.mark.parametrize(("name", "choices"), CHOICES.items())
def test_another_word_than_the_choices_is_refused(name: str, choices: str) -> None:
    for word in ("", "other", str(DEFAULTS[name]).upper()):
        assert error_for(name, word) == f"{name} must be {choices} (got the text '{word}')"


@pytest.mark.parametrize("value", ["'1e-3'", '"0.25"', "!!str 1e-3"])
def test_a_number_in_quotes_is_refused_with_the_way_to_write_it(value: str) -> None:
    message = error_of(replaced("learning_rate: 0.25", f"learning_rate: {value}"))
    assert re.search(r"must be a number \(got the text '.*'; a number has no quotes\)$", message)


_TEXT = st.text(max_size=20)
_OTHER = (
    st.none()
    | st.lists(st.integers() | st.floats() | _TEXT, max_size=3)
    | st.dictionaries(_TEXT, st.integers(), max_size=3)
)
WRONG: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(FLOATS, _OTHER | _TEXT | st.booleans()),
    **dict.fromkeys(INTS, _OTHER | _TEXT | st.booleans() | st.floats()),
    **dict.fromkeys(BOOLS, _OTHER | _TEXT | st.integers() | st.floats()),
    **dict.fromkeys([*CHOICES, *NAMES], _OTHER | st.booleans() | st.integers() | st.floats()),
    "generate.columns.x": st.none() | st.booleans() | st.integers() | st.lists(st.integers()),
    **dict.fromkeys(NULLABLE, _OTHER.filter(lambda value: value is not None) | _TEXT),
    "generate.table": _OTHER.filter(lambda value: value is not None) | st.booleans() | st.floats(),
}


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(WRONG)).flatmap(lambda name: st.tuples(st.just(name), WRONG[name])))
def test_any_value_of_the_wrong_type_is_refused_by_its_key(mistake: tuple[str, Any]) -> None:
    assert sorted(WRONG) == sorted(DEFAULTS)
    error_for(*mistake)


def test_a_very_long_value_does_not_make_a_long_message() -> None:
    error_for("train.epochs", "9" * 5000)
    error_for("train.epochs", list(range(5000)))


# Keys


@pytest.mark.parametrize("section", ["", *(name for name in SECTIONS if name != "truth")])
def test_an_unknown_key_is_refused_in_every_section(section: str) -> None:
    name = f"{section}.qqqq".removeprefix(".")
    assert error_of(changed({name: 7})) == f"unknown key {name}"


def test_a_key_that_is_like_no_other_is_refused_without_a_suggestion() -> None:
    assert "?" not in error_of(changed({"train.qqqq": 7}))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("epochz", "train.epochs"),
        ("learning-rate", "train.learning_rate"),
        ("drift_levle", "retrain.drift_level"),  # no stage reads it, every stage refuses it
    ],
)
def test_a_misspelt_key_is_refused_with_the_key_that_it_is_like(written: str, meant: str) -> None:
    section, _, key = meant.partition(".")
    message = error_of(SHIPPED.replace(f"{key}:", f"{written}:"))
    assert message == f"unknown key {section}.{written}: did you mean {meant}?"


def test_a_key_that_may_be_left_out_has_its_default() -> None:
    for name in OPTIONAL:
        assert Params.parse(changed({}, without=name)) == Params.parse(SHIPPED)


@pytest.mark.parametrize("name", sorted({*DEFAULTS, *SECTIONS} - {*OPTIONAL}))
def test_a_missing_key_is_refused(name: str) -> None:
    assert error_of(changed({}, without=name)) == f"{name} must be given (got nothing)"


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(("value", "got"), [(5, "5"), ([], "[]"), ("x", "'x'"), (True, "true")])
def test_a_section_that_is_no_mapping_is_refused(section: str, value: Any, got: str) -> None:
    assert re.search(rf"a mapping .*\(got .*{re.escape(got)}\)$", error_for(section, value))


# YAML: the one that DVC reads and writes


@given(value=st.floats(min_value=5e-324, allow_infinity=False))
@example(1e-6)
@example(5e-05)
@example(1e16)
def test_a_number_that_dvc_writes_is_read_as_it_was_set(value: float) -> None:
    stream = io.StringIO()
    _dump({"optimiser_tolerance": value}, stream)  # what `dvc exp run --set-param` calls
    written = stream.getvalue().strip()
    text = replaced("optimiser_tolerance: 1.0e-9", written)
    assert Params.parse(text).evaluate.optimiser_tolerance == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E+2", 100.0), ("2.5e6", 2.5e6), ("1_0.5", 10.5), ("010", 10), ("0o10", 8)],
)
def test_a_number_is_what_dvc_reads(text: str, value: float) -> None:
    text = replaced("learning_rate: 0.25", f"learning_rate: {text}")
    assert Params.parse(text).train.learning_rate == value
    assert parse_yaml(text, "params.yaml")["train"]["learning_rate"] == value


@pytest.mark.parametrize("name", [*FLOATS, *INTS, *BOOLS])
@pytest.mark.parametrize("text", ["on", "yes", "off", "1:30", "1:30.5", "e3", "0x", "nan", "inf"])
def test_what_only_another_yaml_takes_for_a_number_or_a_boolean_is_text(
    name: str, text: str
) -> None:
    message = error_of(changed({name: text}).replace(f"'{text}'", text))
    assert message.endswith(f"(got the text '{text}')")


@pytest.mark.parametrize(
    ("text", "got"), [("", "null"), ("# nothing\n", "null"), ("- 1\n", "[1]"), ("5", "5")]
)
def test_a_file_that_is_no_mapping_is_refused(text: str, got: str) -> None:
    message = error_of(text)
    assert message.startswith("params.yaml must be a mapping ")
    assert message.endswith(f"(got {got})")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SHIPPED + "\ntrain: {}\n", "train"),
        (replaced("w: 20.0", "w: 20.0, w: 3.0"), "w"),
        (replaced("  epochs: 100", "  epochs: 100\n  epochs: 7"), "epochs"),
        (replaced("low: 1.0", "low: 1.0, 'low': 1.0"), "low"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(text: str, key: str) -> None:
    line = max(n for n, line in enumerate(text.splitlines(), 1) if re.search(rf"\b{key}'?:", line))
    message = error_of(text)
    assert message.startswith("params.yaml must have each key once ")
    assert re.search(rf"\b{key}\b.*line {line}\b", message)


@pytest.mark.parametrize(
    "text",
    [
        "truth: {w: 1",
        "truth:\n\t- 1\n",
        "truth: !!python/object/apply:os.system [ls]\n",
        "truth: \0\n",
        SHIPPED + "\n---\na: 1\n",
        "a: *b\n",
        "%\n",
        pytest.param(replaced("w: 20.0", "w: 2020-13-45"), id="an impossible date"),
        pytest.param(replaced("w: 20.0", 'w: !!float "abc"'), id="a tag its text does not fit"),
        pytest.param("[" * 2000, id="brackets without end"),
    ],
)
def test_invalid_yaml_is_refused_in_one_line(text: str) -> None:
    assert re.match(r"params\.yaml must be valid YAML \(.+\)$", error_of(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SHIPPED + "\n1: 2\n", id="a number as a key"),
        pytest.param(SHIPPED + "\nfalse: 2\n", id="false as a key"),
        pytest.param("? [a]\n: 1\n", id="a list as a key"),
        pytest.param(replaced("w: 20.0", "w: 20.0, ~: 1"), id="null as a key in a section"),
        pytest.param(replaced("rows: 99", "rows: " + "9" * 5000), id="5000 digits"),
        pytest.param(replaced("table: null", 'table: "\\ud800"'), id="half a surrogate pair"),
    ],
)
def test_yaml_that_is_valid_but_unusable_is_refused_in_one_line(text: str) -> None:
    error_of(text)
