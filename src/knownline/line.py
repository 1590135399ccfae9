"""The line y = w*x + b, and how it is written down.

Knows nothing of where the line came from or of which files hold it.
"""

import json
import math
from dataclasses import dataclass
from typing import Any


def rounded(value: float, error: float) -> str:
    """Return a value with as many places as two digits of its error have."""
    if not (error > 0 and math.isfinite(error) and math.isfinite(value)):
        return f"{value:.6g}"
    if abs(value) > 1e15 * error:
        return f"{value:.15g}"
    places = 1 - math.floor(math.log10(error))
    size = max(abs(value), error)
    if 1e-4 <= size < (1e15 if places > 0 else 1e7):
        return f"{round(value, places) + 0.0:.{max(0, places)}f}"
    value = round(value, places)
    if not value:
        return "0"
    digits = max(math.floor(math.log10(abs(value))) + places, 0)
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(power)}"


def plain(value: float) -> str:
    """Return a number that somebody chose with the digits it was given: 20, 20.1234567, 1e-09."""
    return f"{value:.15g}"


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line.

    w: the slope, in units of y per unit of x.
    b: the intercept, in units of y.
    """

    w: float
    b: float

    def at(self, x: Any) -> Any:
        """Return w*x + b for a number, an array or a tensor x, in its own type."""
        return x * self.w + self.b

    def to_json(self) -> str:
        """Return the line as JSON: numbers for people, hex floats for a proof by bits."""
        return (
            json.dumps(
                {"w": self.w, "b": self.b, "w_hex": self.w.hex(), "b_hex": self.b.hex()},
                indent=2,
                allow_nan=False,
            )
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> "Line":
        """Read what `to_json` wrote.

        Raises: ValueError where the text is no such line, or its two notations disagree.
        """
        try:
            fields = json.loads(text)
            line = cls(float.fromhex(fields["w_hex"]), float.fromhex(fields["b_hex"]))
            numbers = cls(float(fields["w"]), float(fields["b"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"no line is written there ({error})") from error
        if not (math.isfinite(line.w) and math.isfinite(line.b)):
            raise ValueError(f"no line is written there ({line})")
        if (line.w.hex(), line.b.hex()) != (numbers.w.hex(), numbers.b.hex()):
            raise ValueError(f"its numbers {numbers} and its hex floats {line} differ")
        return line
