"""How large a difference between two numbers may be, and to which files and keys that applies.

Knows nothing of files or pipelines: names are texts.
"""

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from samerun.core.errors import WorkspaceError

ANY = "any"
"""The limit of a file that is not compared, such as a pickle."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest difference that is allowed, as in `math.isclose`: the larger of two limits.

    absolute: in the numbers' own unit. relative: to the larger magnitude of the two numbers.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def __str__(self) -> str:
        if self.is_any:
            return ANY
        if not self.relative:
            return f"{self.absolute:.3g}"
        return f"rel {self.relative:.3g}" + (f", abs {self.absolute:.3g}" if self.absolute else "")

    @property
    def is_any(self) -> bool:
        """Whether any difference is allowed, also of bytes or texts."""
        return math.isinf(self.relative)

    def allowed(self, size: float) -> float:
        """Return the difference that is allowed. size: the larger magnitude of the two numbers."""
        return max(self.absolute, self.relative * size if math.isfinite(size) else 0.0)


def limits(where: str, declared: Mapping[Any, Any]) -> dict[str, Limit]:
    """Return the declared limits, by name. where: the key in dvc.yaml. Raises: WorkspaceError."""
    return {str(name): _limit(f"{where}.{name}", value) for name, value in declared.items()}


def _limit(where: str, value: Any) -> Limit:
    if value == ANY:
        return Limit(relative=math.inf)
    parts = value if isinstance(value, Mapping) else {"abs": value}
    known = bool(parts) and set(parts) <= {"rel", "abs"}
    sizes = known and all(_is_size(one) for one in parts.values())
    if not sizes or math.isinf(parts.get("rel", 0.0)):
        raise WorkspaceError(
            f"{where} must be a number, 0 or more, {{rel: NUMBER, abs: NUMBER}}, or {ANY} (got"
            f" {value!r})"
        )
    return Limit(float(parts.get("abs", 0.0)), float(parts.get("rel", 0.0)))


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (0 <= value <= sys.float_info.max or value == math.inf)
    )


def rule(declared: Collection[str], file: str, key: str) -> str | None:
    """Return the declared name that applies to a key or column of a file; None if none does.

    If several do, the most specific one applies: first a file with a key
    ("reports/metrics.json:rmse"), then a file or folder, then a key. A name may have wildcards, and
    the name of a folder, a mapping or a list covers everything in it; but an exact name comes
    first, and a longer name before a shorter one. file: relative to the folder of dvc.yaml.
    """
    own, labelled = _names(file, key)
    for kind, separator, candidates, labels in (
        ("both", ".", [f"{file}:{one}" for one in own], []),
        ("file", "/", [file], []),
        ("key", ".", own, labelled),
    ):
        names = [*candidates, *labels]
        if exact := next((one for one in names if one in declared), None):
            return exact
        wider = [
            name
            for name in declared
            if (":" in name or kind != "both")
            and (
                any(one.startswith(name.rstrip(separator) + separator) for one in candidates)
                or any(fnmatchcase(one, name) for one in names)
            )
        ]
        if wider:
            return max(wider, key=len)
    return None


def _names(file: str, key: str) -> tuple[list[str], list[str]]:
    """Return the names of a key in its file, with and without indices of lists; and in MLflow.

    MLflow shows the file's name before a key that two files have. It shows a file that holds just
    one number under the file's name.
    """
    path = PurePosixPath(file)
    labels = [path.stem, path.with_suffix("").as_posix()]
    bare = ".".join(part for part in key.split(".") if not part.isdigit())
    own = [one for one in dict.fromkeys((key, bare)) if one]
    return own, [f"{label}.{each}" for label in labels for each in own] if own else labels
