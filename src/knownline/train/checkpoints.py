"""Where a training stands, on disk: whole, hashed, and bound to what it was a training of.

A checkpoint lies in mlruns/checkpoints/, in no output of DVC, since DVC deletes a stage's outputs
before the stage runs. Knows nothing of torch or of MLflow.
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samerun.core import files
from samerun.execution.receipts import STORE

Array = npt.NDArray[np.float64]

SHARE = 0.02
"""The share of a training's time that checkpoints may take, at most."""

FIRST_AFTER = 1.0
"""Seconds before the first one, and between any two."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training that has not ended.

    execution: the name of this execution, kept when it goes on. started: seconds since 1970.
    seconds: how long it has run, over all its parts. w, b: the parameters as the loop holds them.
    history: loss, w and b in the data's units, (3, epochs).
    """

    execution: str
    started: float
    seconds: float
    w: float
    b: float
    history: Array

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return int(self.history.shape[1])


class Checkpoints:
    """The checkpoints of one fingerprint, no more often than they are cheap."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._path = STORE / "checkpoints" / fingerprint
        self._next = time.monotonic() + FIRST_AFTER

    @property
    def due(self) -> bool:
        """Whether so much time has passed that another one keeps within SHARE."""
        return time.monotonic() >= self._next

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; a kill leaves the one before it."""
        began = time.monotonic()
        files.write_bytes(self._path, _packed(self._fingerprint, checkpoint))
        ended = time.monotonic()
        self._next = ended + max(FIRST_AFTER, (ended - began) / SHARE)

    def load(self) -> Checkpoint | None:
        """Return the checkpoint, or None; one that does not match is thrown away with a warning."""
        if not self._path.is_file():
            return None
        try:
            return _unpacked(self._fingerprint, self._path.read_bytes())
        except (ValueError, TypeError, KeyError) as error:
            print(
                f"knownline: warning: {self._path} cannot be used ({error}): training begins anew",
                file=sys.stderr,
            )
            self.clear()
            return None

    def clear(self) -> None:
        """Remove the checkpoint: the training has ended."""
        self._path.unlink(missing_ok=True)


def _packed(fingerprint: str, checkpoint: Checkpoint) -> bytes:
    header = {
        "fingerprint": fingerprint,
        "execution": checkpoint.execution,
        "started": checkpoint.started,
        "seconds": checkpoint.seconds,
        "w": checkpoint.w.hex(),
        "b": checkpoint.b.hex(),
        "epochs": checkpoint.epochs,
    }
    history = np.ascontiguousarray(checkpoint.history, dtype="<f8").tobytes()
    body = json.dumps(header).encode() + b"\n" + history
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unpacked(fingerprint: str, content: bytes) -> Checkpoint:
    """Read what `_packed` wrote. Raises: ValueError with what does not match."""
    sha, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != sha:
        raise ValueError("its bytes are not those that were written")
    head, _, history = body.partition(b"\n")
    header = json.loads(head)
    if header["fingerprint"] != fingerprint:
        raise ValueError("it is of another training")
    columns = np.frombuffer(history, dtype="<f8").reshape(3, header["epochs"])
    return Checkpoint(
        header["execution"],
        header["started"],
        header["seconds"],
        float.fromhex(header["w"]),
        float.fromhex(header["b"]),
        columns,
    )
