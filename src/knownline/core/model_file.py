"""models/model.json: the fitted parameters, as numbers for people and as hex floats to the bit.

A network has no named parameters; its weights are in models/weights.safetensors.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from knownline.core.errors import damaged, missing
from knownline.core.kinds import Parameters
from knownline.core.layout import WEIGHTS
from samerun.core import files


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model.

    model: its name in params.yaml. inputs: the names of its columns. weights: for a network, the
    SHA-256 of the file with its weights.
    """

    model: str
    inputs: tuple[str, ...]
    parameters: Parameters
    weights: str = ""

    def to_json(self) -> str:
        """Return the model as JSON."""
        content = {
            "model": self.model,
            "inputs": list(self.inputs),
            "parameters": self.parameters,
            "hex": {name: value.hex() for name, value in self.parameters.items()},
            **({"weights": self.weights} if self.weights else {}),
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Fitted":
        """Read what `to_json` wrote.

        Raises: ValueError if the text is not such JSON, or its two notations disagree.
        """
        try:
            content = json.loads(text)
            decimal = {name: float(value) for name, value in content["parameters"].items()}
            exact = {name: float.fromhex(value) for name, value in content["hex"].items()}
            inputs, weights = tuple(map(str, content["inputs"])), str(content.get("weights", ""))
            fitted = cls(str(content["model"]), inputs, exact, weights)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"it holds no model: {error}") from error
        if not (exact or weights) or not all(map(math.isfinite, exact.values())):
            raise ValueError(f"it holds no model: {exact}")
        if {k: v.hex() for k, v in decimal.items()} != {k: v.hex() for k, v in exact.items()}:
            raise ValueError(f"its numbers {decimal} and its hex floats {exact} differ")
        return fitted

    def write(self, path: Path, weights: bytes | None = None) -> None:
        """Write the model to a file. weights: a network's, for the file beside it."""
        beside = path.with_name(WEIGHTS.name)
        if weights is None:
            beside.unlink(missing_ok=True)
        else:
            files.write_bytes(beside, weights)
        files.write_text(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "Fitted":
        """Return the model in a file. Raises: MissingError or DamagedError if there is none."""
        try:
            fitted = cls.from_json(path.read_text(encoding="utf-8"))
            if fitted.weights and files.sha256_of(path.with_name(WEIGHTS.name)) != fitted.weights:
                raise ValueError(f"{WEIGHTS.name} does not match its checksum")
            return fitted
        except FileNotFoundError as error:
            raise missing(error.filename or path) from None
        except (ValueError, OSError) as error:
            raise damaged(path, str(error)) from error
