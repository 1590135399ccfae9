"""Formats numbers with their meaningful digits and no others.

There is one function for each kind of number: measured, chosen, a multiple, a tick on an axis, a
count. Exponents are written e-9, not e-09. Knows nothing of where the texts appear.
"""

import math
import re

UNKNOWN = "–"


def rounded(value: float, error: float) -> str:
    """Return a measured value, rounded to the second significant digit of its error."""
    if not (error > 0 and math.isfinite(error) and math.isfinite(value)):
        return significant(value, 6)
    if abs(value) > 1e15 * error:
        return significant(value, 15)
    places = 1 - math.floor(math.log10(error))
    size = max(abs(value), error)
    if 1e-4 <= size < (1e15 if places > 0 else 1e7):
        return f"{round(value, places) + 0.0:.{max(0, places)}f}"
    value = round(value, places)
    if not value:
        return "0"
    digits = max(math.floor(math.log10(abs(value))) + places, 0)
    return _short(f"{value:.{digits}e}")


def plain(value: float) -> str:
    """Return a number as somebody wrote it, with all its digits: 20, 20.1234567, 1e-9."""
    return significant(value, 15)


def significant(value: float | None, digits: int) -> str:
    """Return a number with that many significant digits, without trailing zeros; None is a dash."""
    return UNKNOWN if value is None else _short(f"{value + 0.0:.{digits}g}")


def multiple(value: float, *, signed: bool = False) -> str:
    """Return a multiple: 0.35, 12.00, 1160; two digits if it is below 1e-2 or from 1e4 on."""
    sign = "+" if signed else ""
    if 0.01 <= abs(value) < 1e4:
        return f"{value:{sign}.{2 if abs(value) < 99.995 else 0}f}"
    return _short(f"{value + 0.0:{sign if value else ''}.2g}")


def r_squared(value: float | None) -> str:
    """Return R² with its meaningful digits; None is a dash.

    Close to 1, these are the nines and two more digits: twenty held-out rows determine 1 - R² only
    to a third of its value. A value with too many nines to count is written like 1 − 2.3e-12.
    """
    if value is None or not 0.99 < value < 1:
        return significant(value, 2)
    unexplained = 1 - value
    places = 1 - math.floor(math.log10(unexplained))
    return f"{value:.{places}f}" if places < 10 else f"1 − {significant(unexplained, 2)}"


def to_step(value: float, step: float) -> str:
    """Return one of several equally spaced numbers, with the digits that distinguish them.

    A step of 0 means that there is only one number; it is written with all its digits.
    """
    if not step:
        return plain(value)
    largest = max(abs(value), step)
    places = -math.floor(math.log10(step))
    if 1e-4 <= largest < (1e9 if places > 0 else 1e6) and places < 9:
        return f"{round(value, max(places, 0)) + 0.0:.{max(places, 0)}f}"
    digits = math.floor(math.log10(largest)) + places + 1
    return significant(value + 0.0, min(max(digits, 1), 15))


def to_gap(value: float, gap: float) -> str:
    """Return a value with enough digits to find it in a column whose nearest value is `gap` away.

    Whole numbers of up to 15 digits are written out, as they are in a table.
    """
    if abs(value) < 1e15 and value == int(value):
        return str(int(value))
    for digits in range(6, 18):
        text = f"{value:.{digits}g}"
        if abs(float(text) - value) < gap / 4:
            break
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e15 else _short(text)


def counted(number: int, unit: str) -> str:
    """Return a number of things: 1 epoch, 1,001 epochs."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def shown_of(shown: int, of: int, unit: str) -> str:
    """Return how many of all things are shown: 79 points, or 2,000 of 1,000,000 points."""
    return counted(of, unit) if shown == of else f"{shown:,} of {counted(of, unit)}"


def minus(text: str) -> str:
    """Return a text whose negative numbers have a minus sign instead of a hyphen."""
    return re.sub(r"(?<![\w.])-(?=\d)|(?<=\de)-(?=\d)", "−", text)


def _short(text: str) -> str:
    """Return a number without a plus or leading zeros in its exponent."""
    return re.sub(r"e(-?)\+?0*(?=\d)", r"e\1", text)
