"""What every command shares: its arguments, and one line for a user's mistake."""

from __future__ import annotations

import argparse
import gc
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from knownline.errors import MissingError, ParamsError, UsageError, UserError
from knownline.layout import PARAMS

if TYPE_CHECKING:  # its pydantic takes longer to import than all the rest
    from knownline.params import Params


class Arguments(argparse.ArgumentParser):
    """A parser whose error is one line, like all of ours: what, its rule, and what was given."""

    def __init__(self, command: str, summary: str, example: str) -> None:
        super().__init__(
            prog=f"knownline {command}",
            description=summary,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self._example = example

    def format_help(self) -> str:
        """Return the help; its example is on one line, however narrow, to be copied."""
        return f"{super().format_help()}\nExample: {self._example}\n"

    def parse_args(self, argv: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """Return the arguments. Raises: UsageError where one is wrong, missing or unknown."""
        try:
            found, unknown = self.parse_known_args(argv)
        except argparse.ArgumentError as error:
            if not error.argument_name:
                self.error(error.message)
            raise UsageError(f"{self._word(error.argument_name)} {_rule(error.message)}") from None
        if unknown:
            raise UsageError(
                f"{self.prog} must be called with the arguments of its --help"
                f" (got {given(' '.join(unknown))})"
            )
        return found

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing a usage and leaving: an argument is missing."""
        missing = ", ".join(map(self._word, message.rpartition(": ")[2].split(", ")))
        raise UsageError(f"{missing} must be given, see {self.prog} --help (got nothing)")

    def _word(self, shown: str) -> str:
        """Return the name of an argument that the help shows by what it may be: {pull,push}."""
        return next((a.dest for a in self._actions if a.metavar == shown), shown)


def given(text: str) -> str:
    """Return as much of what was given as an error shows."""
    return text.strip()[:80] or "nothing"


def _rule(message: str) -> str:
    """Return argparse's own words as a rule; those of our types are one already."""
    if message.startswith("expected "):
        return "must have a value (got nothing)"
    if found := re.fullmatch(r"ignored explicit argument (['\"])(.*)\1", message, flags=re.DOTALL):
        return f"must have no value (got {given(found[2])})"
    return message


def whole(low: int, high: int, rule: str) -> Callable[[str], int]:
    """Return what reads an argument that is a whole number from low to high, as `rule` says."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch("-?[0-9]{1,30}", text) else None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be {rule} (got {given(text)})")
        return number

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return what reads an argument that is one of these words.

    argparse's own `choices` says so in other words with every Python.
    """

    def read(text: str) -> str:
        if text not in words:
            known = ", ".join(words)
            raise argparse.ArgumentTypeError(f"must be one of {known} (got {given(text)})")
        return text

    return read


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

    To look through them costs a quarter of what importing torch and ending does. Ctrl-C and SIGTERM
    wait for the end of the block: an exception in the middle of an import may be lost, as in
    torch's own import of numpy, or leave half a module.
    """
    gc.disable()
    try:
        with _undisturbed():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what would interrupt the block, and let it do so at its end."""
    if threading.current_thread() is not threading.main_thread():  # none comes to another
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {n: handler for n, handler in before.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


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
