"""Shows a training while it runs: appends its epochs to the file that SAMERUN_LIVE names.

`samerun run` sets the variable, reads the file and shows the run. Without the variable nothing is
written. Nothing here may delay a training or make it fail. Knows nothing of MLflow or of torch.
"""

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from samerun.core.errors import UserError

VARIABLE = "SAMERUN_LIVE"

INTERVAL = 0.5
"""The fewest seconds between two writes."""

MOST_EPOCHS = 300
"""The most epochs in one write; if there are more, only every second, fourth, … is written.

The run's complete history comes from reports/history.csv.
"""

Row = tuple[int, list[float]]
"""An epoch, its loss and its parameters."""


class Live:
    """Writes every n-th epoch of a training, and its last; a context manager around the training.

    Each epoch is one line of JSON: {"step": 12, "loss": …, "w": …, "b": …}.
    """

    def __init__(self, device: str, names: Sequence[str]) -> None:
        """names: of the parameters. device: where the training runs, written as the first line."""
        self._names = ("loss", *names)
        path = os.environ.get(VARIABLE)
        self._path = Path(path) if path else None
        self._unwritten = _line({"device": device})
        self._pending: list[Row] = []
        self._latest: Row | None = None
        self._written: Row | None = None
        self._stride = 1
        self._next = math.inf

    def add(self, epoch: int, loss: float, values: Sequence[float]) -> None:
        """Queue an epoch. This costs a call of the clock and an append to a list."""
        if self._path is None:
            return
        self._latest = (epoch, [loss, *values])
        if epoch % self._stride == 0:
            self._pending.append(self._latest)
        if time.monotonic() >= self._next:
            self._write(self._take())

    def __enter__(self) -> Self:
        """Write the first line."""
        self._write([])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the epochs that are still queued, the last epoch and the error, if any."""
        rows = self._take()
        if self._latest and self._latest not in (self._written, *rows[-1:]):
            rows.append(self._latest)
        self._write(rows)
        if isinstance(error, UserError):
            self._unwritten += _line({"error": str(error)})
            self._write([])

    def _take(self) -> list[Row]:
        """Return the queued rows, thinned evenly; later rows are thinned in the same way."""
        rows, self._pending = self._pending, []
        while len(rows) > MOST_EPOCHS:
            self._stride *= 2
            rows = [row for row in rows if row[0] % self._stride == 0]
        return rows

    def _write(self, rows: list[Row]) -> None:
        """Append rows to the file with one call.

        If the disk is full, the rows are dropped. The next call completes a line that was written
        only in part.
        """
        if self._path is None:
            return
        content = self._unwritten + b"".join(map(self._line_of, rows))
        try:
            with self._path.open("ab", buffering=0) as stream:
                count = stream.write(content) if content else 0
        except OSError:
            pass
        else:
            rest = content[count:]
            self._unwritten = rest[: rest.find(b"\n") + 1]
        self._written = rows[-1] if rows else self._written
        self._next = time.monotonic() + INTERVAL

    def _line_of(self, row: Row) -> bytes:
        epoch, values = row
        numbers = {
            name: value
            for name, value in zip(self._names, values, strict=True)
            if math.isfinite(value)
        }
        return _line({"step": epoch, **numbers})


def _line(entries: dict[str, object]) -> bytes:
    return json.dumps(entries).encode() + b"\n"
