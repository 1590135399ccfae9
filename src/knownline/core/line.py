"""The line y = w*x + b, and its JSON.

Knows nothing of how the line was fitted or of which files hold it.
"""

import json
import math
from dataclasses import dataclass
from typing import Any


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
        """Return the line as JSON: decimal numbers for people, hex floats to compare bit by bit."""
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

        Raises: ValueError if the text is not such JSON, or its two notations disagree.
        """
        try:
            fields = json.loads(text)
            line = cls(float.fromhex(fields["w_hex"]), float.fromhex(fields["b_hex"]))
            decimal = cls(float(fields["w"]), float(fields["b"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"no line is written there ({error})") from error
        if not (math.isfinite(line.w) and math.isfinite(line.b)):
            raise ValueError(f"no line is written there ({line})")
        if (line.w.hex(), line.b.hex()) != (decimal.w.hex(), decimal.b.hex()):
            raise ValueError(f"its numbers {decimal} and its hex floats {line} differ")
        return line
