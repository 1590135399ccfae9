"""A line as JSON: every bit is kept, and damage is noticed."""

import json
import math
import struct
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core.line import Line

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FIELDS: dict[str, Any] = {"w": 20.0, "b": 5.0, "w_hex": (20.0).hex(), "b_hex": (5.0).hex()}


def bits(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}d", *numbers)


@settings(deadline=None, max_examples=200)
@given(FINITE, FINITE)
def test_json_keeps_every_bit_in_decimals_and_in_hex(w: float, b: float) -> None:
    text = Line(w, b).to_json()
    line, fields = Line.from_json(text), json.loads(text)
    assert bits(line.w, line.b) == bits(w, b)
    assert bits(fields["w"], fields["b"]) == bits(w, b)
    assert bits(float.fromhex(fields["w_hex"]), float.fromhex(fields["b_hex"])) == bits(w, b)


def test_the_json_has_four_fields_and_ends_in_one_newline() -> None:
    text = Line(20.0, 5.0).to_json()
    assert text.endswith("}\n")
    assert json.loads(text) == FIELDS


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("key", ["w", "b"])
def test_a_line_that_is_not_finite_is_not_written(key: str, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Line(**{"w": 0.0, "b": 0.0, key: number}).to_json()


@settings(deadline=None)
@given(FINITE, FINITE, FINITE, st.sampled_from(sorted(FIELDS)))
def test_a_changed_number_is_refused(w: float, b: float, other: float, key: str) -> None:
    fields = json.loads(Line(w, b).to_json())
    changed = other.hex() if key.endswith("hex") else other
    assume(changed != fields[key])
    with pytest.raises(ValueError, match="differ"):
        Line.from_json(json.dumps({**fields, key: changed}))


@pytest.mark.parametrize("key", ["w", "b"])
@pytest.mark.parametrize(("number", "other"), [(0.1, math.nextafter(0.1, 1.0)), (0.0, -0.0)])
def test_a_number_that_differs_in_one_bit_is_refused(key: str, number: float, other: float) -> None:
    fields = json.loads(Line(number, number).to_json())
    with pytest.raises(ValueError, match="differ"):
        Line.from_json(json.dumps({**fields, key: other}))


@pytest.mark.parametrize(
    "line", [Line(20.123456789012345, -5.0e-7), Line(sys.float_info.max, 5e-324)], ids=str
)
def test_no_single_changed_character_gives_another_line(line: Line) -> None:
    text = line.to_json()
    for place in range(len(text)):
        for character in "0123456789abcdefpwx+-. \"',:{}\n":
            try:
                read = Line.from_json(text[:place] + character + text[place + 1 :])
            except ValueError:
                continue
            assert bits(read.w, read.b) == bits(line.w, line.b)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "null", "[]", '"a line"', "{}", "{", '{"w": 20.0, "b": 5.0}'),
        *(json.dumps({k: v for k, v in FIELDS.items() if k != key}) for key in FIELDS),
        *(json.dumps({**FIELDS, key: value}) for key in FIELDS for value in (None, "much", [1])),
        *(json.dumps({**FIELDS, "w": v, "w_hex": str(v)}) for v in (math.nan, math.inf)),
        *(json.dumps({**FIELDS, "b": v, "b_hex": str(v)}) for v in (math.nan, math.inf)),
        *(json.dumps({**FIELDS, key: 10**400}) for key in ("w", "b")),
        json.dumps({**FIELDS, "w_hex": "0x1.4p+4000"}),
    ],
)
def test_text_that_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no line|differ"):
        Line.from_json(text)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_line_is_evaluated_in_the_type_of_x(dtype: type[np.floating[Any]]) -> None:
    y = Line(2.0, -1.0).at(np.array([-1.0, 0.0, 2.5], dtype=dtype))
    assert y.dtype == dtype
    assert y.tolist() == [-3.0, -1.0, 4.0]
    assert Line(2.0, -1.0).at(2.5) == 4.0


def test_a_line_cannot_be_changed() -> None:
    line = Line(1.0, 2.0)
    with pytest.raises(AttributeError, match="w"):
        setattr(line, "w", 3.0)  # noqa: B010 — mypy refuses the assignment
