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
WRITTEN = {"w": 20.0, "b": 5.0, "w_hex": "0x1.4p+4", "b_hex": "0x1.4p+2"}


def bits(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}d", *numbers)


@settings(deadline=None, max_examples=500)
@given(FINITE, FINITE)
def test_a_line_comes_back_from_json_by_bits(w: float, b: float) -> None:
    line = Line.from_json(Line(w, b).to_json())
    assert bits(line.w, line.b) == bits(w, b)


@settings(deadline=None)
@given(FINITE, FINITE)
def test_both_notations_carry_all_bits_for_readers_that_are_not_ours(w: float, b: float) -> None:
    fields = json.loads(Line(w, b).to_json())
    assert bits(fields["w"], fields["b"]) == bits(w, b)
    assert bits(float.fromhex(fields["w_hex"]), float.fromhex(fields["b_hex"])) == bits(w, b)


def test_the_json_ends_in_one_newline_and_has_four_fields() -> None:
    text = Line(20.0, 5.0).to_json()
    assert text.endswith("}\n")
    assert sorted(json.loads(text)) == ["b", "b_hex", "w", "w_hex"]


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_line_that_is_not_finite_is_never_written(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Line(number, 0.0).to_json()
    with pytest.raises(ValueError, match="not JSON compliant"):
        Line(0.0, number).to_json()


@settings(deadline=None)
@given(FINITE, FINITE, FINITE, st.sampled_from(["w", "b"]))
def test_a_tampered_decimal_is_refused(w: float, b: float, other: float, key: str) -> None:
    fields = json.loads(Line(w, b).to_json())
    assume(other != fields[key])
    with pytest.raises(ValueError, match="differ"):
        Line.from_json(json.dumps({**fields, key: other}))


@settings(deadline=None)
@given(FINITE, FINITE, FINITE, st.sampled_from(["w", "b"]))
def test_a_tampered_hex_float_is_refused(w: float, b: float, other: float, key: str) -> None:
    fields = json.loads(Line(w, b).to_json())
    assume(other != fields[key])
    with pytest.raises(ValueError, match="differ"):
        Line.from_json(json.dumps({**fields, f"{key}_hex": other.hex()}))


@pytest.mark.parametrize("key", ["w", "b"])
def test_the_last_bit_decides(key: str) -> None:
    fields = json.loads(Line(0.1, 0.7).to_json())
    fields[key] = math.nextafter(fields[key], math.inf)
    with pytest.raises(ValueError, match="differ"):
        Line.from_json(json.dumps(fields))


@pytest.mark.parametrize("key", ["w", "b"])
def test_the_sign_of_zero_is_a_bit_like_any_other(key: str) -> None:
    fields = {"w": 0.0, "b": 0.0, "w_hex": "0x0.0p+0", "b_hex": "0x0.0p+0", key: -0.0}
    with pytest.raises(ValueError, match="differ"):
        Line.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "line", [Line(20.123456789012345, -5.0e-7), Line(sys.float_info.max, 5e-324)], ids=str
)
def test_no_single_changed_character_makes_another_line(line: Line) -> None:
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
        "",
        "5",
        "null",
        "[]",
        '"a line"',
        "{}",
        "{",
        '{"w": 20.0, "b": 5.0}',
        *[json.dumps({k: v for k, v in WRITTEN.items() if k != key}) for key in WRITTEN],
        *[json.dumps({**WRITTEN, key: None}) for key in WRITTEN],
        *[json.dumps({**WRITTEN, key: "much"}) for key in WRITTEN],
        *[json.dumps({**WRITTEN, key: [1]}) for key in WRITTEN],
        json.dumps({**WRITTEN, "w": math.nan, "w_hex": "nan"}),
    ],
)
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no line|differ"):
        Line.from_json(text)


@pytest.mark.parametrize(
    "changed",
    [{"w_hex": "0x1.4p+4000"}, {"w": 10**400}, {"b": 10**400}],
    ids=["a hex float past float64", "a w past float64", "a b past float64"],
)
def test_a_number_past_float64_is_refused_like_any_other_damage(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no line|differ"):
        Line.from_json(json.dumps({**WRITTEN, **changed}))


@pytest.mark.parametrize("key", ["w", "b"])
def test_an_infinite_line_is_refused_since_none_is_ever_written(key: str) -> None:
    fields = {**WRITTEN, key: math.inf, f"{key}_hex": "inf"}
    with pytest.raises(ValueError, match=r".+"):
        Line.from_json(json.dumps(fields))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_line_is_evaluated_in_the_type_of_x(dtype: type[np.floating[Any]]) -> None:
    x = np.array([-1.0, 0.0, 2.5], dtype=dtype)
    y = Line(2.0, -1.0).at(x)
    assert y.dtype == dtype
    assert y.tolist() == [-3.0, -1.0, 4.0]
    assert Line(2.0, -1.0).at(2.5) == 4.0


def test_a_line_cannot_be_changed() -> None:
    line = Line(1.0, 2.0)
    name = "w"
    with pytest.raises(AttributeError, match="w"):
        setattr(line, name, 3.0)
