"""`samerun run -- COMMAND`: execute a stage's command so that its execution can be recorded.

Before: what the stage reads must be what dvc.lock says. After: its code and parameters must be what
they were before. Then a receipt for `record`. Importing DVC takes a quarter of a second, so that
happens beside the command; the modules that are imported at the top here take little.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from samerun.core.errors import UserError, WorkspaceError
from samerun.execution.inputs import Before
from samerun.execution.scratch import Scratch

if TYPE_CHECKING:
    from samerun.dvc.project import Project
    from samerun.dvc.stage import Stage
    from samerun.live import Live

_BY_SIGNAL = 128


def exit_status(command: list[str]) -> int:
    """Execute a stage's command and end this process with its exit status.

    Whatever thread still talks to a server is not waited for.
    """
    try:
        status = main(command)
    except BaseException as error:
        failure = error
        from samerun import exits

        def fail() -> int:
            raise failure

        status = exits.status_of(fail, "samerun")
    with contextlib.suppress(OSError, AttributeError):  # a stream that is closed, or full
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(command: list[str]) -> int:
    """Return the exit status of the command; 128 + n if signal n ended it; 2 if it is refused."""
    if not os.environ.get("DVC_STAGE"):  # by hand: there is no stage to speak of
        return _replace_process(command)
    status = 2
    try:
        status = _run_stage(command)
    finally:
        if status:
            _restore_outputs()
    return status


def _run_stage(command: list[str]) -> int:
    if "SAMERUN_LIVE_AFTER" in os.environ:
        from samerun.live import delay

        delay()  # raises if it is no number, before anything runs
    before = Before.read()
    before.check()
    for marker in before.markers:  # so that DVC runs `record` after this, whatever comes out
        with contextlib.suppress(FileNotFoundError):
            os.unlink(marker)
    return Execution(before, Scratch(_own_folder(), before.inputs)).run(command)


class Execution:
    """One execution of a stage: the process, and what is known of it beside."""

    def __init__(self, before: Before, scratch: Scratch) -> None:
        self._before, self._scratch = before, scratch
        self._project: Project
        self._stage: Stage
        self._pipeline: str | None = None
        self._error: BaseException | None = None
        self._live: Live
        self._known = threading.Event()

    def run(self, command: list[str]) -> int:
        """Execute the command; on success leave a receipt. Raises: UserError if it is refused."""
        child = self._start(command)
        self._scratch.begin(child)
        threading.Thread(target=self._learn, name="learn", daemon=True).start()
        status = _exit_code(os.waitpid(child, 0)[1])
        self._known.wait()
        if self._error:
            raise self._error
        try:
            if status == 0:
                self._accept()
        except UserError as error:
            self._live.end(2, str(error))
            raise
        self._live.end(status, _reason(status))
        if status:
            self._scratch.leave()
        return status

    def _start(self, command: list[str]) -> int:
        env = {
            **os.environ,
            "SAMERUN_SCRATCH": self._scratch.folder,
            "SAMERUN_LIVE": self._scratch.live,
        }
        # A handler, unlike SIG_IGN, is not inherited: the command gets Ctrl-C as it would alone.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda signum, frame: None)
        try:
            child = os.posix_spawnp(command[0], command, env)
        except OSError as error:
            raise _no_program(command, error) from None

        self._child = child
        signal.signal(signal.SIGTERM, lambda signum, frame: self._signal(signum))
        return child

    def _signal(self, signum: int) -> None:
        """Send a signal to the command, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signum)

    def _check_sizes(self) -> None:
        """Refuse uncommitted inputs that are too large to be kept with a run, before it takes long.

        Raises: WorkspaceError with their names.
        """
        from samerun.pipeline import Pipeline

        recorder = next((one for one in self._project.stages if one.records), None)
        if recorder:
            Pipeline(self._project, recorder).check_size()

    def _learn(self) -> None:
        """Load DVC's index beside the command, and show a long execution while it runs."""
        try:
            from samerun import live
            from samerun.dvc.project import Project
            from samerun.execution import processes

            self._pipeline = processes.pipeline_process()
            self._project = Project()
            self._stage = self._project.own_stage()
            self._live = live.Live(self._project, self._stage, self._scratch, self._pipeline)
            self._check_sizes()
            self._live.start()
        except BaseException as error:
            self._error = error
            self._signal(signal.SIGTERM)  # what follows could not be accepted anyway
        finally:
            self._known.set()

    def _accept(self) -> None:
        """Check that nothing changed meanwhile, and write the receipt. Raises: WorkspaceError."""
        from samerun.dvc import identity
        from samerun.execution import environment, processes, receipts

        self._before.check_unchanged(self._project, self._stage)
        if self._pipeline and processes.is_gone(self._pipeline):
            # Nobody keeps the outputs, so there is nothing to record.
            self._live.end(_BY_SIGNAL + signal.SIGKILL, "the dvc that ran it is gone")
            return
        outs, inputs = self._project.current_outs(self._stage), self._project.current_inputs
        receipts.write(
            receipts.Receipt(
                key=identity.key(inputs(self._stage)),
                stage=self._stage.name,
                execution=self._scratch.execution,
                started=self._scratch.started,
                seconds=self._scratch.seconds,
                outs=outs,
                tags=self._live.tags(),
                facts=environment.facts(),
                packages=environment.packages(),
                pipeline=self._pipeline,
                live=self._live.shown,
            )
        )
        self._scratch.empty()


def _restore_outputs() -> None:
    """Check out the outputs of the last execution that succeeded; those that persist stay.

    DVC deletes a stage's outputs before it runs the command. If the command then fails, a typing
    error would cost the user the last good outputs; DVC's cache still has them.
    """
    from samerun import programs
    from samerun.dvc.project import Project

    with contextlib.suppress(UserError):
        stage = Project().own_stage()
        paths = [out.handle.fs_path for out in stage.outs if out.cached and not out.handle.persist]
        if paths and all(out.locked for out in stage.outs):
            programs.call(*programs.dvc("checkout", "--quiet", "--force", *paths), isolated=False)


def _replace_process(command: list[str]) -> int:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise _no_program(command, error) from None


def _no_program(command: list[str], error: OSError) -> UserError:
    return WorkspaceError(f"{command[0]} must be a program that runs (got {error.strerror})")


def _exit_code(waited: int) -> int:
    code = os.waitstatus_to_exitcode(waited)
    return code if code >= 0 else _BY_SIGNAL - code


def _reason(status: int) -> str:
    if status > _BY_SIGNAL:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(status - _BY_SIGNAL).name}"
    return f"its process ended with status {status}"


def _own_folder() -> str:
    """Return samerun's own folder, as `receipts.folder` does, without what that imports."""
    if root := os.environ.get("DVC_ROOT"):
        return os.path.join(root, ".dvc", "tmp", "samerun")
    from samerun.execution import receipts

    return str(receipts.folder())
