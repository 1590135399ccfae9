"""What a user can do wrong. Anything else that is raised is our own mistake and crashes loudly.

UserError             one line on stderr, exit 2, nothing written
├── UsageError        a command's arguments
├── DamagedError      a file that is not what the stage before wrote
├── MissingError      a file that an earlier stage should have left
├── ReplicaError      a recorded run that cannot be done again
├── StoreError        the MLflow store cannot be reached or used
└── WorkspaceError    the folder: not a checkout, a tool that is missing

A pipeline's own errors derive from UserError too.
"""


def one_line(text: str) -> str:
    """Return a text as one line that a terminal only shows.

    A table, a file name or a parameter may hold bytes that move the cursor, ring, colour what
    follows or turn its direction: they are written as escapes. What can be read stays as it is.
    """
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


class UserError(Exception):
    """A mistake the user can mend; its text is one line: name, rule, value."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(UserError):
    """A command was called with arguments it does not take."""


class DamagedError(UserError):
    """A file's bytes are not the bytes that were written."""


class MissingError(UserError):
    """A file that an earlier stage writes is not there."""


class ReplicaError(UserError):
    """A recorded run cannot be done again: what it needs is not there."""


class StoreError(UserError):
    """The tracking store cannot be used."""


class WorkspaceError(UserError):
    """The surroundings are not as the pipeline needs them."""
