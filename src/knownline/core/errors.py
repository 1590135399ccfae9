"""What a user of the pipeline can do wrong. Each is one line on stderr, exit 2, nothing written.

samerun's UserError
├── ParamsError       a key of params.yaml
├── TableError        a table of the user's own
├── DeviceError       a device that is not here
├── DivergedError     a learning rate too large for the data
└── WorkersError      processes that were to share the work
"""

from samerun.core.errors import UserError


class ParamsError(UserError):
    """A value in params.yaml breaks a rule."""


class TableError(UserError):
    """The user's table cannot be used as it is."""


class DeviceError(UserError):
    """The device of train.device is not available, or has no memory for the fit."""


class DivergedError(UserError):
    """The loss left the finite numbers."""


class WorkersError(UserError):
    """The processes that were to share the work cannot."""
