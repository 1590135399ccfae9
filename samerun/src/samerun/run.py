"""`samerun run -- COMMAND`: execute a stage's command so that its execution can be recorded.

Before the command starts, what the stage reads must match dvc.lock. After it has ended, code and
parameters must be unchanged; then a receipt is written for `record`. Importing DVC takes a quarter
of a second, so it is imported while the command runs. The imports at the top here are quick.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from samerun.core.errors import UserError, WorkspaceError
from samerun.execution import processes
from samerun.execution.scratch import RunningError, Scratch
from samerun.inputs import InputSnapshot

if TYPE_CHECKING:
    from samerun.dvc.project import Project
    from samerun.dvc.stage import Stage
    from samerun.live import Live

_BY_SIGNAL = 128

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, but that must have their usual effect on the command."""


def exit_status(command: list[str]) -> int:
    """Execute a stage's command and end this process with its exit status.

    Threads that still talk to a server are not waited for.
    """
    try:
        status = main(command)
    except BaseException as error:
        failure = error
        from samerun import exits

        def fail() -> int:
            raise failure

        status = exits.status_of(fail, "samerun")
    with contextlib.suppress(OSError, AttributeError):  # a stream is closed, or its disk full
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(command: list[str]) -> int:
    """Return the exit status of the command; 128 + n if signal n ended it; 2 if it is refused."""
    if not os.environ.get("DVC_STAGE"):  # called by hand, so there is no stage
        return _replace_process(command)
    _open_closed_streams()
    status, running = 2, False
    try:
        status = _run_stage(command)
    except RunningError:
        running = True  # it still writes its outputs
        raise
    finally:
        if status and not running:
            _restore_outputs()
    return status


def _run_stage(command: list[str]) -> int:
    dvc = processes.pipeline_process()
    if "SAMERUN_LIVE_AFTER" in os.environ:
        from samerun.live import delay

        delay()  # raises before anything runs if it is no number
    if "MLFLOW_TRACKING_URI" in os.environ:
        from samerun.core import address

        address.store_uri()  # raises if no run could ever be recorded there
    before = InputSnapshot.read()
    before.check()
    scratch = Scratch(_own_folder(), before.stage, [command, before.inputs])
    for marker in before.markers:  # so that DVC runs `record` even if no output changes
        with contextlib.suppress(FileNotFoundError):
            os.unlink(marker)
    return Execution(before, scratch, dvc).run(command)


class Execution:
    """One execution of a stage: its process, and what its receipt needs.

    dvc: the name of the DVC process that runs the stage; None if it is unknown.
    """

    def __init__(self, before: InputSnapshot, scratch: Scratch, dvc: str | None) -> None:
        self._before, self._scratch, self._dvc = before, scratch, dvc
        self._child = 0
        self._signalling = threading.RLock()  # a handler may interrupt a thread that holds it
        self._pending: list[int] = []
        self._project: Project
        self._stage: Stage
        self._error: BaseException | None = None
        self._live: Live | None = None
        self._loaded = threading.Event()
        self._facts: dict[str, str] = {}
        self._packages: dict[str, str] = {}

    def run(self, command: list[str]) -> int:
        """Execute the command; on success write a receipt. Raises: UserError if it is refused."""
        try:
            self._start(command)
        except UserError:
            self._scratch.keep_checkpoints()
            raise
        self._scratch.begin(self._child)
        threading.Thread(target=self._load, name="load", daemon=True).start()
        status = self._wait()
        self._loaded.wait()
        try:
            if self._error:
                raise self._error
            if status == 0:
                self._accept()
        except (UserError, OSError) as error:
            self._end("FAILED", str(error))
            self._scratch.keep_checkpoints()
            raise
        if status:
            self._end(*_outcome(status))
            self._scratch.keep_checkpoints()
        return status

    def _start(self, command: list[str]) -> None:
        env = {
            **os.environ,
            "SAMERUN_SCRATCH": self._scratch.folder,
            "SAMERUN_LIVE": self._scratch.live,
        }
        # A handler, unlike SIG_IGN, is not inherited: the command gets Ctrl-C as it would alone.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda signum, frame: None)
        processes.handle_ends(lambda signum, frame: self._signal(signum))
        processes.wake_on_signals()
        try:
            self._child = os.posix_spawnp(command[0], command, env, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            raise _no_program(command, error) from None
        for signum in self._pending:
            self._signal(signum)

    def _wait(self) -> int:
        """Return the command's exit status; clear its PID before another process can get it."""
        child = self._child
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return _exit_code(os.waitpid(child, 0)[1])
        processes.wait_until_ended(child)
        with self._signalling:
            self._child = 0
            return _exit_code(os.waitpid(child, 0)[1])

    def _signal(self, signum: int) -> None:
        """Send a signal to the command, at its start if it has not started, unless it has ended."""
        with self._signalling:
            if not self._child:
                self._pending.append(signum)
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signum)

    def _load(self) -> None:
        """Load DVC's index while the command runs, and begin to show a long execution.

        If uncommitted inputs are too large to be stored with a run, this ends the command early.
        """
        try:
            from samerun.dvc.project import Project
            from samerun.execution import environment
            from samerun.live import Live
            from samerun.pipeline import Pipeline

            self._project = Project()
            self._stage = self._project.own_stage()
            pipeline = Pipeline.of(self._project, self._stage)
            self._live = Live(pipeline, self._stage, self._scratch, self._dvc)
            if pipeline:
                pipeline.check_size()
            self._live.start()
            # Here, and not in `_accept`, because reading what is installed takes 0.1 s.
            self._facts, self._packages = environment.facts(), environment.packages()
        except BaseException as error:
            self._error = error
            self._signal(signal.SIGTERM)  # its result would be refused anyway
        finally:
            self._loaded.set()

    def _accept(self) -> None:
        """Check that the inputs are unchanged, and write the receipt. Raises: WorkspaceError."""
        from pathlib import Path

        from samerun.dvc import identity
        from samerun.execution import receipts

        assert self._live
        self._before.check_unchanged(self._project, self._stage)
        outs = self._project.current_outs(self._stage)
        key = identity.key(self._project.current_inputs(self._stage))
        if self._dvc and processes.is_gone(self._dvc):
            # DVC would have cached the outputs: without it there is nothing to record.
            self._end("KILLED", "the dvc that ran it is gone")
            return
        self._end("", "")
        receipts.write(
            receipts.Receipt(
                key=key,
                stage=self._stage.name,
                execution=self._scratch.final_execution(),
                started=self._scratch.started,
                seconds=self._scratch.seconds,
                outs=outs,
                tags=self._live.tags(),
                facts=self._facts,
                packages=self._packages,
                env=self._before.env,
                params=self._stage.current_params(),
                pipeline=self._dvc,
                live=self._scratch.shown,
            ),
            Path(self._scratch.live),
        )
        self._scratch.empty()

    def _end(self, outcome: str, reason: str) -> None:
        if self._live:
            self._live.end(outcome, reason)


def _restore_outputs() -> None:
    """Check out the outputs of the last execution that succeeded; those that persist stay.

    DVC deletes a stage's outputs before it runs the command. If the command then fails, perhaps
    because of a typo, the last good outputs would be lost, although DVC's cache still has them.
    """
    from samerun import programs
    from samerun.dvc.project import Project

    with contextlib.suppress(UserError):
        project = Project()
        stage = project.own_stage()
        paths = [str(project.path(o.path)) for o in stage.outs if o.cached and not o.persists]
        if paths and all(out.locked for out in stage.outs):
            programs.call(*programs.dvc("checkout", "--quiet", "--force", *paths), isolated=False)


def _replace_process(command: list[str]) -> int:
    for signum in _IGNORED_BY_PYTHON:
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise _no_program(command, error) from None


def _no_program(command: list[str], error: OSError) -> UserError:
    return WorkspaceError(f"cannot run {command[0]}: {error.strerror}")


def _exit_code(waited: int) -> int:
    code = os.waitstatus_to_exitcode(waited)
    return code if code >= 0 else _BY_SIGNAL - code


def _outcome(status: int) -> tuple[str, str]:
    """Return a run's status in MLflow, and the reason. status: the command's exit status, not 0."""
    with contextlib.suppress(ValueError):
        name = signal.Signals(status - _BY_SIGNAL).name
        return "KILLED", f"its process was ended by {name}"
    return "FAILED", f"its process ended with status {status}"


def _open_closed_streams() -> None:
    """Open stdin, stdout and stderr if the caller closed them, as in `dvc repro 2>&-`.

    Otherwise the next file to be opened would get the closed descriptor, and be written into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _own_folder() -> str:
    """Return samerun's own folder, as `receipts.folder` does, without its imports."""
    if (root := os.getcwd()) == os.environ.get("DVC_ROOT"):
        return os.path.join(root, ".dvc", "tmp", "samerun")
    from samerun.execution import receipts

    return str(receipts.folder())
