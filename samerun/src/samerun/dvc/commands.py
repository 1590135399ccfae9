"""Whether a stage's command is `samerun record`, or is wrapped by `samerun run`.

Imports little, since `samerun run` needs it before its command starts.
"""

import re

RECORD = "samerun record"
"""The command of a stage that records runs."""

_RECORDS = re.compile(r"^\s*samerun\s+record(?![\w.-])", re.MULTILINE)

_WRAPPED = re.compile(r"(?<![\w.-])samerun\s+run(?![\w.-])")

_WRAPPER = re.compile(r"^([ \t]*(?:\w+=\S*[ \t]+)*)samerun run -- ", re.MULTILINE)
"""The wrapper at the start of a line, after variables that are set for the command."""


def records(command: object) -> bool:
    """Return whether a line of a command, or of a list of commands, begins with RECORD."""
    return any(_RECORDS.search(line) for line in _lines(command))


def wrapped(command: object) -> bool:
    """Return whether `samerun run` is anywhere in a command: a shell may start it."""
    return any(_WRAPPED.search(line) for line in _lines(command))


def without_wrapper(command: str | list[str]) -> str | list[str]:
    """Return a command as it would be without `samerun run -- `.

    Only at the start of a line: elsewhere the text may be an argument of the program.
    """
    if isinstance(command, str):
        return _WRAPPER.sub(r"\1", command)
    return [_WRAPPER.sub(r"\1", line) for line in command]


def _lines(command: object) -> list[str]:
    return [str(line) for line in command] if isinstance(command, list) else [str(command)]
