"""One execution of the training, on what is known of the rows: kept, streamed, and taken up again.

Imports torch; `train` does not until it has something else to do meanwhile.
"""

import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from knownline.core import history, parquet, yaml_text
from knownline.core.errors import DivergedError, ParamsError
from knownline.core.layout import HISTORY, LINE, MODELS
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.identity import provenance
from knownline.identity.provenance import Identity
from knownline.identity.run_name import run_name
from knownline.params import Params, Train
from knownline.train import descent, memory
from knownline.train.checkpoints import Checkpoint, Checkpoints
from samerun.core import files, progress
from samerun.core.errors import WorkspaceError
from samerun.execution import environment, processes, receipts
from samerun.execution.streaming import Stream

LIVE = (sys.executable, str(Path(__file__).resolve().parents[1]), "live")
"""The command that shows a training in MLflow while it runs, of the code of this folder."""


def device_of(params: Params) -> descent.Device:
    """Return where to train. Raises: ParamsError where it cannot be there."""
    return descent.choose_device(params.train.device, params.train.dtype)


def fit(
    params: Params, rows: Compressed, folder: Path, device: descent.Device, begun: dict[str, Any]
) -> Line:
    """Fit the rows of a folder, write the line with its history, leave a receipt; return the line.

    begun: the stage's parameters and code as they were when it began.

    Raises: ParamsError where the rows cannot be fitted so, DivergedError where the fit ran away,
    WorkspaceError where parameters or code are no longer what it began with.
    """
    identity = provenance.identity(params, provenance.data_sha256())
    made = {**begun, "data_sha256": identity.data}
    part = Attempt(identity, made, str(device))
    receipts.remove_marker()
    fitted = _fit(params, device, part, rows, folder)
    line = fitted.line
    files.write_text(LINE, line.to_json())
    files.write_text(
        HISTORY, history.as_csv(fitted.loss.tolist(), fitted.w.tolist(), fitted.b.tolist())
    )
    files.write_made_with(MODELS, made)
    files.write_sums(MODELS, [LINE, HISTORY, MODELS / files.MADE_WITH])
    receipts.write(part.receipt(params))
    part.checkpoints.clear()
    return line


class Attempt:
    """One process's part in an execution: the whole of it, unless an earlier part was cut short."""

    def __init__(self, identity: Identity, made: dict[str, Any], device: str) -> None:
        self.identity = identity
        self.made = made
        self.trained = provenance.digest(made)
        self.checkpoints = Checkpoints(identity.fingerprint)
        self.device = device
        self.earlier = self.checkpoints.load()
        # Done again before it was recorded, a training is the same one: its bytes are the same.
        unrecorded = self.earlier or receipts.read(self.trained)
        self.execution = unrecorded.execution if unrecorded else uuid.uuid4().hex
        self.started = self.earlier.started if self.earlier else time.time()
        self._clock = time.monotonic() - (self.earlier.seconds if self.earlier else 0.0)

    @property
    def start(self) -> descent.ResumePoint | None:
        """Where the earlier part stood."""
        found = self.earlier
        return descent.ResumePoint(found.w, found.b, found.history) if found else None

    @property
    def seconds(self) -> float:
        """How long the training has run, over all its parts."""
        return time.monotonic() - self._clock

    def save(self, step: descent.Step) -> None:
        """Keep where the training stands after a step."""
        self.checkpoints.save(
            Checkpoint(
                self.execution,
                self.started,
                self.seconds,
                step.raw_w,
                step.raw_b,
                step.columns[:, : step.epoch + 1],
            )
        )

    def receipt(self, params: Params) -> receipts.Receipt:
        """Return what `record` needs to know of the whole execution."""
        return receipts.Receipt(
            self.trained,
            self.started,
            self.seconds,
            self.device,
            environment.facts(),
            environment.packages(),
            self.execution,
            run_name(params, os.environ.get("DVC_EXP_NAME") or None),
        )

    def opening(self, params: Params) -> dict[str, Any]:
        """Return what a live run is called and tagged with while it has no result."""
        experiment = os.environ.get("DVC_EXP_NAME") or None
        tags = {
            "fingerprint": self.identity.fingerprint,
            "data_sha256": self.identity.data,
            "device": self.device,
            "process": processes.this_process(),
            **({"pipeline": pipeline} if (pipeline := processes.pipeline_process()) else {}),
            **({"dvc_exp_name": experiment} if experiment else {}),
        }
        return {
            "execution": self.execution,
            "name": run_name(params, experiment),
            "tags": tags,
            # Not those that judge it: they may change before it is recorded, MLflow's may not.
            "params": {
                key: text
                for key, text in yaml_text.texts(params.flat()).items()
                if not key.startswith("evaluate.")
            },
            "start_ms": int(self.started * 1000),
        }


def _fit(
    params: Params, device: descent.Device, part: Attempt, rows: Compressed, folder: Path
) -> descent.History:
    """Fit, going on where an earlier part stood; keep checkpoints; stream; show a bar."""
    x, y, scaling = inputs(params.train, rows, folder, device)
    last: descent.Step | None = None
    wanted = params.train
    done = part.earlier.epochs if part.earlier else 0
    with (
        progress.bar("train", " epochs", total=wanted.epochs, done=done) as bar,
        Stream(part.opening(params), epochs=wanted.epochs, live=LIVE) as stream,
    ):

        def watch(step: descent.Step) -> None:
            nonlocal last
            last = step
            stream.add(step.epoch, step.loss, step.w, step.b)
            bar.update()
            if part.checkpoints.due:
                part.save(step)

        try:
            fitted = descent.fit(
                x,
                y,
                epochs=wanted.epochs,
                learning_rate=wanted.learning_rate,
                dtype=wanted.dtype,
                device=device,
                scaling=scaling,
                halving=not wanted.compress,
                start=part.start,
                watch=watch,
            )
            back = "put it back, and `dvc repro` goes on from the last epoch"
            provenance.check_unchanged("train", part.made, Params.read(), then=back)
            return fitted
        except (KeyboardInterrupt, WorkspaceError, ParamsError):
            if last:
                part.save(last)
            raise
        except DivergedError:
            part.checkpoints.clear()  # going on from there would lead nowhere else
            raise


def inputs(
    wanted: Train, rows: Compressed, folder: Path, device: descent.Device
) -> tuple[descent.Array, descent.Array, descent.Scaling]:
    """Return x and y as the fit is to see them, and how that x relates to the data's.

    Raises: ParamsError where the data's squares do not fit into float64, or rows not into memory.
    """
    if not rows.finite:
        raise ParamsError(
            f"{folder}/ must have squares within float64, neither too large nor too small:"
            " rescale it (got one that is not)"
        )
    scaling = descent.Scaling(rows.mean_x, rows.sd_x) if wanted.standardize else descent.Scaling()
    if wanted.compress:
        return *rows.three_points(standardize=wanted.standardize), scaling
    refuse_too_many(rows.rows, descent.row_bytes(wanted.dtype, device))
    x, y = np.empty((2, rows.rows))
    start = 0
    for some_x, some_y in parquet.read(folder):
        stop = start + len(some_x)
        x[start:stop], y[start:stop] = some_x, some_y
        start = stop
    np.subtract(x, scaling.mean, out=x)
    return np.divide(x, scaling.sd, out=x), y, scaling


def refuse_too_many(rows: int, wanted: dict[descent.Device, int]) -> None:
    """Refuse rows that do not fit, before any is read. wanted: bytes a row, by device."""
    for place, bytes_ in wanted.items():
        need, free = rows * bytes_, memory.free(place)
        if free is not None and need > free:
            raise ParamsError(
                f"train.compress must be true for {rows:,} rows: row by row they take {need:,}"
                f" bytes on {place} (got false, and {free:,} bytes free)"
            )
