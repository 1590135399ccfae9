"""Saves and loads checkpoints of a training, each with a checksum and the run's fingerprint.

They are in mlruns/checkpoints/, not in an output of a stage, because DVC deletes a stage's outputs
before it runs the stage. Knows nothing of torch or of MLflow.
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samerun.core import files
from samerun.execution.receipts import FOLDER

Array = npt.NDArray[np.float64]

SHARE = 0.02
"""The largest share of a training's time that saving checkpoints may take."""

FIRST_AFTER = 1.0
"""Seconds before the first checkpoint, and the fewest between any two."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training that has not ended.

    execution: the name of the execution, which a resumed training keeps. started: seconds since
    1970. seconds: the running time, over all processes that took part. w, b: the parameters of the
    loop, for the scaled x. history: loss, w and b in the data's units, (3, epochs).
    """

    execution: str
    started: float
    seconds: float
    w: float
    b: float
    history: Array

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return int(self.history.shape[1])


class Checkpoints:
    """The checkpoint of one fingerprint, saved no more often than SHARE allows."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        self._path = FOLDER / "checkpoints" / fingerprint
        self._next = time.monotonic() + FIRST_AFTER

    @property
    def due(self) -> bool:
        """Whether enough time has passed for another checkpoint within SHARE."""
        return time.monotonic() >= self._next

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; if the process is killed meanwhile, the old one remains."""
        start = time.monotonic()
        files.write_bytes(self._path, _pack(self._fingerprint, checkpoint))
        end = time.monotonic()
        self._next = end + max(FIRST_AFTER, (end - start) / SHARE)

    def load(self) -> Checkpoint | None:
        """Return the checkpoint or None; one that cannot be used is deleted with a warning."""
        if not self._path.is_file():
            return None
        try:
            return _unpack(self._fingerprint, self._path.read_bytes())
        except (ValueError, TypeError, KeyError) as error:
            print(
                f"knownline: warning: {self._path} cannot be used ({error}): training begins anew",
                file=sys.stderr,
            )
            self.clear()
            return None

    def clear(self) -> None:
        """Remove the checkpoint, after the training has ended."""
        self._path.unlink(missing_ok=True)


def _pack(fingerprint: str, checkpoint: Checkpoint) -> bytes:
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


def _unpack(fingerprint: str, content: bytes) -> Checkpoint:
    """Read what `_pack` returned. Raises: ValueError with the reason if it does not match."""
    sha, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != sha:
        raise ValueError("its bytes are not those that were written")
    first_line, _, history = body.partition(b"\n")
    header = json.loads(first_line)
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
