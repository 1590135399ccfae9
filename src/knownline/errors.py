"""What a user can do wrong. Anything else that is raised is our own mistake and crashes loudly.

UserError             one line on stderr, exit 2, nothing written
├── UsageError        a command's arguments
├── ParamsError       a key of params.yaml
├── TableError        a table of the user's own
├── DamagedError      a file that is not what the stage before wrote
├── MissingError      a file that an earlier stage should have left
├── DeviceError       a device that is not here
├── DivergedError     a learning rate too large for the data
├── WorkersError      processes that were to share the work
├── ReplicaError      a recorded run that cannot be done again
├── StoreError        the MLflow store cannot be reached or used
└── WorkspaceError    the folder: not a checkout, a tool that is missing
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


class ParamsError(UserError):
    """A value in params.yaml breaks a rule."""


class TableError(UserError):
    """The user's table cannot be used as it is."""


class DamagedError(UserError):
    """A file's bytes are not the bytes that were written."""


class MissingError(UserError):
    """A file that an earlier stage writes is not there."""


class DeviceError(UserError):
    """The device of train.device is not available, or has no memory for the fit."""


class DivergedError(UserError):
    """The loss left the finite numbers."""


class WorkersError(UserError):
    """The processes that were to share the work cannot."""


class ReplicaError(UserError):
    """A recorded run cannot be done again: what it needs is not there."""


class StoreError(UserError):
    """The tracking store cannot be used."""


class WorkspaceError(UserError):
    """The surroundings are not as the pipeline needs them."""
