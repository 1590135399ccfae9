"""Numbers as text: the digits that mean something, and no others."""

import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from knownline.core import formatting

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
def test_a_measured_value_has_the_digits_that_its_error_allows(
    value: float, error: float, text: str
) -> None:
    assert formatting.rounded(value, error) == text


@settings(deadline=None, max_examples=50)
@given(st.integers(-(10**14), 10**14), st.integers(-300, 290))
def test_a_chosen_number_can_be_read_back(digits: int, power: int) -> None:
    value = float(f"{digits}e{power}")
    assert float(formatting.plain(value)) == value


@pytest.mark.parametrize(
    ("value", "text"), [(20.0, "20"), (20.1234567, "20.1234567"), (0.1, "0.1"), (1e-9, "1e-9")]
)
def test_a_chosen_number_is_written_as_it_was_given(value: float, text: str) -> None:
    assert formatting.plain(value) == text


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
def test_a_number_has_at_most_the_requested_digits(
    value: float | None, digits: int, text: str
) -> None:
    assert formatting.significant(value, digits) == text


@settings(deadline=None, max_examples=50)
@given(FINITE, st.integers(1, 17))
def test_exponents_have_neither_a_plus_nor_leading_zeros(value: float, digits: int) -> None:
    text = formatting.significant(value, digits)
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
def test_a_multiple_has_two_decimals_unless_it_is_far_from_1(
    value: float, text: str, signed: str
) -> None:
    assert (formatting.multiple(value), formatting.multiple(value, signed=True)) == (text, signed)


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
def test_r_squared_close_to_1_has_two_digits_after_its_nines(
    value: float | None, text: str
) -> None:
    assert formatting.r_squared(value) == text


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
def test_a_tick_label_has_the_digits_of_its_step(value: float, step: float, text: str) -> None:
    assert formatting.to_step(value, step) == text


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
def test_a_value_of_a_column_is_written_as_it_stands_in_the_table(
    value: float, gap: float, text: str
) -> None:
    assert formatting.to_gap(value, gap) == text


@settings(deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=30, unique=True), st.data())
def test_the_written_value_is_nearest_to_its_own_place_in_the_column(
    column: list[float], data: st.DataObject
) -> None:
    value = data.draw(st.sampled_from(column))
    gap = min(abs(other - value) for other in column if other != value)
    assume(gap > 0)
    written = float(formatting.to_gap(value, gap))
    assert column[int(np.argmin([abs(other - written) for other in column]))] == value


def test_counts_have_a_unit_in_singular_or_plural() -> None:
    assert [formatting.counted(n, "epoch") for n in (0, 1, 1001)] == [
        "0 epochs",
        "1 epoch",
        "1,001 epochs",
    ]
    assert formatting.shown_of(79, 79, "point") == "79 points"
    assert formatting.shown_of(2000, 10**6, "point") == "2,000 of 1,000,000 points"
    assert formatting.shown_of(1, 1, "point") == "1 point"


def test_negative_numbers_get_a_minus_sign_and_hyphens_stay() -> None:
    assert formatting.minus("w = -4.1e-10, float64-like, 2020-09-10, a-1") == (
        "w = −4.1e−10, float64-like, 2020-09-10, a-1"
    )
