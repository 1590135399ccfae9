"""The trainer's end of live tracking: epochs to a process of its own, off the training's thread.

That process (`live`) talks to MLflow, so neither its import nor a slow server takes time from the
training; and when the trainer is killed it is left to say so. Nothing here may ever hold up or end
a training. Knows nothing of MLflow.
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

AFTER = 5.0
"""Seconds of training before anything is streamed: nobody watches a short one.

The environment variable KNOWNLINE_LIVE_AFTER says otherwise, and that it may cost something.
"""

NEVER = "inf"
"""What KNOWNLINE_LIVE_AFTER is where nothing is to be streamed."""

EVERY = 0.5
"""Seconds between two messages."""

NICE = 15
"""Of a core that the training keeps busy this leaves the other process 3.4 %; of an idle one, all.
"""

LONG = 80.0
"""Seconds of a training that can bear four of them, which that process's start takes of a core."""

MOST = 300
"""Epochs for each EVERY seconds; of more, every second, fourth … is sent. `record` adds the rest.

900 metrics take MLflow's SQLite store about 0.1 s, in the other process.
"""

PATIENCE = 8.0
"""Seconds that a training which ended badly waits for its last word to arrive, at most."""

BRIEF = 0.2
"""The same for one that ended well: `record` has its epochs anyway, and adds what is not there."""


class Stream:
    """Sends every so-manieth epoch of a training that lasts; a context around the training."""

    def __init__(self, opening: dict[str, Any], *, epochs: int, live: Sequence[str]) -> None:
        """opening: what the run is called, as `Content` takes it. epochs: of the training.

        live: the command that reads what is streamed.

        Raises: UsageError where KNOWNLINE_LIVE_AFTER is no number of seconds.
        """
        self._after = delay()
        self._opening = opening
        self._live = live
        self._epochs = epochs
        self._first: int | None = None
        self._latest = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: list[tuple[int, float, float, float]] = []
        self._stride = 1
        self._ended = threading.Event()
        self._how: dict[str, str] = {"end": "finished"}
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)

    def add(self, epoch: int, loss: float, w: float, b: float) -> None:
        """Take note of an epoch; costs the training a list's append at most."""
        if self._first is None:
            self._first = epoch
        self._latest = epoch
        if epoch % self._stride == 0:
            self._waiting.append((epoch, loss, w, b))

    def __enter__(self) -> Self:
        """Start to wait for AFTER seconds to pass."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell how the training ended, and wait a little for it to be heard."""
        if isinstance(error, KeyboardInterrupt):
            self._how = {"end": "killed", "why": "interrupted"}
        elif error is not None:
            self._how = {"end": "failed", "why": f"{kind.__name__ if kind else ''}: {error}"}
        self._ended.set()
        self._thread.join(self._patience)
        if self._thread.is_alive() and self._process:
            # Stuck in a pipe that nobody empties. Our own end would look to it like a kill.
            self._process.kill()
            self._thread.join()

    @property
    def _patience(self) -> float:
        return BRIEF if self._how["end"] == "finished" else PATIENCE

    def _work(self) -> None:
        if self._ended.wait(self._after):
            return
        try:
            self._process = self._start()
        except OSError as error:
            print(f"knownline: warning: not shown while it runs: {error}", file=sys.stderr)
            return
        self._feed(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        # A process group of its own: Ctrl-C on the terminal is for the trainer, which passes it on.
        # Not a session: Linux shares the cores out among sessions, whatever is nice within them.
        process = subprocess.Popen(
            self._live,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        if not _asked() and self._lasts() < LONG:
            lower_priority(process.pid)  # else it does so itself once it has started
        return process

    def _lasts(self) -> float:
        """Return the seconds that the training will have taken, by its pace up to now."""
        done = self._latest - self._first if self._first is not None else 0
        return self._after * self._epochs / done if done else math.inf

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        try:
            self._send(process, self._opening)
            most = max(MOST, int(MOST * self._after / EVERY))
            while True:
                ended = self._ended.wait(EVERY)
                self._send(process, {"epochs": self._taken(most)})
                most = MOST
                if ended:
                    self._send(process, self._how)
                    break
            if process.stdin:
                process.stdin.close()
            process.wait(self._patience)
        except (OSError, ValueError):
            pass  # it has said itself why it went; `record` writes the run
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _taken(self, most: int) -> list[tuple[int, float, float, float]]:
        """Return what waits, thinned evenly to `most` rows; what follows is thinned as much."""
        taken, self._waiting = self._waiting, []
        while len(taken) > most:
            self._stride *= 2
            taken = [row for row in taken if row[0] % self._stride == 0]
        return taken

    @staticmethod
    def _send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def lower_priority(process: int = 0) -> None:
    """Leave the cores to others, where they want them; process: its number, 0 for this one."""
    with contextlib.suppress(OSError):  # it has gone, or was told to step back further
        os.setpriority(os.PRIO_PROCESS, process, NICE)


def _asked() -> str | None:
    """Return what the environment says: who says it wants to see it, whatever it costs."""
    return os.environ.get("KNOWNLINE_LIVE_AFTER") or None


def delay() -> float:
    """Return how many seconds a training runs before it is shown."""
    text = _asked() or str(AFTER)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise UsageError(f"KNOWNLINE_LIVE_AFTER must be seconds, 0 or more (got {text})")
    return min(seconds, threading.TIMEOUT_MAX)
