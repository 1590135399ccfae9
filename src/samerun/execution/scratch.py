"""The folder of one execution that survives a kill: checkpoints, and who they belong to.

It is known by what the stage was started with, so a stage that is started with the same again goes
on where it was. Imports little, since `samerun run` creates it before its command starts.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from typing import Any

from samerun.core.errors import WorkspaceError
from samerun.execution.processes import started


class Scratch:
    """The scratch folder of a stage with certain inputs, held for as long as this object lives."""

    def __init__(self, root: str, inputs: Any) -> None:
        """root: samerun's own folder. inputs: all that distinguishes this execution from another.

        Raises: WorkspaceError if an earlier execution of the same stage still runs here.
        """
        text = json.dumps(inputs, sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._home = os.path.join(root, "scratch", name)
        state = self._hold()
        if state is None:  # an equal experiment runs beside this one, in a folder of its own
            self._home = f"{self._home}-{os.getpid()}"
            state = self._hold() or {}
        self.folder = os.path.join(self._home, "files")
        os.makedirs(self.folder, exist_ok=True)
        self.live = os.path.join(self._home, "live.jsonl")
        with contextlib.suppress(OSError):
            os.unlink(self.live)
        self.resumes = bool(state) and any(os.scandir(self.folder))
        self._state = state if self.resumes else {}
        now = time.time()
        self.execution = str(self._state.get("execution") or os.urandom(16).hex())
        self.started = float(self._state.get("started", now))
        self._spent = float(self._state.get("spent", 0.0)) + self._last_attempt()
        self._attempt = now

    @property
    def seconds(self) -> float:
        """How long the execution took, over all the attempts that it needed."""
        return self._spent + time.time() - self._attempt

    @property
    def state(self) -> dict[str, Any]:
        """What the latest attempt wrote; empty if there was none."""
        try:
            with open(os.path.join(self._home, "state.json"), encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def begin(self, child: int) -> None:
        """Note which process executes the stage."""
        self._child = {"pid": child, "started": started(child)}
        self._write_state()

    def adopt(self, execution: str) -> None:
        """Go on under the name of another execution: that of an earlier stage, which has a run."""
        self.execution = execution
        self._write_state()

    def _write_state(self) -> None:
        state = {
            "execution": self.execution,
            "started": self.started,
            "spent": self._spent,
            "attempt": self._attempt,
            "folder": os.getcwd(),
            "child": self._child,
        }
        new = os.path.join(self._home, "state.tmp")
        with open(new, "w", encoding="utf-8") as stream:
            json.dump(state, stream)
        os.replace(new, os.path.join(self._home, "state.json"))

    def empty(self) -> None:
        """Remove the folder after the stage has succeeded."""
        import shutil  # takes longer to import than the rest of this module

        shutil.rmtree(self._home, ignore_errors=True)

    def leave(self) -> None:
        """Keep the folder if there is something in it to go on from; otherwise remove it."""
        if not any(os.scandir(self.folder)):
            self.empty()

    def _last_attempt(self) -> float:
        """Return how long a killed attempt took: until it wrote its last file."""
        attempt = self._state.get("attempt")
        if not attempt:
            return 0.0
        written = [entry.stat().st_mtime for entry in os.scandir(self.folder)]
        return max(0.0, max(written, default=0.0) - float(attempt))

    def _hold(self) -> dict[str, Any] | None:
        """Lock the folder and return what its latest attempt wrote; None if another one holds it.

        Raises: WorkspaceError if that other one runs in this very folder.
        """
        os.makedirs(self._home, exist_ok=True)
        self._lock = os.open(os.path.join(self._home, "lock"), os.O_RDWR | os.O_CREAT)
        free = True
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            free = False
        state = self.state
        if free and not _runs(state.get("child")):
            return state
        os.close(self._lock)
        if state.get("folder") == os.getcwd():
            process = state.get("child", {}).get("pid", "unknown")
            raise WorkspaceError(
                "a stage must not run twice at once: wait for its process to end, or end it (got"
                f" process {process}, which runs it here already, although its dvc may be gone)"
            )
        return None


def _runs(child: Any) -> bool:
    """Return whether the process of an earlier attempt still runs."""
    if not isinstance(child, dict):
        return False
    since = started(int(child.get("pid", 0)))
    return since is not None and since == child.get("started")
