"""The trainer's end of live tracking: a thread sends epochs to a separate process.

That process (`live`) talks to MLflow, so neither MLflow's import nor a slow server delays the
training; and if the trainer is killed, that process remains to record it. Nothing here may ever
delay or end a training. Knows nothing of MLflow.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from samerun.core.errors import UsageError

DELAY = 5.0
"""Seconds of training before streaming begins: nobody watches a short training.

The environment variable KNOWNLINE_LIVE_AFTER overrides it, and accepts what that costs.
"""

NEVER = "inf"
"""The value of KNOWNLINE_LIVE_AFTER that turns streaming off."""

INTERVAL = 0.5
"""Seconds between two messages."""

NICENESS = 15
"""The niceness of the other process: it gets 3.4 % of a core that the training keeps busy, and all
of an idle one.
"""

LONG_TRAINING = 80.0
"""Seconds of a training long enough to spare the four of CPU time that the process needs to start.
"""

MOST_EPOCHS = 300
"""Most epochs sent in INTERVAL seconds; of more, only every second, fourth, … is sent.

`record` adds the rest. The 900 metrics of 300 epochs take MLflow's SQLite store about 0.1 s,
in the other process.
"""

PATIENCE = 8.0
"""Most seconds that a failed or interrupted training waits until its end is recorded."""

PATIENCE_AFTER_SUCCESS = 0.2
"""The same for a successful training: `record` adds whatever epochs are missing."""


class Stream:
    """Sends every n-th epoch of a long training; a context manager around the training."""

    def __init__(self, opening: dict[str, Any], *, epochs: int, live: Sequence[str]) -> None:
        """opening: the first message, the fields of a `RunContent`. epochs: of the training.

        live: the command of the process that reads the messages.

        Raises: UsageError if KNOWNLINE_LIVE_AFTER is not a number of seconds.
        """
        self._delay = delay()
        self._opening = opening
        self._live = live
        self._epochs = epochs
        self._first: int | None = None
        self._latest = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._pending: list[tuple[int, float, float, float]] = []
        self._stride = 1
        self._ended = threading.Event()
        self._ending: dict[str, str] = {"end": "finished"}
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def add(self, epoch: int, loss: float, w: float, b: float) -> None:
        """Queue an epoch; costs the training no more than appending to a list."""
        if self._first is None:
            self._first = epoch
        self._latest = epoch
        if epoch % self._stride == 0:
            self._pending.append((epoch, loss, w, b))

    def __enter__(self) -> Self:
        """Start the thread, which begins to stream after DELAY seconds."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send how the training ended, and wait a little until that is recorded."""
        if isinstance(error, KeyboardInterrupt):
            self._ending = {"end": "killed", "why": "interrupted"}
        elif error is not None:
            self._ending = {"end": "failed", "why": f"{kind.__name__ if kind else ''}: {error}"}
        self._ended.set()
        self._thread.join(self._patience)
        if self._thread.is_alive() and self._process:
            # The process does not read its pipe. Left alone, it would take our exit for a kill.
            self._process.kill()
            self._thread.join()

    @property
    def _patience(self) -> float:
        return PATIENCE_AFTER_SUCCESS if self._ending["end"] == "finished" else PATIENCE

    def _run(self) -> None:
        if self._ended.wait(self._delay):
            return
        try:
            self._process = self._start()
        except OSError as error:
            print(f"knownline: warning: not shown while it runs: {error}", file=sys.stderr)
            return
        self._send_all(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        # In a process group of its own: Ctrl-C in the terminal goes to the trainer, which passes it
        # on. Not in a session of its own: Linux shares CPU time among sessions and counts niceness
        # only within one (sched(7), the autogroup feature).
        process = subprocess.Popen(
            self._live,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        if not _requested_delay() and self._duration() < LONG_TRAINING:
            lower_priority(process.pid)  # else it lowers its own once it has started
        return process

    def _duration(self) -> float:
        """Return the seconds that the training will take, estimated from its pace so far."""
        epochs_done = self._latest - self._first if self._first is not None else 0
        return self._delay * self._epochs / epochs_done if epochs_done else math.inf

    def _send_all(self, process: subprocess.Popen[bytes]) -> None:
        """Send messages until the training ends, then wait for the process to finish."""
        try:
            self._send(process, self._opening)
            most = max(MOST_EPOCHS, int(MOST_EPOCHS * self._delay / INTERVAL))
            while True:
                ended = self._ended.wait(INTERVAL)
                self._send(process, {"epochs": self._take(most)})
                most = MOST_EPOCHS
                if ended:
                    self._send(process, self._ending)
                    break
            if process.stdin:
                process.stdin.close()
            process.wait(self._patience)
        except (OSError, ValueError):
            pass  # the process has ended and printed why; `record` writes the run
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _take(self, most: int) -> list[tuple[int, float, float, float]]:
        """Return the queued rows, thinned evenly to `most`; later rows are thinned as much."""
        rows, self._pending = self._pending, []
        while len(rows) > most:
            self._stride *= 2
            rows = [row for row in rows if row[0] % self._stride == 0]
        return rows

    @staticmethod
    def _send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def lower_priority(process: int = 0) -> None:
    """Give other processes precedence over one; process: its PID, 0 for this one."""
    with contextlib.suppress(OSError):  # it has ended, or its priority is lower already
        os.setpriority(os.PRIO_PROCESS, process, NICENESS)


def _requested_delay() -> str | None:
    """Return the value of KNOWNLINE_LIVE_AFTER, or None if it is not set."""
    return os.environ.get("KNOWNLINE_LIVE_AFTER") or None


def delay() -> float:
    """Return the seconds that a training runs before streaming begins. Raises: UsageError."""
    text = _requested_delay() or str(DELAY)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise UsageError(f"KNOWNLINE_LIVE_AFTER must be seconds, 0 or more (got {text})")
    return min(seconds, threading.TIMEOUT_MAX)
