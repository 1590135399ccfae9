"""The scratch folder of an execution, which survives a kill: its checkpoints and its state.

It is named by the inputs of the stage, so that a stage that is started again with the same inputs
resumes. Imports little, since `samerun run` creates it before its command starts.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samerun.core.errors import WorkspaceError
from samerun.execution.processes import started

_PATIENCE = 0.3
"""Seconds to wait for a lock that `samerun doctor` may hold for a moment."""


class RunningError(WorkspaceError):
    """The same stage already runs in this working folder."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The scratch folder of a killed execution. resumable: whether it has checkpoints."""

    path: str
    stage: str
    resumable: bool


class Scratch:
    """The scratch folder of a stage with certain inputs, locked until this process ends.

    folder: for the stage's own files. live: the file to which it may append what it reports.
    execution: its id. shown: whether it may have a run in MLflow. started: seconds since 1970.
    """

    def __init__(self, root: str, stage: str, inputs: Any) -> None:
        """root: samerun's own folder. inputs: all that distinguishes this execution from another.

        Raises: RunningError if the same stage already runs here.
        """
        self._stage = stage
        text = json.dumps([stage, inputs], sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._home, self._lock = _acquire(os.path.join(root, "scratch"), name)
        self.folder = os.path.join(self._home, "files")
        os.makedirs(self.folder, exist_ok=True)
        self.live = os.path.join(self._home, "live.jsonl")
        self._state = _state(self._home) if _has_files(self._home) else {}
        with contextlib.suppress(OSError):
            if self._state:
                _end_line(self.live)
            else:
                os.unlink(self.live)
        self._final = False
        now = time.time()
        self.execution = str(self._state.get("execution") or os.urandom(16).hex())
        self.shown = bool(self._state.get("shown", False))
        self.started = float(self._state.get("started", now))
        self._seconds_before = float(self._state.get("spent", 0.0)) + self._last_attempt()
        self._attempt, self._begun = now, time.monotonic()
        self._child: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        """How long the execution took, over all its attempts, whatever is done to the clock."""
        return self._seconds_before + time.monotonic() - self._begun

    def begin(self, child: int) -> None:
        """Store which process executes the stage."""
        self._child = {"pid": child, "started": started(child)}
        self._write_state()

    def show(self) -> None:
        """Store that the execution may have a run in MLflow, for later attempts too."""
        if not self._final:
            self.shown = True
            self._write_state()

    def adopt(self, execution: str) -> None:
        """Take the id of another execution: that of an earlier stage, which has a run.

        Does nothing after `final_execution`.
        """
        if not self._final:
            self.execution = execution
            self._write_state()

    def final_execution(self) -> str:
        """Return the id of the execution, which no longer changes after this call."""
        self._final = True
        return self.execution

    def _write_state(self) -> None:
        """Write what a later attempt needs; if the disk is full, that attempt starts without it."""
        state = {
            "stage": self._stage,
            "execution": self.execution,
            "shown": self.shown,
            "started": self.started,
            "spent": self._seconds_before,
            "attempt": self._attempt,
            "folder": os.getcwd(),
            "child": self._child,
        }
        new = os.path.join(self._home, "state.tmp")
        with contextlib.suppress(OSError):
            with open(new, "w", encoding="utf-8") as stream:
                json.dump(state, stream)
            os.replace(new, os.path.join(self._home, "state.json"))

    def empty(self) -> None:
        """Remove the folder after the stage has succeeded."""
        import shutil  # takes longer to import than the rest of this module

        shutil.rmtree(self._home, ignore_errors=True)

    def keep_checkpoints(self) -> None:
        """Keep the folder if it has checkpoints; otherwise remove it."""
        if not _has_files(self._home):
            self.empty()

    def _last_attempt(self) -> float:
        """Return how long a killed attempt took until its last checkpoint; 0 if unknown."""
        attempt = self._state.get("attempt")
        if not attempt:
            return 0.0
        written = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(self.folder)]
        return max(0.0, max(written, default=0.0) - float(attempt))


def abandoned(root: str) -> Iterator[Abandoned]:
    """Yield the scratch folders of executions that were killed. root: samerun's own folder."""
    parent = os.path.join(root, "scratch")
    for name in sorted(_names(parent)):
        home = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            lock = _lock(home, create=False)
            if lock is not None:
                os.close(lock)
                state = _state(home)
                if not _runs(state.get("child")):
                    stage = str(state.get("stage", "a stage"))
                    yield Abandoned(home, stage, _has_files(home))


def _acquire(parent: str, name: str) -> tuple[str, int]:
    """Return a folder that this process has locked, and the lock: if possible, with checkpoints.

    There are several folders if equal experiments ran at once.

    Raises: RunningError if the same stage already runs in this working folder.
    """
    others = [other for other in _names(parent) if other.startswith(f"{name}-")]
    free: tuple[str, int] | None = None
    for each in (name, *sorted(others)):
        home = os.path.join(parent, each)
        lock = _lock_if_ended(home)
        if lock is None:
            continue
        if _has_files(home):
            if free:
                os.close(free[1])
            return home, lock
        if free:
            os.close(lock)
        else:
            free = home, lock
    if free is None:
        home = os.path.join(parent, f"{name}-{os.getpid()}")
        lock = _lock_if_ended(home)
        assert lock is not None
        free = home, lock
    return free


def _lock_if_ended(home: str) -> int | None:
    """Lock a folder whose execution has ended, and return the lock; None if it still runs.

    Raises: RunningError if it runs in this working folder.
    """
    deadline = time.monotonic() + _PATIENCE
    while (lock := _lock(home)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    state = _state(home)
    if lock is not None:
        if not _runs(state.get("child")):
            os.ftruncate(lock, 0)
            os.write(lock, os.fsencode(os.getcwd()))
            return lock
        os.close(lock)
        holder = str(state.get("folder"))
    else:
        holder = _text(os.path.join(home, "lock"))
    if holder == os.getcwd():
        process = (state.get("child") or {}).get("pid", "unknown")
        raise RunningError(
            f"process {process} already runs this stage here, perhaps from a dvc that was killed:"
            " wait until it has ended, or end it"
        )
    return None


def _lock(home: str, *, create: bool = True) -> int | None:
    """Lock a folder until this process ends or closes the lock; None if another process has it."""
    path = os.path.join(home, "lock")
    while True:
        if create:
            os.makedirs(home, exist_ok=True)
        lock = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:  # a file system without locks
            return lock
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)  # the other process has removed the folder
        if not create:
            return None


def _end_line(path: str) -> None:
    """Add a newline after a last line that a kill truncated; readers skip such a line."""
    with open(path, "rb+") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


def _names(parent: str) -> list[str]:
    try:
        return os.listdir(parent)
    except OSError:
        return []


def _state(home: str) -> dict[str, Any]:
    """Return the state that the latest attempt wrote; empty if there is none."""
    try:
        state = json.loads(_text(os.path.join(home, "state.json")))
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""


def _has_files(home: str) -> bool:
    try:
        return any(os.scandir(os.path.join(home, "files")))
    except OSError:
        return False


def _runs(child: Any) -> bool:
    """Return whether the process of an earlier attempt still runs."""
    if not isinstance(child, dict) or not child:
        return False
    since = started(int(child.get("pid", 0)))
    return since is not None and since == child.get("started")
