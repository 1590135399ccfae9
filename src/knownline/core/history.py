"""Reads and writes reports/history.csv: loss, w and b of every epoch, without loss of digits."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samerun.core.errors import DamagedError, MissingError

Array = npt.NDArray[np.float64]

_HEADER = "epoch,loss,w,b\n"


class Columns(NamedTuple):
    """Loss, w and b from epoch 0 on, (epochs,) each."""

    loss: Array
    w: Array
    b: Array


def as_csv(loss: Sequence[float], w: Sequence[float], b: Sequence[float]) -> str:
    """Return the history as CSV, one line an epoch, counted from 0."""
    rows = enumerate(zip(loss, w, b, strict=True))
    return _HEADER + "".join(f"{epoch},{a!r},{c!r},{d!r}\n" for epoch, (a, c, d) in rows)


def read(path: Path) -> Columns:
    """Return the history in a file.

    Raises: MissingError if there is no file; DamagedError if it is not such a CSV, or an epoch is
    missing or repeated.
    """
    if not path.is_file():
        raise MissingError(f"{path} must be there: run `dvc repro` (got no file)")
    with path.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns of a file without rows
        try:
            header = stream.readline()
            if header != _HEADER:
                raise ValueError(f"got {header.strip()}")
            epochs, *columns = np.loadtxt(stream, delimiter=",", ndmin=2, unpack=True)
        except (ValueError, UserWarning) as error:
            raise DamagedError(f"{path} must be CSV with {_HEADER.strip()} ({error})") from error
    if len(columns) != 3:
        raise DamagedError(f"{path} must be CSV with {_HEADER.strip()} (got other columns)")
    if len(epochs) == 0 or not np.array_equal(epochs, np.arange(len(epochs))):
        raise DamagedError(f"{path} must have every epoch once, from 0 on (got {len(epochs)} rows)")
    return Columns(*columns)
