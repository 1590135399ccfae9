"""Reads and writes reports/history.csv: the loss and the parameters of every epoch, to the bit."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knownline.core.errors import missing
from knownline.core.kinds import Parameters
from samerun.core.errors import DamagedError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """A training by epoch, from epoch 0 on.

    names: of the parameters; empty for a network. loss: before each epoch's step, as the article
    prints it, (epochs,).
    values: the parameters after the step, in the units of the data, (parameters, epochs).
    """

    names: tuple[str, ...]
    loss: Array
    values: Array

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return len(self.loss)

    def parameters(self, epoch: int = -1) -> Parameters:
        """Return the parameters after an epoch, by default the last."""
        return dict(zip(self.names, self.values[:, epoch].tolist(), strict=True))

    def of(self, name: str) -> Array:
        """Return a parameter by epoch, (epochs,)."""
        values: Array = self.values[self.names.index(name)]
        return values

    def to_csv(self) -> str:
        """Return the history as CSV, one line per epoch, counted from 0."""
        columns = [self.loss.tolist(), *self.values.tolist()]
        lines = (
            f"{epoch},{','.join(map(repr, row))}\n"
            for epoch, row in enumerate(zip(*columns, strict=True))
        )
        return _header(self.names) + "".join(lines)

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> "History":
        """Return the history of a model's parameters in a file.

        Raises: MissingError if there is no file; DamagedError if it is not such a CSV, or an epoch
        is missing or repeated.
        """
        if not path.is_file():
            raise missing(path)
        expected = _header(names)
        rule = f"{path} must be CSV with {expected.strip()}"
        with path.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of a file without rows
            try:
                header = stream.readline()
                if header != expected:
                    raise ValueError(f"got {header.strip()}")
                epochs, *columns = np.loadtxt(stream, delimiter=",", ndmin=2, unpack=True)
            except (ValueError, UserWarning) as error:
                raise DamagedError(f"{rule} ({error})") from error
        if len(columns) != 1 + len(names):
            raise DamagedError(f"{rule} (got other columns)")
        if len(epochs) == 0 or not np.array_equal(epochs, np.arange(len(epochs))):
            got = f"got {len(epochs)} rows"
            raise DamagedError(f"{path} must have every epoch once, from 0 on ({got})")
        return cls(tuple(names), columns[0], np.array(columns[1:]).reshape(len(names), len(epochs)))


def _header(names: Sequence[str]) -> str:
    return ",".join(("epoch", "loss", *names)) + "\n"
