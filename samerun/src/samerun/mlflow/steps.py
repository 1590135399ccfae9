"""Metrics by step: rows of the plots in dvc.yaml whose x counts steps, and what programs report."""

import csv
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from samerun.core.keys import mlflow_keys
from samerun.dvc.paths import contains, overlap
from samerun.dvc.stage import Item, Stage
from samerun.execution import receipts
from samerun.execution import reported as reports
from samerun.execution.receipts import Receipt
from samerun.pipeline import Pipeline

_AXES = ("step", "epoch")
"""Columns that count steps in a table whose plot names none."""

_OTHER_TEMPLATES = ("bar_", "confusion", "scatter")
"""How the names of those of DVC's templates begin whose x is not a step, but a class, say."""

_SUFFIXES = {".csv", ".tsv", ".json"}


@dataclass(frozen=True, slots=True)
class Table:
    """How plots show a table.

    axis: the column that they name as x. columns: those that they name as y; empty for all.
    own: the column that has the table's own name, and its full name, which begins with the folders
    between the plots' folder and the table.
    """

    axis: str | None
    columns: frozenset[str]
    own: tuple[str, str] = ("", "")

    def counts_steps(self, header: Sequence[str]) -> str | None:
        """Return the column that counts the steps, or None."""
        axis = self.axis or next((name for name in _AXES if name in header), None)
        return axis if axis in header else None

    def shows(self, column: str) -> bool:
        """Return whether a column is shown."""
        return not self.columns or column in self.columns

    def name(self, column: str) -> str:
        """Return the name of the metric in a column: DVCLive has train/loss in train/loss.tsv."""
        return self.own[1] if column == self.own[0] else column


def history(pipeline: Pipeline) -> dict[str, dict[int, float]]:
    """Return the metrics by step: the columns of the plots whose x counts steps."""
    return read(pipeline)[0]


def read(pipeline: Pipeline) -> tuple[dict[str, dict[int, float]], dict[str, list[str]]]:
    """Return `history`, and for each file, in words, what in it is not a metric by step."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    others: dict[str, list[str]] = {}
    plots = list(_plots(pipeline))
    for file in dict.fromkeys(
        name for item in pipeline.outputs() for name in shown(pipeline, item)
    ):
        shape = _table(plots, pipeline.relative(file))
        if shape and Path(file).suffix in _SUFFIXES:
            columns, others[file] = _steps(pipeline.project.path(file), shape)
            for column, steps in columns.items():
                found.setdefault(shape.name(column), {})[file] = steps
    named = {
        name if len(files) == 1 else f"{_label(file, files)}.{name}": steps
        for name, files in found.items()
        for file, steps in files.items()
    }
    keys = mlflow_keys(named)
    return {keys[name]: steps for name, steps in named.items()}, others


def _label(file: str, files: Iterable[str]) -> str:
    """Return a table's path without its suffix, unless another one differs only in that."""
    bare = Path(file).with_suffix("")
    return file if [Path(one).with_suffix("") for one in files].count(bare) > 1 else bare.as_posix()


def reported(made_by: Iterable[Receipt]) -> dict[str, dict[int, float]]:
    """Return the metrics by step that programs reported while they ran.

    If a step is reported twice, the first value counts, as in the run that was shown meanwhile.
    """
    found: dict[str, dict[int, float]] = {}
    for receipt in made_by:
        for step, values in reports.rows(reports.read(receipts.reported_of(receipt))):
            for name, value in values.items():
                found.setdefault(name, {}).setdefault(step, value)
    return found


def growing(pipeline: Pipeline, stage: Stage) -> dict[Path, Table]:
    """Return the CSV and TSV files of a stage that plots show, and how they show them.

    In a folder, these are the files that exist by now. Each has only the column of its own name, as
    DVCLive writes them, since two files may have other columns in common.
    """
    plots, found = list(_plots(pipeline)), dict[Path, Table]()
    outs = [pipeline.relative(out.path) for out in stage.outs]
    pairs = [(name, out) for name, _ in plots for out in outs if overlap(name, out)]
    for place in {max(pair, key=len) for pair in pairs}:
        path = pipeline.folder / place
        for file in list(path.rglob("*.[ct]sv")) or [path]:
            shape = _table(plots, Path(place, file.relative_to(path)).as_posix())
            if shape is None or file.suffix not in (".csv", ".tsv"):
                continue
            if file == path:
                found[file] = shape
            elif shape.shows(shape.own[0]):
                found[file] = replace(shape, columns=frozenset([shape.own[0]]))
    return found


def shown(pipeline: Pipeline, item: Item) -> list[str]:
    """Return the files of an output that plots show, as the project names them."""
    path, plots = pipeline.relative(item.path), list(_plots(pipeline))
    if not any(overlap(name, path) for name, _ in plots):
        return []  # listing a folder's files takes long
    return [file for file in pipeline.project.files(item) if _table(plots, pipeline.relative(file))]


def _table(plots: Iterable[tuple[str, Table]], path: str) -> Table | None:
    shown_by = [(name, one) for name, one in plots if contains(name, path)]
    if not shown_by:
        return None
    tables = [one for _, one in shown_by]
    folder = max((name for name, _ in shown_by), key=len)
    below = posixpath.splitext(path.removeprefix(folder).strip("/"))[0].split("/")
    axes = [one.axis for one in tables if one.axis]
    columns = [one.columns for one in tables]
    every = frozenset[str]() if not all(columns) else frozenset[str]().union(*columns)
    return Table(axes[-1] if axes else None, every, (below[-1], ".".join(below)))


def _plots(pipeline: Pipeline) -> Iterator[tuple[str, Table]]:
    """Yield the path that each plot shows, relative to the folder of dvc.yaml, and its table."""
    for name, axis, columns in _definitions(pipeline):
        yield posixpath.normpath(name), Table(axis, frozenset(columns))
    for item in pipeline.outputs():
        if item.kind == "plot":
            props = item.plot
            columns = {props["y"]} if "y" in props else set()
            yield pipeline.relative(item.path), Table(_axis(props), frozenset(columns))


def _definitions(pipeline: Pipeline) -> Iterator[tuple[str, str | None, set[str]]]:
    """Yield file, x and columns of each plot at the top of dvc.yaml, in any of DVC's notations."""
    for entry in pipeline.project.declared("plots", pipeline.stage.file):
        if not isinstance(entry, Mapping):
            yield str(entry), None, set()
            continue
        for name, props in entry.items():
            props = props if isinstance(props, Mapping) else {}
            axis, y = _axis(props), props.get("y")
            if not isinstance(y, Mapping):
                y = {name: y} if y else {name: []}
            for file, columns in y.items():
                listed = columns if isinstance(columns, list) else [columns]
                yield str(file), axis, {str(column) for column in listed}


def _axis(props: Mapping[str, Any]) -> str | None:
    """Return the column that a plot has as x; None if its template shows no steps."""
    if str(props.get("template", "")).startswith(_OTHER_TEMPLATES):
        return None
    x = props.get("x")
    return next(iter(x.values()), None) if isinstance(x, Mapping) else x


def _steps(path: Path, shape: Table) -> tuple[dict[str, dict[int, float]], list[str]]:
    """Return the numbers of a table's columns by step, and in words what else it contains.

    Both are empty if no column counts steps. If a step occurs twice, the first one counts.
    """
    try:
        rows = _rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        return {}, [f"all, since it cannot be read ({error})"]
    except OSError:
        return {}, []
    header = [name for name in dict.fromkeys(chain.from_iterable(rows)) if name is not None]
    axis = shape.counts_steps(header)
    if axis is None:
        return {}, []
    found: dict[str, dict[int, float]] = {name: {} for name in header if shape.shows(name)}
    found.pop(axis, None)
    texts, repeated, beyond = dict.fromkeys(found, 0), 0, 0
    for row in rows:
        step = _number(row.get(axis))
        if step is None or not step.is_integer():
            # Such an x is not a step: the table is kept only as a file.
            return {}, [f"all, since {axis} is {row.get(axis)}"] if axis in _AXES else []
        if not reports.is_step(step):
            beyond += 1
            continue
        again = False
        for name, column in found.items():
            value = _number(row.get(name))
            if value is None:
                texts[name] += row.get(name) not in (None, "")
            else:
                again |= column.setdefault(int(step), value) != value == value
        repeated += again
    others = [f"{name} ({count:,} times no number)" for name, count in texts.items() if count]
    others += [f"{repeated:,} more of a {axis} that was there"] if repeated else []
    others += [f"{beyond:,} whose {axis} is beyond 64 bits"] if beyond else []
    return {name: column for name, column in found.items() if column}, others


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table; none if a JSON file is no table, as other plots are.

    Raises: UnicodeDecodeError, csv.Error for a CSV or TSV file that cannot be read.
    """
    if path.suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return content if _is_table(content) else []
    except (OSError, ValueError, RecursionError):
        return []


def _is_table(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(row, dict) for row in content)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return None  # Python alone takes 1_0 for 10
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
