"""Mistakes of a user of the pipeline. Each prints one line on stderr and exits with status 2.

samerun's UserError
├── ParamsError       a key of params.yaml breaks a rule
├── TableError        the user's table cannot be used
├── DeviceError       the device is not available
├── DivergedError     the loss is no longer finite
└── ClusterError      a Dask cluster cannot do the work
"""

from pathlib import Path

from samerun.core.errors import DamagedError, MissingError, UserError


class ParamsError(UserError):
    """A value in params.yaml breaks a rule."""


class TableError(UserError):
    """The user's table cannot be used as it is."""


class DeviceError(UserError):
    """The device that train.device names is not available, or lacks memory for the fit."""


class DivergedError(UserError):
    """The loss is no longer a finite number: it has diverged."""


class ClusterError(UserError):
    """The scheduler or the workers that KNOWNLINE_SCHEDULER names cannot do the work."""


def missing(path: Path | str) -> MissingError:
    """Return the error for a file that a stage should have written."""
    return MissingError(f"{path} is missing: run `dvc repro`")


def damaged(path: Path, reason: str) -> DamagedError:
    """Return the error for a file that is not what a stage wrote."""
    return DamagedError(f"{path} is damaged ({reason}): run `dvc repro --force`")
