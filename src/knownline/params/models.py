"""Finds a model of model.py by its name in params.yaml, and checks that it can be used."""

import re
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from knownline.core.kinds import Linear

RESERVED = ("device", "epoch", "error", "gate", "holdout", "loss", "ols", "optimiser_error", "rows",
            "se", "step", "train", "truth", "z")  # fmt: skip
"""Names in history.csv, metrics.json and what is shown live that no parameter may have."""

_NAME = re.compile(r"[^\W\d]\w*")

_PROBE = np.array([0.75, 1.5, 2.25, 4.0])


class ModelError(ValueError):
    """A model cannot be used. key, rule, got: of params.yaml, for the message."""

    def __init__(self, key: str, rule: str, got: object) -> None:
        super().__init__(f"{key} {rule} (got {got})")
        self.key, self.rule, self.got = key, rule, got


def names() -> list[str]:
    """Return the names of the models, as params.yaml has them."""
    return [name.lower() for name, value in vars(_module()).items() if _is_model(name, value)]


def named(name: str, columns: tuple[str, ...]) -> Linear:
    """Return the model with a name, for the columns of the table (or of the drawn data).

    Raises: ModelError if there is none, it has another number of inputs, or a term that is not a
    function of its own row alone.
    """
    found = vars(_module()).get(name.upper())
    if name != name.lower() or not _is_model(name.upper(), found):
        rule = f"must be one of {', '.join(names())}, each an object in capitals in model.py"
        raise ModelError("model", rule, name)
    kind = found if isinstance(found, Linear) else _for_columns(name, found, columns)
    if not isinstance(kind.inputs, tuple) or not isinstance(kind.terms, dict) or not kind.terms:
        rule = "must have a tuple of inputs and a dict of terms in model.py"
        raise ModelError("model", rule, name)
    if "y" in kind.inputs:
        rule = "must not name a column y, as data/ calls the target"
        raise ModelError("generate.columns.x", rule, "y")
    if len(kind.inputs) != len(columns):
        count = len(kind.inputs)
        rule = f"must name {count} column{'s' * (count != 1)} for the model {name}"
        raise ModelError("generate.columns.x", rule, ", ".join(columns))
    _check_names(name, kind)
    _check_terms(name, kind)
    return kind


def _module() -> ModuleType:
    """Return model.py. Raises: ModelError if it cannot be imported."""
    try:
        return import_module("knownline.model")
    except Exception as error:  # it is the user's file
        line = error.lineno if isinstance(error, SyntaxError) else _last_line(error)
        rule = "must be in a model.py that can be imported"
        raise ModelError("model", rule, f"{_told(error)}, line {line}") from error


def _for_columns(name: str, make: Any, columns: tuple[str, ...]) -> Linear:
    try:
        kind = make(columns)
    except Exception as error:
        rule = "must be a function of the columns' names that returns a Linear"
        raise ModelError("model", rule, f"{name}: {_told(error)}") from error
    if not isinstance(kind, Linear):
        raise ModelError("model", "must be a Linear, or a function that returns one", name)
    if len(kind.names) <= len(columns):
        rule = "must have names that differ in their letters and digits"
        raise ModelError("generate.columns.x", rule, ", ".join(columns))
    return kind


def _check_names(name: str, kind: Linear) -> None:
    for each in kind.names:
        if each in RESERVED:
            rule = f"must have no parameter named {each}, which is a metric"
            raise ModelError("model", rule, name)
        if not _NAME.fullmatch(each):
            rule = "must have parameters named by a letter, then letters, digits and _"
            raise ModelError("model", rule, f"{name}: {each!r}")


def _check_terms(name: str, kind: Linear) -> None:
    """Raise ModelError for a term that cannot be used. It is tried on four rows, and on each."""
    rows = [_PROBE + 0.125 * index for index in range(len(kind.inputs))]
    for values in rows:
        values.flags.writeable = False
    constants = []
    for each, term in kind.terms.items():
        where = f"{name}: term {each}"
        whole = _value(where, term, rows)
        alone = [_value(where, term, [values[i : i + 1] for values in rows]) for i in range(4)]
        if np.ndim(whole) == 0:
            constants.append(each)
            good = all(np.ndim(one) == 0 and one == whole for one in alone)
            if not (good and np.isfinite(whole) and whole != 0):
                raise ModelError(
                    "model", "must have a constant term that is a number, not 0", where
                )
        elif np.shape(whole) != (4,) or not np.allclose(
            whole, [np.ravel(one)[0] for one in alone], rtol=1e-9, equal_nan=True
        ):
            rule = "must have terms that give each row a number by that row's inputs alone"
            raise ModelError("model", rule, where)
    if len(constants) > 1:
        rule = "must have one constant term at the most"
        raise ModelError("model", rule, f"{name}: {', '.join(constants)}")
    if len(constants) == len(kind.terms):
        raise ModelError("model", "must have a term that varies", name)


def _value(where: str, term: Any, rows: list[Any]) -> Any:
    """Return a term's value: a number, or an array of numbers."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = term(*rows)
        if not isinstance(value, np.ndarray | float | int | np.number | np.bool_):
            raise TypeError(f"{type(value).__name__}, not an array")
        if np.asarray(value).dtype.kind not in "fiub":
            raise TypeError(f"an array of {np.asarray(value).dtype}")
    except Exception as error:
        rule = "must have terms that are functions of the inputs"
        raise ModelError("model", rule, f"{where}: {_told(error)}") from error
    return value


def _last_line(error: BaseException) -> int | None:
    """Return the line of model.py in which an error arose, None if it is unknown."""
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith("model.py"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _is_model(name: str, value: object) -> bool:
    return name.isupper() and isinstance(value, Linear | Callable)
