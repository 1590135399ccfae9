"""Runs one training: resumes it from its checkpoint, shows it while it runs, writes its results.

Imports torch, so the stage imports this module once everything else is checked.
"""

import hashlib
import json

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, parquet
from knownline.core.errors import DivergedError, ParamsError
from knownline.core.history import History
from knownline.core.layout import DATA, HISTORY, MODEL, TRAIN
from knownline.core.least_squares import LeastSquares, Scaling
from knownline.core.model_file import Fitted
from knownline.core.moments import Compressed
from knownline.params import Params
from knownline.train import descent, memory
from knownline.train.checkpoints import Checkpoint, Checkpoints
from knownline.train.live import Live
from samerun.core import files, progress

Array = npt.NDArray[np.float64]

MOST_IN_ORDER = 3
"""Points that are added one after the other, which torch does on every device alike."""


def fit(params: Params, rows: Compressed) -> Fitted:
    """Fit the training rows, which `rows` compresses; write the model and its history.

    Raises: DeviceError if the device is not available, ParamsError if the rows cannot be fitted
    with these parameters, DivergedError if the fit diverged.
    """
    device = descent.choose_device(params.train.device, params.train.dtype)
    with memory.limit_of(device):
        history = _fit(params, rows, device)
    fitted = Fitted(params.model, params.kind.inputs, history.parameters())
    fitted.write(MODEL)
    files.write_text(HISTORY, history.to_csv())
    return fitted


def _fit(params: Params, rows: Compressed, device: descent.Device) -> History:
    """Fit, from the checkpoint if there is one; save checkpoints, show epochs and progress."""
    settings, kind = params.train, params.kind
    columns, y, scaling = inputs(params, rows, device)
    checkpoints = Checkpoints(inputs_digest(params))
    checkpoint = checkpoints.load()
    start = descent.ResumePoint(checkpoint.raw, checkpoint.history) if checkpoint else None
    last: descent.Step | None = None
    with (
        progress.bar(
            "train",
            " epochs",
            total=settings.epochs,
            done=checkpoint.epochs if checkpoint else 0,
        ) as bar,
        Live(str(device), kind.names) as live,
    ):

        def watch(step: descent.Step) -> None:
            nonlocal last
            last = step
            live.add(step.epoch, step.loss, step.values)
            bar.update()
            if checkpoints.due:
                checkpoints.save(_checkpoint(step))

        try:
            return descent.fit(
                columns,
                y,
                kind=kind,
                epochs=settings.epochs,
                learning_rate=settings.learning_rate,
                dtype=settings.dtype,
                device=device,
                scaling=scaling,
                halving=not settings.compress or len(y) > MOST_IN_ORDER,
                start=start,
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
    return Checkpoint(tuple(step.raw), step.history[:, : step.epoch + 1])


def inputs_digest(params: Params) -> str:
    """Return the SHA-256 of what a training depends on: its parameters, its model and the data."""
    content = {
        "train": params.train.model_dump(mode="json"),
        "model": [params.model, *params.kind.names],
        "data": checksums.digest(DATA),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def inputs(
    params: Params, rows: Compressed, device: descent.Device
) -> tuple[list[Array], Array, Scaling]:
    """Return the columns and y for the fit, (points,) each, and how the columns follow from terms.

    Raises: ParamsError if the rows do not fit into memory; without train.compress, MissingError or
    DamagedError if a file of data/train does not match its checksum.
    """
    settings, kind = params.train, params.kind
    fitted = LeastSquares(kind, rows)
    scaling = fitted.scaling if settings.standardize else Scaling(kind)
    if settings.compress:
        return *fitted.points(standardize=settings.standardize), scaling
    count = len(kind.varying)
    refuse_too_many(rows.rows, descent.row_bytes(count, settings.dtype, device))
    checksums.check(DATA, TRAIN)
    *columns, y = np.empty((count + 1, rows.rows))
    start = 0
    for *chunk, chunk_y in parquet.read(TRAIN, kind.inputs):
        own = slice(start, start + len(chunk_y))
        for column, values in zip(columns, scaling.columns(kind.columns(chunk)), strict=True):
            column[own] = values
        y[own] = chunk_y
        start = own.stop
    return columns, y, scaling


def refuse_too_many(rows: int, row_bytes: dict[descent.Device, int]) -> None:
    """Raise ParamsError if rows exceed the free memory. row_bytes: by device."""
    for device, per_row in row_bytes.items():
        needed, free = rows * per_row, memory.free(device)
        if free is not None and needed > free:
            raise ParamsError(
                f"train.compress must be true for {rows:,} rows: row by row they take {needed:,}"
                f" bytes on {device} (got false, and {free:,} bytes free)"
            )
