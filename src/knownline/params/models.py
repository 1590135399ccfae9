"""Finds a model of model.py by its name in params.yaml, and checks that it can be used."""

import inspect
import re
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from knownline.core.kinds import Linear, Model, Network, Nonlinear
from knownline.core.validation import Description

RESERVED = ("device", "epoch", "error", "gate", "holdout", "linear", "loss", "ols",
            "optimiser_error", "rows", "se", "step", "train", "truth", "z")  # fmt: skip
"""Names that no parameter may have: history.csv, metrics.json or the live view use them."""

_NAME = re.compile(r"[^\W\d]\w*")

_PROBE = np.array([0.75, 1.5, 2.25, 4.0])


class ModelError(ValueError):
    """A model cannot be used. key, rule, got: the parts of the message about params.yaml."""

    def __init__(self, key: str, rule: str, got: object) -> None:
        super().__init__(f"{key} {rule} (got {got})")
        if isinstance(got, str) and ": " in got:
            got = Description(got)
        self.key, self.rule, self.got = key, rule, got


def names() -> list[str]:
    """Return the names of the models, as they are written in params.yaml."""
    return [name.lower() for name, value in vars(_module()).items() if _is_model(name, value)]


def named(name: str, columns: tuple[str, ...]) -> Model:
    """Return the model with a name, for the columns of the table (or of the drawn data).

    Raises: ModelError if there is no such model, it has another number of inputs, or a term depends
    on other rows. A network is checked when it is trained.
    """
    found = vars(_module()).get(name.upper())
    if name != name.lower() or not _is_model(name.upper(), found):
        rule = f"must be one of {', '.join(names())}, each an object in capitals in model.py"
        raise ModelError("model", rule, name)
    kind = found if isinstance(found, Model) else _for_columns(name, found, columns)
    _check_fields(name, kind)
    if "y" in kind.inputs:
        rule = "must not name a column y, which is the name of the target in data/"
        raise ModelError("generate.columns.x", rule, "y")
    if len(kind.inputs) != len(columns):
        count = len(kind.inputs)
        rule = f"must name {count} column{'s' * (count != 1)} for the model {name}"
        raise ModelError("generate.columns.x", rule, ", ".join(columns))
    _check_names(name, kind)
    if isinstance(kind, Linear):
        _check_terms(name, kind)
    elif isinstance(kind, Nonlinear):
        _check_function(name, kind)
    return kind


def _module() -> ModuleType:
    """Return model.py. Raises: ModelError if it cannot be imported."""
    try:
        return import_module("knownline.model")
    except (Exception, SystemExit) as error:  # it is the user's file
        line = error.lineno if isinstance(error, SyntaxError) else _last_line(error)
        rule = "must be in a model.py that can be imported"
        raise ModelError("model", rule, f"{_described(error)}, line {line}") from error


def _check_fields(name: str, kind: Model) -> None:
    """Raise ModelError if the fields of a model are not of the right types."""
    needs = "a tuple of inputs and a dict of terms"
    good = isinstance(kind.inputs, tuple) and bool(kind.inputs)
    if isinstance(kind, Linear):
        good = good and isinstance(kind.terms, dict) and bool(kind.terms)
    elif isinstance(kind, Network):
        needs = "a tuple of inputs and a function that builds a torch.nn.Module"
        good = good and callable(kind.build)
    else:
        needs = "a tuple of inputs and a function of them and of named parameters"
        good = good and callable(kind.function) and _takes_names(kind)
    if not good:
        raise ModelError("model", f"must have {needs} in model.py", name)


def _takes_names(kind: Nonlinear) -> bool:
    """Return whether each parameter of a model's function has a name of its own."""
    try:
        own = inspect.signature(kind.function).parameters.values()
    except (TypeError, ValueError):  # it is written in C
        return False
    usual = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return len(own) > len(kind.inputs) and all(each.kind in usual for each in own)


def _for_columns(name: str, make: Any, columns: tuple[str, ...]) -> Model:
    try:
        kind = make(columns)
    except (Exception, SystemExit) as error:
        rule = "must be a function of the columns' names that returns a model"
        raise ModelError("model", rule, f"{name}: {_described(error)}") from error
    if not isinstance(kind, Model):
        rule = "must be a Linear, a Nonlinear or a Network, or a function that returns one"
        raise ModelError("model", rule, name)
    if isinstance(kind, Linear) and len(kind.names) <= len(columns):
        rule = "must have names that differ in their letters and digits"
        raise ModelError("generate.columns.x", rule, ", ".join(columns))
    return kind


def _check_names(name: str, kind: Model) -> None:
    for each in kind.names:
        if each in RESERVED:
            rule = f"must not have a parameter named {each}, which is the name of a metric"
            raise ModelError("model", rule, name)
        if not _NAME.fullmatch(each):
            rule = "must have parameters named by a letter, then letters, digits and _"
            raise ModelError("model", rule, f"{name}: {each!r}")


def _check_terms(name: str, kind: Linear) -> None:
    """Raise ModelError for a term that cannot be used. It is tried on four rows, then on each."""
    rows, constants = _probe(kind), []
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
        elif not _is_by_row(whole, alone):
            rule = "must have terms that give each row a number from the inputs of that row alone"
            raise ModelError("model", rule, where)
    if len(constants) > 1:
        rule = "must have at most one constant term"
        raise ModelError("model", rule, f"{name}: {', '.join(constants)}")
    if len(constants) == len(kind.terms):
        raise ModelError("model", "must have a term that varies", name)


def _check_function(name: str, kind: Nonlinear) -> None:
    """Raise ModelError for a function, or a start, that cannot be used. Both are tried."""
    rows = _probe(kind)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            start = kind.start(*rows, rows[0]) if callable(kind.start) else kind.start
            values = {each: float(value) for each, value in dict(start).items()}
    except (Exception, SystemExit) as error:
        rule = "must have a start: a number for each parameter, or a function of inputs and y"
        raise ModelError("model", rule, f"{name}: {_described(error)}") from error
    if set(values) != set(kind.names):
        rule = f"must have a start for each of {', '.join(kind.names)}, and for nothing else"
        raise ModelError("model", rule, f"{name}: {', '.join(values)}")
    parameters = [values[each] for each in kind.names]

    def function(*inputs: Any) -> Any:
        return kind.function(*inputs, *parameters)

    whole = _value(f"{name}: function", function, rows)
    alone = [
        _value(f"{name}: function", function, [column[i : i + 1] for column in rows])
        for i in range(4)
    ]
    if not _is_by_row(whole, alone):
        rule = "must have a function that gives each row a number from the inputs of that row alone"
        raise ModelError("model", rule, name)


def _probe(kind: Model) -> list[Any]:
    """Return the rows that a model is tried on: its inputs, (4,) each, read-only."""
    rows = [_PROBE + 0.125 * index for index in range(len(kind.inputs))]
    for values in rows:
        values.flags.writeable = False
    return rows


def _is_by_row(whole: Any, alone: list[Any]) -> bool:
    """Return whether values for all rows are (4,), and equal those for each row alone."""
    each = [np.ravel(one)[0] for one in alone]
    return np.shape(whole) == (4,) and np.allclose(whole, each, rtol=1e-9, equal_nan=True)


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
    except (Exception, SystemExit) as error:
        rule = "must have terms, or a function, that numpy can compute from the inputs"
        raise ModelError("model", rule, f"{where}: {_described(error)}") from error
    return value


def _last_line(error: BaseException) -> int | None:
    """Return the line of model.py in which an error arose, None if it is unknown."""
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith("model.py"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _is_model(name: str, value: object) -> bool:
    return name.isupper() and isinstance(value, Model | Callable)
