"""How a command ends: its exit status, and one line on stderr for what the user can mend."""

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from samerun import programs
from samerun.core.errors import UserError, one_line

_SURROUNDINGS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def status_of(command: Callable[[], int], program: str) -> int:
    """Run a command of a program and return its exit status: 2 for a user's mistake.

    Anything else that is raised is our own mistake and goes through.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without ± shows a question mark
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            status = _status(command)
            sys.stdout.flush()  # else the interpreter would notice a full disk, at its very end
            return status
        except BrokenPipeError:  # the reader has seen enough: `knownline summary | head -1`
            return 141  # what a shell calls the end by SIGPIPE
        except UserError as error:
            return _refuse(error, program)
        except OSError as error:
            if error.errno not in _SURROUNDINGS:
                raise
            what = f"{error.filename or 'the disk'} must be readable and writable"
            if _discard_unwritten():
                what = "standard output must be writable"
            return _refuse(UserError(f"{what} (got {error})"), program)
        finally:
            _discard_unwritten()
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or program).partition(".")[0] in (program, "samerun"):
            raise
        rule = (
            f"{sys.executable} must have {error.name}: use `make repro`, or put .venv/bin first on"
            " PATH (got a python without it)"
        )
        print(f"{program}: error: {one_line(rule)}", file=sys.stderr)
        return 2


def _status(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as end:  # argparse has printed a help
        return int(end.code or 0)


def _refuse(error: UserError, program: str) -> int:
    print(f"{program}: error: {error}", file=sys.stderr)
    _restore_outputs()
    return 2


def _restore_outputs() -> None:
    """Check out what DVC removed before it started this stage.

    DVC deletes a stage's outputs before it runs the command. If we then refuse, the user's last
    good outputs would be gone from the workspace for a typing slip; the cache still has them.
    """
    stage, root = os.environ.get("DVC_STAGE"), os.environ.get("DVC_ROOT")
    if not stage or not root or Path(root).resolve() != Path.cwd().resolve():
        return
    programs.call(*programs.dvc("checkout", "--quiet", stage), isolated=False)


def _discard_unwritten() -> bool:
    """Return whether stdout does not take what was printed; what is left of it is discarded.

    Else the interpreter would try once more when it ends, complain and return 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False


def _open_closed_streams() -> None:
    """Open what the caller closed, as in `knownline doctor 2>&-`; output there is discarded.

    Else it would be printed elsewhere, and a file of ours would get the number of the closed one.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 — to the very end
            setattr(sys, name, nowhere)
