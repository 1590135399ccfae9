"""Turns a column of a table into float64, and rejects values that are not finite numbers.

Knows nothing of files.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[np.float64]

_EXACT = float(2**53)
"""Up to this size, every whole number is a float64; beyond it, neighbours become equal."""

_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?|\d{1,2}:\d\d.*")

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")

_CONVERT = "convert it to a number, such as the days or seconds since a first date"


class BadValueError(ValueError):
    """A value that cannot be used. row: its place in the column, from 0. why: an explanation."""

    def __init__(self, row: int, got: str, rule: str = "", why: str = "") -> None:
        super().__init__(got)
        self.row, self.got, self.why = row, got, why
        self.rule = rule or "must hold a finite number in every row"


def numbers(column: Any, decimal: str = ".") -> Array:
    """Return an Arrow array as float64, (rows,). decimal: the decimal sign of numbers in text.

    Raises: BadValueError at the first value that is not a finite number, or at a whole number that
    becomes equal to another one in float64.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    dtype = column.type
    if _is_text(dtype):
        column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
        values = _from_text(column, decimal)
    elif pa.types.is_decimal(dtype):  # Arrow's direct cast can be off in the last place
        values = column.cast(pa.string()).cast(pa.float64())
    elif pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        values = column.cast(pa.float64(), safe=False)
    elif pa.types.is_temporal(dtype):
        raise BadValueError(0, str(dtype), "must hold numbers", _CONVERT)
    else:
        raise BadValueError(0, str(dtype), "must hold numbers")
    if values.null_count:
        raise BadValueError(int(np.argmax(column.is_null().to_numpy(False))), "nothing")
    result: Array = values.to_numpy(zero_copy_only=False)
    if not np.isfinite(result).all():
        row = int(np.argmin(np.isfinite(result)))
        raise BadValueError(row, _shown(column[row].as_py()))
    if (pa.types.is_integer(dtype) or _is_text(dtype)) and np.any(np.abs(result) >= _EXACT):
        _check_whole_numbers(column, result)
    return result


def _is_text(dtype: Any) -> bool:
    return bool(
        pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or dtype == pa.string_view()
    )


def _from_text(column: Any, decimal: str) -> Any:
    points = pc.match_substring(column, ".") if decimal == "," else None
    if points is not None and pc.any(points).as_py():  # 1.234,5: a point as thousands separator
        row = int(np.argmax(points.fill_null(False).to_numpy(False)))
        why = "its decimal sign is a comma, by generate.csv.decimal"
        raise BadValueError(row, _shown(column[row].as_py()), why=why)
    text = pc.replace_substring(column, ",", ".") if decimal == "," else column
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        row = next(i for i, each in enumerate(text.to_pylist()) if not _is_number(each))
        got = column[row].as_py()
        why = f"a date? {_CONVERT}" if _DATE.fullmatch(got) else ""
        if decimal == "." and _DECIMAL_COMMA.fullmatch(got):
            why = 'a decimal comma? set generate.csv.decimal to ","'
        raise BadValueError(row, _shown(got), why=why) from None


def _check_whole_numbers(column: Any, values: Array) -> None:
    """Raise BadValueError if two whole numbers from 2^53 on are one float64."""
    seen: dict[float, int] = {}
    for row in np.flatnonzero(np.abs(values) >= _EXACT).tolist():
        exact = column[row].as_py()
        if isinstance(exact, str):
            if not re.fullmatch(r"[+-]?\d+", exact):
                continue
            exact = int(exact)
        if seen.setdefault(float(values[row]), exact) != exact:
            rule = "must hold whole numbers that float64 can tell apart"
            why = "subtract the first one, or scale them"
            raise BadValueError(row, str(exact), rule, why)


def _is_number(text: str | None) -> bool:
    if text is None:
        return True  # an empty value has its own message
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)[:80]
