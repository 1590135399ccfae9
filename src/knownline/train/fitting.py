"""Runs one training: resumes it from its checkpoint, streams it to MLflow, writes its results.

Imports torch, so the stage imports this module only after another process has begun to read the
data. Knows nothing of how the data is read.
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
"""The command that shows a training in MLflow while it runs, from the same code."""


def device_of(params: Params) -> descent.Device:
    """Return the device to train on. Raises: DeviceError if it is not available."""
    return descent.choose_device(params.train.device, params.train.dtype)


def fit(
    params: Params,
    rows: Compressed,
    folder: Path,
    device: descent.Device,
    stage_inputs: dict[str, Any],
) -> Line:
    """Fit the rows of a folder, write the line, its history and a receipt; return the line.

    stage_inputs: the stage's parameters and code from when it began.

    Raises: ParamsError if the rows cannot be fitted with these parameters, DivergedError if the fit
    diverged, WorkspaceError if parameters or code have changed since the stage began.
    """
    identity = provenance.identity(params, provenance.data_sha256())
    made_with = {**stage_inputs, "data_sha256": identity.data}
    attempt = Attempt(identity, made_with, str(device))
    receipts.remove_marker()
    fitted = _fit(params, device, attempt, rows, folder)
    line = fitted.line
    files.write_text(LINE, line.to_json())
    files.write_text(
        HISTORY, history.as_csv(fitted.loss.tolist(), fitted.w.tolist(), fitted.b.tolist())
    )
    files.write_made_with(MODELS, made_with)
    files.write_sums(MODELS, [LINE, HISTORY, MODELS / files.MADE_WITH])
    receipts.write(attempt.receipt(params))
    attempt.checkpoints.clear()
    return line


class Attempt:
    """One process's part in an execution, which resumes from a checkpoint if there is one."""

    def __init__(self, identity: Identity, made_with: dict[str, Any], device: str) -> None:
        self.identity = identity
        self.made_with = made_with
        self.inputs_digest = provenance.digest(made_with)
        self.checkpoints = Checkpoints(identity.fingerprint)
        self.device = device
        self.checkpoint = self.checkpoints.load()
        # A training that is repeated before it was recorded is the same execution, bit for bit.
        unrecorded = self.checkpoint or receipts.read(self.inputs_digest)
        self.execution = unrecorded.execution if unrecorded else uuid.uuid4().hex
        self.started = self.checkpoint.started if self.checkpoint else time.time()
        self._clock = time.monotonic() - (self.checkpoint.seconds if self.checkpoint else 0.0)

    @property
    def start(self) -> descent.ResumePoint | None:
        """Where the checkpoint resumes the training, or None."""
        if self.checkpoint is None:
            return None
        return descent.ResumePoint(self.checkpoint.w, self.checkpoint.b, self.checkpoint.history)

    @property
    def seconds(self) -> float:
        """The running time of the training, over all processes that took part."""
        return time.monotonic() - self._clock

    def save(self, step: descent.Step) -> None:
        """Save a checkpoint after a step."""
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
        """Return what `record` needs to know about the execution."""
        return receipts.Receipt(
            self.inputs_digest,
            self.started,
            self.seconds,
            self.device,
            environment.facts(),
            environment.packages(),
            self.execution,
            run_name(params, os.environ.get("DVC_EXP_NAME") or None),
        )

    def start_message(self, params: Params) -> dict[str, Any]:
        """Return the name, tags and parameters of the live run, before there are results."""
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
            # Without those of the gate, which may change before `record`; MLflow's may not.
            "params": {
                key: text
                for key, text in yaml_text.texts(params.flat()).items()
                if not key.startswith("evaluate.")
            },
            "start_ms": int(self.started * 1000),
        }


def _fit(
    params: Params, device: descent.Device, attempt: Attempt, rows: Compressed, folder: Path
) -> descent.History:
    """Fit, from the checkpoint if there is one; save checkpoints, stream, show a progress bar."""
    x, y, scaling = inputs(params.train, rows, folder, device)
    last: descent.Step | None = None
    settings = params.train
    epochs_done = attempt.checkpoint.epochs if attempt.checkpoint else 0
    with (
        progress.bar("train", " epochs", total=settings.epochs, done=epochs_done) as bar,
        Stream(attempt.start_message(params), epochs=settings.epochs, live=LIVE) as stream,
    ):

        def watch(step: descent.Step) -> None:
            nonlocal last
            last = step
            stream.add(step.epoch, step.loss, step.w, step.b)
            bar.update()
            if attempt.checkpoints.due:
                attempt.save(step)

        try:
            fitted = descent.fit(
                x,
                y,
                epochs=settings.epochs,
                learning_rate=settings.learning_rate,
                dtype=settings.dtype,
                device=device,
                scaling=scaling,
                halving=not settings.compress,
                start=attempt.start,
                watch=watch,
            )
            advice = "put it back, and `dvc repro` goes on from the last epoch"
            provenance.check_unchanged("train", attempt.made_with, Params.read(), then=advice)
            return fitted
        except (KeyboardInterrupt, WorkspaceError, ParamsError):
            if last:
                attempt.save(last)
            raise
        except DivergedError:
            attempt.checkpoints.clear()  # resuming would diverge again
            raise


def inputs(
    settings: Train, rows: Compressed, folder: Path, device: descent.Device
) -> tuple[descent.Array, descent.Array, descent.Scaling]:
    """Return x and y for the fit, (points,) each, and how that x relates to the data's.

    Raises: ParamsError if the data's squares do not fit into float64 or the rows not into memory.
    """
    if not rows.finite:
        raise ParamsError(
            f"{folder}/ must have squares within float64, neither too large nor too small:"
            " rescale it (got one that is not)"
        )
    scaling = descent.Scaling(rows.mean_x, rows.sd_x) if settings.standardize else descent.Scaling()
    if settings.compress:
        return *rows.three_points(standardize=settings.standardize), scaling
    refuse_too_many(rows.rows, descent.row_bytes(settings.dtype, device))
    x, y = np.empty((2, rows.rows))
    start = 0
    for chunk_x, chunk_y in parquet.read(folder):
        stop = start + len(chunk_x)
        x[start:stop], y[start:stop] = chunk_x, chunk_y
        start = stop
    np.subtract(x, scaling.mean, out=x)
    return np.divide(x, scaling.sd, out=x), y, scaling


def refuse_too_many(rows: int, row_bytes: dict[descent.Device, int]) -> None:
    """Raise ParamsError if rows exceed the free memory. row_bytes: by device."""
    for device, per_row in row_bytes.items():
        needed, free = rows * per_row, memory.free(device)
        if free is not None and needed > free:
            raise ParamsError(
                f"train.compress must be true for {rows:,} rows: row by row they take {needed:,}"
                f" bytes on {device} (got false, and {free:,} bytes free)"
            )
