"""`knownline COMMAND`, `python -m knownline COMMAND` and `python src/knownline COMMAND`.

The last form is the one DVC uses: it runs the code of the folder it stands in, installed or not,
so an experiment in a temporary folder runs its own code and not the workspace's.
"""

import errno
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    __package__ = "knownline"

STAGES = ("generate", "train", "evaluate", "record")
"""Stages are called straight from here: a new command must not touch what they depend on."""

_SURROUNDINGS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, or 2 for a user's mistake."""
    arguments = sys.argv[1:] if argv is None else argv
    _stand_in()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without ± shows a question mark
        sys.stdout.reconfigure(errors="replace")
    if sys.version_info < (3, 11):  # noqa: UP036 — `python` on a PATH may be any
        return _say(f"python must be 3.11 or newer (got {sys.version.split()[0]})")
    try:
        from knownline.door import refuse
        from knownline.errors import UserError

        try:
            return _call(arguments)
        except BrokenPipeError:  # who reads us has seen enough: `knownline summary | head -1`
            return 141  # what a shell calls the end by SIGPIPE
        except UserError as error:
            return refuse(error)
        except OSError as error:
            if error.errno not in _SURROUNDINGS:
                raise
            what = f"{error.filename or 'the disk'} must be readable and writable"
            if _is_left_with_words():
                what = "standard output must be writable"
            return refuse(UserError(f"{what} (got {error})"))
        finally:
            _is_left_with_words()
    except KeyboardInterrupt:
        print("knownline: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "knownline").startswith("knownline"):
            raise
        return _say(
            f"{sys.executable} must have {error.name}: use `make repro`, or put .venv/bin first on"
            " PATH (got a python without it)"
        )


def _call(arguments: list[str]) -> int:
    from knownline.door import importing

    stage = arguments[0] if arguments and arguments[0] in STAGES else None
    with importing():
        module = import_module(f"knownline.{stage or 'cli'}")
    try:
        status = int(module.main(arguments[1:] if stage else arguments))
    except SystemExit:  # --help is printed
        sys.stdout.flush()
        raise
    sys.stdout.flush()  # else a full disk would be noticed by the interpreter, at its very end
    return status


def _is_left_with_words() -> bool:
    """Return whether stdout does not take what was printed; what is left of it goes nowhere.

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


def _stand_in() -> None:
    """Open what the caller closed, as in `knownline doctor 2>&-`: what is said there goes nowhere.

    Else it would be printed elsewhere, and a file of ours would get the number of the closed one.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 — to the very end
            setattr(sys, name, nowhere)


def _say(rule: str) -> int:
    from knownline.errors import one_line

    print(f"knownline: error: {one_line(rule)}", file=sys.stderr)
    return 2


def _end(status: int) -> NoReturn:
    """End the process; at once after `train`.

    To take torch apart would cost it a tenth of a second, and nothing waits for the interpreter's
    end: no thread, no file, no temporary folder.
    """
    if sys.argv[1:2] == ["train"]:
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    _end(main())
