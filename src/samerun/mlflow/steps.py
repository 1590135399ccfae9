"""Metrics by step: rows of the plots in dvc.yaml whose x counts steps, and what programs report."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from samerun.core.keys import mlflow_key
from samerun.execution import receipts
from samerun.execution import reported as reports
from samerun.execution.receipts import Receipt
from samerun.pipeline import Pipeline

_AXES = ("step", "epoch")
"""Columns that count steps in a table whose plot names none."""

_SUFFIXES = {".csv", ".tsv", ".json"}


def history(pipeline: Pipeline) -> dict[str, dict[int, float]]:
    """Return the metrics by step: the columns of the plots whose x counts steps."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for path, (axis, columns) in _tables(pipeline).items():
        for column, steps in _steps(pipeline.project.path(path), axis, columns).items():
            found.setdefault(column, {})[Path(path).with_suffix("").as_posix()] = steps
    return {
        mlflow_key(name if len(files) == 1 else f"{file}.{name}"): steps
        for name, files in found.items()
        for file, steps in files.items()
    }


def reported(made_by: Iterable[Receipt]) -> dict[str, dict[int, float]]:
    """Return the metrics by step that programs have reported while they ran."""
    found: dict[str, dict[int, float]] = {}
    for receipt in made_by:
        for step, values in reports.rows(reports.read(receipts.reported_of(receipt))):
            for name, value in values.items():
                found.setdefault(name, {})[step] = value
    return found


def _tables(pipeline: Pipeline) -> dict[str, tuple[str | None, set[str]]]:
    """Return the tables among the outputs that are plots: path to x and columns (empty: all)."""
    outputs = {pipeline.relative(item.path): item for item in pipeline.outputs()}
    tables: dict[str, tuple[str | None, set[str]]] = {}

    def add(name: str, axis: str | None, columns: set[str]) -> None:
        for path, item in outputs.items():
            if path == name or name.startswith(f"{path}/") or path.startswith(f"{name}/"):
                for file in pipeline.project.files(item):
                    if _is_in(pipeline.relative(file), name) and Path(file).suffix in _SUFFIXES:
                        known, others = tables.get(file, (None, set()))
                        tables[file] = (axis or known, columns | others)

    for name, axis, columns in _definitions(pipeline):
        add(name, axis, columns)
    for path, item in outputs.items():
        if item.kind == "plot":
            props = item.handle.plot if isinstance(item.handle.plot, Mapping) else {}
            add(path, props.get("x"), {props["y"]} if "y" in props else set())
    return tables


def _is_in(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")


def _definitions(pipeline: Pipeline) -> Iterator[tuple[str, str | None, set[str]]]:
    """Yield file, x and columns of each plot at the top of dvc.yaml, in any of DVC's notations."""
    for entry in pipeline.project.plots(pipeline.stage.file):
        if not isinstance(entry, Mapping):
            yield str(entry), None, set()
            continue
        for name, props in entry.items():
            props = props if isinstance(props, Mapping) else {}
            x, y = props.get("x"), props.get("y")
            axis = next(iter(x.values()), None) if isinstance(x, Mapping) else x
            if not isinstance(y, Mapping):
                y = {name: y} if y else {name: []}
            for file, columns in y.items():
                listed = columns if isinstance(columns, list) else [columns]
                yield str(file), axis, {str(column) for column in listed}


def _steps(path: Path, axis: str | None, columns: set[str]) -> dict[str, dict[int, float]]:
    """Return the numbers of a table's columns by step; empty if nothing in it counts steps."""
    rows = _rows(path)
    header = list(rows[0]) if rows else []
    axis = axis or next((name for name in _AXES if name in header), None)
    if axis is None or axis not in header:
        return {}
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        step = _number(row.get(axis))
        if step is None or not step.is_integer():
            return {}  # such an x counts nothing: the table is kept as a file alone
        for name in header:
            value = _number(row.get(name))
            if name != axis and value is not None and (not columns or name in columns):
                found.setdefault(name, {})[int(step)] = value
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if _is_table(content) else []
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError):
        return []


def _is_table(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(row, dict) for row in content)


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
