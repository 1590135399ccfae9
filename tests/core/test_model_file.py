"""A fitted model as JSON: every bit is kept, and damage is noticed."""

import json
import math
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core.model_file import Fitted
from samerun.core.errors import DamagedError, MissingError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)

NUMBERS = {"w": 20.0, "b": 5.0}
HEX = {name: value.hex() for name, value in NUMBERS.items()}
FIELDS: dict[str, Any] = {"model": "line", "inputs": ["x"], "parameters": NUMBERS, "hex": HEX}


def line(w: float, b: float) -> Fitted:
    return Fitted("line", ("x",), {"w": w, "b": b})


def with_number(part: str, name: str, value: Any) -> str:
    """Return the JSON of a model with another value in `parameters` or `hex`."""
    return json.dumps({**FIELDS, part: {**FIELDS[part], name: value}})


def bits(numbers: Iterable[float]) -> list[bytes]:
    return [struct.pack(">d", number) for number in numbers]


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(NAMES, FINITE, min_size=1, max_size=4), st.lists(NAMES, max_size=3))
def test_json_keeps_every_bit_in_decimals_and_in_hex(
    parameters: dict[str, float], inputs: list[str]
) -> None:
    written = Fitted("model", tuple(inputs), parameters)
    text = written.to_json()
    found, fields = Fitted.from_json(text), json.loads(text)
    assert (found.model, found.inputs) == ("model", tuple(inputs))
    assert list(found.parameters) == list(parameters)
    for numbers in (found.parameters, fields["parameters"]):
        assert bits(numbers.values()) == bits(parameters.values())
    assert bits(map(float.fromhex, fields["hex"].values())) == bits(parameters.values())


def test_the_json_has_four_fields_and_ends_in_one_newline() -> None:
    text = line(20.0, 5.0).to_json()
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")
    assert json.loads(text) == FIELDS


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", ["w", "b"])
def test_a_model_that_is_not_finite_is_not_written(name: str, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Fitted("line", ("x",), {**NUMBERS, name: number}).to_json()


@settings(deadline=None)
@given(FINITE, FINITE, FINITE, st.sampled_from(["w", "b"]), st.booleans())
def test_a_changed_number_is_refused(
    w: float, b: float, other: float, name: str, in_hex: bool
) -> None:
    fields = json.loads(line(w, b).to_json())
    part, changed = ("hex", other.hex()) if in_hex else ("parameters", other)
    assume(changed != fields[part][name])
    fields[part][name] = changed
    with pytest.raises(ValueError, match="differ"):
        Fitted.from_json(json.dumps(fields))


@pytest.mark.parametrize("name", ["w", "b"])
@pytest.mark.parametrize(("number", "other"), [(0.1, math.nextafter(0.1, 1.0)), (0.0, -0.0)])
def test_a_number_that_differs_in_one_bit_is_refused(
    name: str, number: float, other: float
) -> None:
    fields = json.loads(line(number, number).to_json())
    fields["parameters"][name] = other
    with pytest.raises(ValueError, match="differ"):
        Fitted.from_json(json.dumps(fields))


@pytest.mark.parametrize("part", ["parameters", "hex"])
def test_a_parameter_in_only_one_notation_is_refused(part: str) -> None:
    fields = json.loads(line(20.0, 5.0).to_json())
    del fields[part]["b"]
    with pytest.raises(ValueError, match="differ"):
        Fitted.from_json(json.dumps(fields))


@pytest.mark.parametrize(("w", "b"), [(20.123456789012345, -5.0e-7), (sys.float_info.max, 5e-324)])
def test_no_single_changed_character_gives_other_numbers(w: float, b: float) -> None:
    text = line(w, b).to_json()
    for place in range(len(text)):
        for character in "0123456789abcdefpwx+-. \"',:{}[]\n":
            try:
                found = Fitted.from_json(text[:place] + character + text[place + 1 :])
            except ValueError:
                continue
            assert bits(found.parameters.values()) == bits([w, b])


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "null", "[]", '"a line"', "{}", "{", '{"parameters": {"w": 20.0, "b": 5.0}}'),
        *(json.dumps({k: v for k, v in FIELDS.items() if k != key}) for key in FIELDS),
        *(json.dumps({**FIELDS, key: v}) for key in FIELDS for v in (None, 5) if key != "model"),
        json.dumps({**FIELDS, "parameters": {}, "hex": {}}),
        *(with_number(part, "w", v) for part in ("parameters", "hex") for v in (None, "much", [1])),
        *(
            json.dumps({**FIELDS, "parameters": {"w": v}, "hex": {"w": str(v)}})
            for v in (math.nan, math.inf)
        ),
        *(with_number("parameters", name, 10**400) for name in ("w", "b")),
        with_number("hex", "w", "0x1.4p+4000"),
    ],
)
def test_text_that_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no model|differ"):
        Fitted.from_json(text)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Fitted("plane", ("area", "größe"), {"w_area": 1.5, "w_gr_e": -2.0, "b": 0.1})
    written.write(tmp_path / "model.json")
    assert Fitted.read(tmp_path / "model.json") == written


def test_a_missing_or_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    with pytest.raises(MissingError, match=r"model\.json is missing: run `dvc repro`"):
        Fitted.read(path)
    for content in (b"{}", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=r"model\.json is damaged .*force"):
            Fitted.read(path)


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="model"):
        setattr(line(1.0, 2.0), "model", "plane")  # noqa: B010 — mypy refuses the assignment
