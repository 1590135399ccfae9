"""How numbers are said: what is written can be read back as what was meant."""

import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core.formatting import (
    apart,
    counted,
    found_by,
    minus,
    multiple,
    part,
    plain,
    r_squared,
    rounded,
    significant,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (20.00219, 0.0063, "20.0022"),
        (-0.00004, 0.0063, "0.0000"),
        (12345.6, 120.0, "12350"),
        (1.001459906571e12, 4.2e9, "1.0015e12"),
        (4.2e9, 4.2e9, "4.2e9"),
        (1.0015e-9, 1.2e-13, "1.00150e-9"),
        (0.5, 3e9, "0"),
        (-4e9, 3e8, "-4.00e9"),
        (20.0, 0.0, "20"),
        (20.0, float("nan"), "20"),
        (3.0, 1e-12, "3.0000000000000"),
        (999999999.9904, 0.022, "999999999.990"),
        (-0.0, 1e-20, "0"),
    ],
)
def test_a_value_has_the_digits_that_its_error_leaves(
    value: float, error: float, text: str
) -> None:
    assert rounded(value, error) == text


@pytest.mark.parametrize(
    ("value", "text"), [(20.0, "20"), (20.1234567, "20.1234567"), (0.1, "0.1"), (1e-9, "1e-9")]
)
def test_a_chosen_number_is_said_as_it_was_given(value: float, text: str) -> None:
    assert plain(value) == text


@settings(deadline=None)
@given(st.integers(-(10**14), 10**14), st.integers(-300, 290))
def test_a_chosen_number_comes_back_as_it_was(digits: int, power: int) -> None:
    value = float(f"{digits}e{power}")
    assert float(plain(value)) == value


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234567.0, 5, "1.2346e6"),
        (-0.000012345, 2, "-1.2e-5"),
        (0.5, 4, "0.5"),
        (1e100, 3, "1e100"),
        (math.inf, 2, "inf"),
        (None, 3, "–"),
    ],
)
def test_a_number_has_as_many_digits_as_asked_for(
    value: float | None, digits: int, text: str
) -> None:
    assert significant(value, digits) == text


@settings(deadline=None)
@given(FINITE, st.integers(1, 17))
def test_every_way_of_writing_has_one_form_of_exponents(value: float, digits: int) -> None:
    text = significant(value, digits)
    assert not re.search(r"e\+|e-?0", text)
    assert float(text) == float(f"{value:.{digits}g}")


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        (0.354, "0.35", "+0.35"),
        (-12.0, "-12.00", "-12.00"),
        (1160.31, "1160", "+1160"),
        (0.0, "0", "0"),
        (4.13e-10, "4.1e-10", "+4.1e-10"),
        (123456.0, "1.2e5", "+1.2e5"),
        (math.inf, "inf", "+inf"),
    ],
)
def test_a_multiple_is_said_to_two_places_unless_it_is_far_from_1(
    value: float, text: str, signed: str
) -> None:
    assert (multiple(value), multiple(value, signed=True)) == (text, signed)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9999936, "0.9999936"),
        (0.99999999999, "1 − 1e-11"),
        (0.9944, "0.9944"),
        (0.99, "0.99"),
        (0.8712, "0.87"),
        (0.0, "0"),
        (-3.21, "-3.2"),
        (1.0, "1"),
        (None, "–"),
    ],
)
def test_r_squared_has_the_digits_that_say_something(value: float | None, text: str) -> None:
    assert r_squared(value) == text


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0.30000000000000004, 0.1, "0.3"),
        (-0.0, 1.0, "0"),
        (-2e7, 1e7, "-2e7"),
        (1e-7, 1e-7, "1e-7"),
        (1700050000.0, 50000.0, "1.70005e9"),
        (0.0, 0.0, "0"),
        (2.5, 0.0, "2.5"),
    ],
)
def test_a_number_among_others_has_the_digits_of_its_step(
    value: float, step: float, text: str
) -> None:
    assert apart(value, step) == text


@pytest.mark.parametrize(
    ("value", "gap", "text"),
    [
        (1700003600.0, 3600.0, "1700003600"),
        (204.6, 0.5, "204.6"),
        (2.5, 1.0, "2.5"),
        (47.123456789, 1e-5, "47.123457"),
        (1.5e-9, 1e-10, "1.5e-9"),
        (3.25e20, 1e10, "3.25e20"),
        (7.0, math.inf, "7"),
        (-1700003600.0, 1.0, "-1700003600"),
    ],
)
def test_a_number_is_said_so_that_it_can_be_found(value: float, gap: float, text: str) -> None:
    assert found_by(value, gap) == text


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=30, unique=True), st.data())
def test_the_point_nearest_to_what_is_said_is_the_one_meant(
    column: list[float], data: st.DataObject
) -> None:
    value = data.draw(st.sampled_from(column))
    gap = min(abs(other - value) for other in column if other != value)
    assume(gap > 0)
    said = float(found_by(value, gap))
    assert column[int(np.argmin([abs(other - said) for other in column]))] == value


def test_things_are_counted() -> None:
    assert [counted(n, "epoch") for n in (0, 1, 1001)] == ["0 epochs", "1 epoch", "1,001 epochs"]
    assert part(79, 79, "point") == "79 points"
    assert part(2000, 10**6, "point") == "2,000 of 1,000,000 points"
    assert part(1, 1, "point") == "1 point"


def test_a_minus_is_one_and_a_hyphen_stays() -> None:
    assert minus("w = -4.1e-10, float64-like, 2020-09-10, a-1") == (
        "w = −4.1e−10, float64-like, 2020-09-10, a-1"
    )
