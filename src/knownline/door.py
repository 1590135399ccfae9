"""What every command shares: its arguments, and one line for a user's mistake."""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from knownline.errors import MissingError, ParamsError, UsageError, UserError
from knownline.layout import PARAMS

if TYPE_CHECKING:  # its pydantic takes longer to import than all the rest
    from knownline.params import Params


class Arguments(argparse.ArgumentParser):
    """A parser whose error is one line, like all of ours."""

    def __init__(self, command: str, summary: str, example: str) -> None:
        super().__init__(
            prog=f"knownline {command}",
            description=summary,
            epilog=f"Example: {example}",
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing a usage and leaving."""
        raise UsageError(
            f"{self.prog.removeprefix('knownline ')}: {message} (see {self.prog} --help)"
        )


def read_params() -> Params:
    """Read params.yaml of the current folder.

    Raises: ParamsError, and MissingError where there is none.
    """
    from knownline.params import Params

    path = PARAMS
    try:
        return Params.parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise MissingError(
            f"params.yaml must be in the current folder (got {Path.cwd()}, which has none)"
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"params.yaml must be UTF-8 (got byte {error.start})") from error


@contextmanager
def importing() -> Iterator[None]:
    """Import modules in the block: they are no garbage, neither now nor when the process ends.

    To look through them costs a quarter of what importing torch and ending does.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Make SIGTERM end a command as Ctrl-C does, so that it can put things in order."""
    raise KeyboardInterrupt


def refuse(error: UserError) -> int:
    """Say what the user can mend, on one line of stderr, and return the exit status, 2."""
    print(f"knownline: error: {error}", file=sys.stderr)
    _bring_back_outputs()
    return 2


def _bring_back_outputs() -> None:
    """Check out what DVC removed before it started this stage.

    DVC deletes a stage's outputs before it runs the command. If we then refuse, the user's last
    good outputs would be gone from the workspace for a typing slip; the cache still has them.
    """
    stage, root = os.environ.get("DVC_STAGE"), os.environ.get("DVC_ROOT")
    if not stage or not root or Path(root).resolve() != Path.cwd().resolve():
        return
    subprocess.run(
        [sys.executable, "-m", "dvc", "checkout", "--quiet", stage],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
