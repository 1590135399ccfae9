"""The problem that a model solves. Models of different problems are never compared.

docs/decisions/0017-one-champion-per-problem.md says why, and what counts as another problem.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from knownline.core.parquet import TARGET
from knownline.params import Params


@dataclass(frozen=True, slots=True)
class Problem:
    """A model, and the columns it is fitted to.

    model: its name in params.yaml. inputs, target: the columns of the table or of the drawn data.
    data: "drawn" or "table"; not which table, because fresh rows may come in another file.
    """

    model: str
    inputs: tuple[str, ...]
    target: str
    data: str

    @classmethod
    def of(cls, params: Params) -> "Problem":
        """Return the problem of params.yaml."""
        if params.generate.table is None:
            return cls(params.model, params.kind.inputs, TARGET, "drawn")
        columns = params.generate.columns
        return cls(params.model, tuple(columns.x), columns.y, "table")

    def to_json(self) -> str:
        """Return the problem as JSON: equal problems have equal texts."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Problem":
        """Read what `to_json` wrote. Raises: ValueError if the text is not such JSON."""
        try:
            fields = json.loads(text)
            return cls(**{**fields, "inputs": tuple(fields["inputs"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"it holds no problem: {error}") from error

    @property
    def words(self) -> str:
        """The problem in words: line, y from x, drawn data."""
        data = "drawn data" if self.data == "drawn" else "a table"
        return f"{self.model}, {self.target} from {', '.join(self.inputs)}, {data}"

    def suffix(self) -> str:
        """Return the suffix for the name of a registered model, after the project's name.

        MLflow allows neither / nor : in names. Eight digits of a hash distinguish equal words.
        """
        words = re.sub(r"[^A-Za-z0-9_]+", "-", f"{self.model}-{self.target}").strip("-")
        return f"{words[:80]}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:8]}"


def described(text: str) -> str:
    """Return a problem in words, given its JSON; any other text as it is."""
    try:
        return Problem.from_json(text).words
    except ValueError:
        return text
