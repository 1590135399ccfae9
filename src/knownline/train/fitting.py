"""Runs one training: resumes it from its checkpoint, shows it while it runs, writes its results.

Imports torch, so the stage imports this module once everything else is checked.
"""

import hashlib
import json

import numpy as np

from knownline.core import checksums, history, parquet
from knownline.core.errors import DivergedError, ParamsError
from knownline.core.layout import DATA, HISTORY, LINE, TRAIN
from knownline.core.line import Line
from knownline.core.moments import Compressed
from knownline.params import Train
from knownline.train import descent, memory
from knownline.train.checkpoints import Checkpoint, Checkpoints
from knownline.train.live import Live
from samerun.core import files, progress


def fit(settings: Train, rows: Compressed) -> Line:
    """Fit the training rows, which `rows` compresses; write the line and its history; return it.

    Raises: DeviceError if the device is not available, ParamsError if the rows cannot be fitted
    with these parameters, DivergedError if the fit diverged.
    """
    device = descent.choose_device(settings.device, settings.dtype)
    with memory.limit_of(device):
        fitted = _fit(settings, rows, device)
    files.write_text(LINE, fitted.line.to_json())
    files.write_text(
        HISTORY, history.as_csv(fitted.loss.tolist(), fitted.w.tolist(), fitted.b.tolist())
    )
    return fitted.line


def _fit(settings: Train, rows: Compressed, device: descent.Device) -> descent.History:
    """Fit, from the checkpoint if there is one; save checkpoints, show epochs and progress."""
    x, y, scaling = inputs(settings, rows, device)
    checkpoints = Checkpoints(inputs_digest(settings))
    checkpoint = checkpoints.load()
    last: descent.Step | None = None
    with (
        progress.bar(
            "train",
            " epochs",
            total=settings.epochs,
            done=checkpoint.epochs if checkpoint else 0,
        ) as bar,
        Live(str(device)) as live,
    ):

        def watch(step: descent.Step) -> None:
            nonlocal last
            last = step
            live.add(step.epoch, step.loss, step.w, step.b)
            bar.update()
            if checkpoints.due:
                checkpoints.save(_checkpoint(step))

        try:
            return descent.fit(
                x,
                y,
                epochs=settings.epochs,
                learning_rate=settings.learning_rate,
                dtype=settings.dtype,
                device=device,
                scaling=scaling,
                halving=not settings.compress,
                start=_resume_point(checkpoint) if checkpoint else None,
                watch=watch,
            )
        except KeyboardInterrupt:
            if last:
                checkpoints.save(_checkpoint(last))
            raise
        except DivergedError:
            checkpoints.clear()  # resuming would diverge again
            raise


def _checkpoint(step: descent.Step) -> Checkpoint:
    return Checkpoint(step.raw_w, step.raw_b, step.columns[:, : step.epoch + 1])


def _resume_point(checkpoint: Checkpoint) -> descent.ResumePoint:
    return descent.ResumePoint(checkpoint.w, checkpoint.b, checkpoint.history)


def inputs_digest(settings: Train) -> str:
    """Return the SHA-256 of what a training depends on: its parameters and the data."""
    content = {"train": settings.model_dump(mode="json"), "data": checksums.digest(DATA)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def inputs(
    settings: Train, rows: Compressed, device: descent.Device
) -> tuple[descent.Array, descent.Array, descent.Scaling]:
    """Return x and y for the fit, (points,) each, and how that x relates to the data's.

    Raises: ParamsError if the rows do not fit into memory; without train.compress, MissingError or
    DamagedError if a file of data/train does not match its checksum.
    """
    scaling = descent.Scaling(rows.mean_x, rows.sd_x) if settings.standardize else descent.Scaling()
    if settings.compress:
        return *rows.three_points(standardize=settings.standardize), scaling
    refuse_too_many(rows.rows, descent.row_bytes(settings.dtype, device))
    checksums.check(DATA, TRAIN)
    x, y = np.empty((2, rows.rows))
    start = 0
    for chunk_x, chunk_y in parquet.read(TRAIN):
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
