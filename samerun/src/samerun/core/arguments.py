"""Command lines: argparse, whose errors are one line, like every other error of samerun."""

import argparse
import difflib
import re
from collections.abc import Callable
from typing import Any, NoReturn

from samerun.core.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError for a wrong argument and accepts no abbreviations."""

    def __init__(self, *, example: str = "", **options: Any) -> None:
        """example: a command that the help ends with, on one line so that it can be copied."""
        super().__init__(allow_abbrev=False, **options)
        self._example = example

    def format_help(self) -> str:
        """Return the help, with its example."""
        return super().format_help() + (f"\nExample: {self._example}\n" if self._example else "")

    def print_help(self, file: Any = None) -> None:
        """Print the help. Raises: OSError if it cannot be written, which argparse would hide."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError; for a misspelt choice, its text suggests the closest ones."""
        choice = re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", message)
        if choice:
            choices = re.findall(r"[\w-]+", choice[2])
            if close := difflib.get_close_matches(choice[1], choices, n=2):
                message = f"{message[: choice.start()]}invalid choice: '{choice[1]}'"
                message += f": did you mean {' or '.join(close)}?"
        raise UsageError(f"{message} (see {self.prog} --help)")


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return an argument type: a function that parses a whole number from low to high."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch("-?[0-9]{1,30}", text) else None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high} (got {text[:80] or 'nothing'})"
            )
        return number

    return parse
