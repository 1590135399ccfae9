"""Compares the page of a recorded run in MLflow with the files from which it was written."""

import math
import runpy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samerun.core.errors import one_line
from samerun.mlflow import content, model_files, models, steps
from samerun.mlflow.model_files import ModelFiles
from samerun.mlflow.tags import own_tags
from samerun.mlflow.tracking import Store
from samerun.pipeline import Pipeline
from samerun.proof import comparison

_INFINITE = 1.7976e308
"""On a page, a number from here on means infinity: SQLite's column holds no larger one."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a pipeline's page must show. history: metric to step to value."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    history: Mapping[str, Mapping[int, float]]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Page":
        """Read a pipeline's files. Raises: WorkspaceError if one cannot be read."""
        history = steps.history(pipeline)
        return cls(
            content.params(pipeline),
            content.metrics(pipeline, history),
            history,
            own_tags(pipeline),
        )


def differences(page: Page, store: Store, run_id: str) -> Iterator[str]:
    """Yield how a run's page differs from what it must show.

    It may show more: what a program reports only while it runs, and what people add.
    """
    shown = store.shown(run_id)
    kinds: dict[str, Mapping[str, Any]] = {
        "parameter": page.params,
        "metric": page.metrics,
        "tag": page.tags,
    }
    for kind, entries in kinds.items():
        for key, value in entries.items():
            name = f"{kind} {key}"
            named_by_file = [x for each, x in shown.items() if each.endswith(f".{key}")]
            if kind == "metric" and shown.get(name) != value and value in named_by_file:
                continue  # while it ran, the program reported other values under this name
            if name not in shown:
                yield f"{name} is not on the page"
            else:
                yield from _values(name, shown[name], value)
    logged = store.metric_history(run_id, tuple(page.history))
    for metric, expected in page.history.items():
        for step in sorted({*expected, *logged[metric]}):
            name = f"metric {metric} at step {step:,}"
            if step not in logged[metric]:
                yield f"{name} is not on the page"
            elif step not in expected:
                yield f"{name} is only on the page"
            else:
                yield from _values(name, logged[metric][step], expected[step])


def _values(name: str, shown: Any, expected: Any) -> Iterator[str]:
    """Yield how two values differ.

    A store may not distinguish -0.0 from 0.0, and in SQLite the largest number means infinity.
    """
    if isinstance(shown, float) and isinstance(expected, float):
        infinite = math.isinf(expected) and abs(shown) >= _INFINITE and shown * expected > 0
        if infinite or shown == expected:
            return
    for change in comparison.values(shown, expected):
        yield f"{name} {change.text}"


def model_differences(pipeline: Pipeline, folder: Path, ignored: Collection[str]) -> Iterator[str]:
    """Yield what differs between a run's model and the model that a pipeline's files make.

    folder: the model of the run. ignored: names of its files that are not compared. The bytes
    are compared before the model is executed.
    """
    files = model_files.files_of(pipeline)
    if files is None:
        return
    recorded, expected = models.contents(folder, ignored), models.expected(files, ignored)
    for name in sorted({*recorded, *expected}):
        if name not in recorded:
            yield f"{name} is gone"
        elif name not in expected:
            yield f"{name} is new"
        elif recorded[name] != expected[name]:
            pairs = enumerate(zip(recorded[name], expected[name], strict=False))
            shorter = min(len(recorded[name]), len(expected[name]))
            offset = next((i for i, (a, b) in pairs if a != b), shorter)
            yield f"{name} differs from byte {offset:,} on"
    yield from _predictions(files, folder)


def _predictions(files: ModelFiles, folder: Path) -> Iterator[str]:
    """Yield how the predictions of a run's model differ from those of its code, on its example."""
    code = runpy.run_path(str(files.code))
    frame = model_files.input_example(code, files)
    if frame is None or "load" not in code:
        return
    try:
        expected = _plain(code["load"](files.model)(frame))
    except Exception:  # the code needs its input in the form in which MLflow passes it
        return
    try:
        predicted = _plain(models.load(str(folder)).predict(frame))
    except Exception as error:  # a damaged model may raise anything
        yield f"it cannot predict ({type(error).__name__}: {one_line(str(error))[:120]})"
        return
    for change in comparison.values(predicted, expected):
        yield f"prediction {change}"


def _plain(result: Any) -> Any:
    """Return predictions as lists; the model may return a data frame, an array or lists."""
    array = result.to_numpy() if hasattr(result, "to_numpy") else result
    return array.tolist() if hasattr(array, "tolist") else array
