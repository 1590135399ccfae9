"""Saves and loads the checkpoint of a training, with a checksum and a digest of its inputs.

Its arrays are safetensors, so nothing in it can be executed.

The checkpoint is in the folder that SAMERUN_SCRATCH names. `samerun run` keeps that folder after a
kill or a failure and empties it after a success. The checkpoint cannot be an output of the stage,
because DVC deletes outputs before it runs a stage. Knows nothing of torch or of MLflow.
"""

import hashlib
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from samerun.core import files

Array = npt.NDArray[np.float64]

VARIABLE = "SAMERUN_SCRATCH"

NAME = "checkpoint"
"""The name of the file in the folder."""

_HISTORY, _STATE = "history", "state."

SHARE = 0.02
"""The largest share of a training's time that saving checkpoints may take."""

FIRST_AFTER = 1.0
"""The seconds before the first checkpoint, and the fewest between two."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training that has not ended.

    state: what the loop needs to resume, by name: parameters or weights, and the optimizer's state.
    history: loss and parameters in the data's units, (1 + parameters, epochs).
    """

    state: dict[str, npt.NDArray[Any]]
    history: Array

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return int(self.history.shape[1])


class Checkpoints:
    """The checkpoint of one training, saved no more often than SHARE allows.

    Without SAMERUN_SCRATCH, for example if a stage is run by hand, nothing is saved.
    """

    def __init__(self, digest: str) -> None:
        """digest: of all inputs of the training."""
        folder = os.environ.get(VARIABLE)
        self._digest = digest
        self._path = Path(folder) / NAME if folder else None
        self._next = time.monotonic() + FIRST_AFTER if folder else math.inf

    @property
    def due(self) -> bool:
        """Whether enough time has passed for another checkpoint within SHARE."""
        return time.monotonic() >= self._next

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; after a kill meanwhile, the old one is still there."""
        if self._path is None:
            return
        start = time.monotonic()
        files.write_bytes(self._path, _pack(self._digest, checkpoint))
        end = time.monotonic()
        self._next = end + max(FIRST_AFTER, (end - start) / SHARE)

    def load(self) -> Checkpoint | None:
        """Return the checkpoint or None; an unusable one is deleted, with a warning."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            return _unpack(self._digest, self._path.read_bytes())
        except (ValueError, TypeError, KeyError, SafetensorError) as error:
            print(
                f"knownline: warning: {self._path} cannot be used ({error}): the training"
                " starts from the beginning",
                file=sys.stderr,
            )
            self.clear()
            return None

    def clear(self) -> None:
        """Remove the checkpoint."""
        if self._path:
            self._path.unlink(missing_ok=True)


def _pack(digest: str, checkpoint: Checkpoint) -> bytes:
    arrays = {_HISTORY: np.asarray(checkpoint.history, dtype=np.float64, order="C")}
    arrays |= {f"{_STATE}{name}": values for name, values in checkpoint.state.items()}
    body = safetensors.numpy.save(arrays, {"inputs": digest})
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unpack(digest: str, content: bytes) -> Checkpoint:
    """Read what `_pack` returned. Raises: ValueError with the reason if it does not match."""
    sha, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != sha:
        raise ValueError("it does not match its checksum")
    size = int.from_bytes(body[:8], "little")
    if json.loads(body[8 : 8 + size])["__metadata__"]["inputs"] != digest:
        raise ValueError("it belongs to another training")
    arrays = safetensors.numpy.load(body)
    history = arrays.pop(_HISTORY)
    return Checkpoint({name.removeprefix(_STATE): each for name, each in arrays.items()}, history)
