"""How a command ends: its exit status, and one line on stderr for a user's error."""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from samerun.core.errors import UserError, one_line

_USER_ERRNOS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}
"""Errors of the operating system that the user can correct: full disk, missing permissions."""


def status_of(command: Callable[[], int], program: str) -> int:
    """Run a command of a program and return its exit status: 2 for a user's error.

    Any other exception is a bug and propagates.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without ± shows "?"
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            status = _status(command)
            sys.stdout.flush()  # reports a full disk here, not when the interpreter exits
            return status
        except BrokenPipeError:  # the reader has closed the pipe: `samerun doctor | head -1`
            return 141  # the status of a process that SIGPIPE ended
        except UserError as error:
            return _report(error, program)
        except OSError as error:
            if error.errno not in _USER_ERRNOS:
                raise
            rule = (
                f"{error.filename or 'the disk or standard output'} must be readable and writable"
            )
            if _discard_unwritten():
                rule = "standard output must be writable"
            return _report(UserError(f"{rule} (got {error})"), program)
        except Exception as error:
            if type(error).__module__ != "sqlite3":  # the module need not be imported for this
                raise
            rule = "DVC's databases in .dvc/tmp and in DVC_SITE_CACHE_DIR must be writable"
            return _report(UserError(f"{rule} (got {error})"), program)
        finally:
            _discard_unwritten()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or program).partition(".")[0] in (program, "samerun"):
            raise
        rule = (
            f"{sys.executable} has no module {error.name}: install it, or put the bin folder of the"
            " environment that has it first on PATH"
        )
        print(f"{program}: error: {one_line(rule)}", file=sys.stderr)
        return 2


def _status(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as end:  # argparse has printed a help
        return int(end.code or 0)


def _report(error: UserError, program: str) -> int:
    """Print the error and return the exit status."""
    with suppress(OSError):  # stderr is full or closed; the exit status remains
        print(f"{program}: error: {error}", file=sys.stderr)
    return 2


def _discard_unwritten() -> bool:
    """Return whether stdout cannot be written; if so, discard what is buffered.

    Otherwise the interpreter would try again when it exits, complain and return 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return True
    return False


def _open_closed_streams() -> None:
    """Open streams that the caller closed, as in `samerun doctor 2>&-`, on the null device.

    Otherwise the next file to be opened would get the closed stream's descriptor, and output would
    be written into it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 — open until the exit
            setattr(sys, name, null)
