"""Shows a long execution in MLflow while it runs.

A thread of `samerun run` follows what the program reports: JSON lines in the file that SAMERUN_LIVE
names, or the rows of a plot that the stage writes. Nothing here may delay or end the program.
"""

import contextlib
import csv
import io
import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.core.errors import UserError, one_line
from samerun.dvc.stage import Stage
from samerun.execution import reported
from samerun.execution.reported import Row
from samerun.execution.scratch import Scratch
from samerun.pipeline import Pipeline

if TYPE_CHECKING:
    from samerun.mlflow.steps import Table

DELAY = 5.0
"""Seconds before a run is shown, unless SAMERUN_LIVE_AFTER says otherwise."""

INTERVAL = 0.5
"""Seconds between two reads of what the program has reported."""

NICENESS = 15
"""The nice value of the thread that talks to MLflow: the program has priority."""

PATIENCE = 8.0
"""Seconds to wait at most until the end of a failed or killed execution is in MLflow."""

PATIENCE_AFTER_SUCCESS = 0.2
"""The same for one that succeeded: `record` completes its run anyway."""

MOST_ROWS = 300
"""Most rows sent after one read, so that MLflow keeps up; `record` adds the others."""


class Live:
    """Follows one execution.

    A stage that belongs to no run's identity is not shown.
    """

    def __init__(
        self, pipeline: Pipeline | None, stage: Stage, scratch: Scratch, dvc: str | None
    ) -> None:
        """pipeline: of the stage. dvc: the name of the DVC process that runs it."""
        self._pipeline, self._stage, self._scratch, self._dvc = pipeline, stage, scratch, dvc
        self._delay = delay()
        self._ended = threading.Event()
        self._outcome, self._reason = "", ""
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Begin to follow; the run appears after the delay."""
        if self._pipeline and self._stage in self._pipeline.deciding:
            self._thread.start()

    def end(self, outcome: str, reason: str) -> None:
        """Close the run if the execution did not end well, and wait a little for that.

        outcome: FAILED or KILLED; empty if it ended well.
        """
        if self._ended.is_set():
            return
        self._outcome, self._reason = outcome, reason
        self._ended.set()
        if self._thread.ident:
            self._thread.join(PATIENCE if outcome else PATIENCE_AFTER_SUCCESS)

    def tags(self) -> dict[str, str]:
        """Return the tags that the program has reported."""
        return reported.texts(reported.read(self._scratch.live))

    def _run(self) -> None:
        if self._ended.wait(self._delay):
            return
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self._show()
        except (UserError, OSError) as error:
            text = one_line(str(error))
            print(
                f"samerun: warning: MLflow does not show this run while it runs: {text}",
                file=sys.stderr,
            )

    def _show(self) -> None:
        from samerun.mlflow import live_run, steps

        assert self._pipeline
        self._scratch.show()
        run = live_run.LiveRun(self._pipeline, self._stage, self._scratch, self._dvc)
        lines_of = _follow(self._scratch.live)
        tables: dict[Path, Iterator[list[Row]]] = {}
        seen: dict[str, set[int]] = {}
        ended = False
        try:
            while not ended:
                ended = self._ended.wait(INTERVAL)
                lines = next(lines_of)
                for path, shape in steps.growing(self._pipeline, self._stage).items():
                    tables.setdefault(path, _follow_table(path, shape))
                for rows in (reported.rows(lines), *map(next, tables.values())):
                    if new := _first(rows, seen):
                        run.log(_thinned(new))
                if texts := reported.texts(lines):
                    run.tag(texts)
        finally:
            run.close()
        if self._outcome:
            run.end(self._outcome, self._reason)


def delay() -> float:
    """Return the seconds before a run is shown. Raises: UsageError."""
    from samerun.core.errors import UsageError

    text = os.environ.get("SAMERUN_LIVE_AFTER") or str(DELAY)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise UsageError(f"SAMERUN_LIVE_AFTER must be seconds, 0 or more (got {text})")
    return min(seconds, threading.TIMEOUT_MAX)


def _thinned(rows: list[Row]) -> list[Row]:
    """Return the rows, or MOST_ROWS of them at equal distances."""
    return rows[:: -(-len(rows) // MOST_ROWS)]


def _first(rows: list[Row], seen: dict[str, set[int]]) -> list[Row]:
    """Return the rows without values of a step that a metric has already: the first one counts.

    seen: metric to its steps so far; new steps are added to it.
    """
    kept = []
    for step, values in rows:
        new = {name: x for name, x in values.items() if step not in seen.setdefault(name, set())}
        for name in new:
            seen[name].add(step)
        if new:
            kept.append((step, new))
    return kept


def _follow_table(path: Path, shape: "Table") -> Iterator[list[Row]]:
    """Yield, for ever, the new rows of a CSV or TSV. shape: how plots show it."""
    header: list[str] = []
    for lines in _follow(str(path)):
        text = lines.decode(errors="replace")
        text = text if header else text.removeprefix("\ufeff")
        table = list(
            csv.reader(io.StringIO(text), delimiter="\t" if path.suffix == ".tsv" else ",")
        )
        if not header and table:
            header = table.pop(0)
        axis = shape.counts_steps(header) or ""
        rows = []
        for values in table:
            entry = dict(zip(header, map(_number, values), strict=False))
            step = entry.get(axis)
            if step is not None and reported.is_step(step):
                shown = [column for column in entry if column != axis and shape.shows(column)]
                named = {shape.name(column): entry[column] for column in shown}
                rows.append((int(step), reported.numbers(named, "")))
        yield rows


def _follow(path: str) -> Iterator[bytes]:
    """Yield, for ever, the complete lines that were written since the last read."""
    position = 0
    while True:
        content = reported.read(path, position)
        complete = content[: content.rfind(b"\n") + 1]
        position += len(complete)
        yield complete


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
