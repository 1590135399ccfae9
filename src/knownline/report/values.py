"""The text of each kind of value on the page: whatever shows a value takes its text from here.

So a value has the same digits in tables, legends and sentences.
"""

import math

from knownline.core.formatting import UNKNOWN, minus, r_squared, rounded, significant


def measured(value: float, error: float) -> str:
    """Return a parameter, rounded by its standard error."""
    return minus(rounded(value, error if math.isfinite(error) else 0.0))


def number(value: float | None, digits: int = 4) -> str:
    """Return an error or a loss; a dash if it is not known or not finite."""
    known = value is not None and math.isfinite(value)
    return minus(significant(value, digits)) if known else UNKNOWN


def determination(value: float | None) -> str:
    """Return R²; a dash if it is not known or not finite."""
    return minus(r_squared(value if value is None or math.isfinite(value) else None))
