"""Errors that a user can correct. Anything else that is raised is a bug and ends in a traceback.

UserError                one line on stderr, exit 2, nothing written
├── UsageError           a wrong argument of a command
├── DamagedError         a file is not what the previous stage wrote
├── MissingError         a file that an earlier stage writes is missing
├── ReproductionError    a recorded run cannot be reproduced
├── StoreError           the MLflow store cannot be reached or used
└── WorkspaceError       the workspace is wrong: no git repository, a missing tool, edited files

A pipeline's own errors derive from UserError too.
"""


def one_line(text: str) -> str:
    """Return a text as one line that cannot control the terminal it is shown on.

    A table, a file name or a parameter may contain characters that move the cursor, ring the bell,
    set a colour or reverse the direction of text. They are escaped; the rest stays as it is.
    """
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


class UserError(Exception):
    """An error that the user can correct; its text, one line, says what is wrong and what to do."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(UserError):
    """A command was called with wrong arguments."""


class DamagedError(UserError):
    """A file's bytes are not the bytes that were written to it."""


class MissingError(UserError):
    """A file that an earlier stage writes is missing."""


class ReproductionError(UserError):
    """A recorded run cannot be reproduced: something that it needs is missing."""


class StoreError(UserError):
    """The MLflow store cannot be reached or used."""


class WorkspaceError(UserError):
    """The workspace is not in a state in which the pipeline can run or be recorded."""
