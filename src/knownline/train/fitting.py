"""Runs one training: resumes it from its checkpoint, shows its progress, writes its results.

It imports torch, so the stage imports this module only after everything else is checked.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from knownline.core import checksums, parquet
from knownline.core.curve_fit import starting
from knownline.core.errors import DivergedError, ParamsError
from knownline.core.history import History
from knownline.core.kinds import Linear, Network
from knownline.core.layout import DATA, HISTORY, MODEL, TRAIN
from knownline.core.least_squares import LeastSquares, Scaling
from knownline.core.model_file import Fitted
from knownline.core.moments import Compressed
from knownline.core.summary import Summary
from knownline.params import Params, Train
from knownline.train import descent, memory, networks
from knownline.train.checkpoints import Checkpoint, Checkpoints
from knownline.train.live import Live
from knownline.train.optimizers import StateError
from knownline.train.predictions import Start, start_of
from samerun.core import files, progress

Array = npt.NDArray[np.float64]

MOST_IN_ORDER = 3
"""Up to this many points are added one after the other, which torch does alike on every device."""


def fit(params: Params, summary: Summary) -> Fitted:
    """Fit the training rows; write the model and its history.

    Raises: DeviceError if the device is not available, ParamsError if the rows cannot be fitted
    with these parameters, DivergedError if the fit diverged.
    """
    device = descent.choose_device(params.train.device, params.train.dtype)
    with memory.limit_of(device):
        history, weights = _fit(params, summary, device)
    sha256 = hashlib.sha256(weights).hexdigest() if weights else ""
    fitted = Fitted(params.model, params.kind.inputs, history.parameters(), sha256)
    fitted.write(MODEL, weights)
    files.write_text(HISTORY, history.to_csv())
    return fitted


def _fit(params: Params, summary: Summary, device: descent.Device) -> tuple[History, bytes | None]:
    """Fit, from the checkpoint if there is one; save checkpoints, show epochs and progress.

    Return the history and, for a network, the content of the file with its weights.
    """
    settings = params.train
    run = _training(params, summary, device)
    checkpoints = Checkpoints(inputs_digest(params))
    checkpoint = checkpoints.load()
    start = descent.ResumePoint(checkpoint.state, checkpoint.history) if checkpoint else None
    last: descent.Step | None = None
    with (
        progress.bar(
            "train",
            " epochs",
            total=settings.epochs,
            done=checkpoint.epochs if checkpoint else 0,
        ) as bar,
        Live(str(device), params.kind.names) as live,
    ):

        def watch(step: descent.Step) -> None:
            nonlocal last
            last = step
            live.add(step.epoch, step.loss, step.values)
            bar.update()
            if checkpoints.due:
                checkpoints.save(Checkpoint(*step.resume_point))

        try:
            try:
                return run(start, watch)
            except StateError as error:
                print(
                    f"knownline: warning: {error}: the training starts from the beginning",
                    file=sys.stderr,
                )
                checkpoints.clear()
                return run(None, watch)
        except KeyboardInterrupt:
            if last:
                checkpoints.save(Checkpoint(*last.resume_point))
            raise
        except DivergedError:
            checkpoints.clear()  # resuming would diverge again
            raise


Training = Callable[[descent.ResumePoint | None, descent.Watcher], tuple[History, bytes | None]]
"""Runs a training from a resume point, or from its beginning."""


def _training(params: Params, summary: Summary, device: descent.Device) -> Training:
    """Return a function that trains a model of any kind; its rows are read already."""
    settings, kind = params.train, params.kind
    if isinstance(kind, Network):
        count = len(kind.inputs)
        rows = _rows(summary, networks.row_bytes(count, settings.dtype, device))
        data = LeastSquares(kind.summarised, summary.train)
        return partial(_train_network, kind, data, rows, settings, device)
    scaling: Scaling | Start
    if isinstance(kind, Linear):
        columns, y, scaling = inputs(params, kind, summary.train, device)
    else:
        count = 4 * len(kind.names)  # the parameters are repeated for each row
        *columns, y = _rows(summary, descent.row_bytes(count, settings.dtype, device))
        parameters = starting(kind, summary.sample)
        scaling = start_of(kind, parameters, columns, y, scaled=settings.standardize)
    fit_curve = partial(
        descent.fit,
        columns,
        y,
        kind=kind,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        dtype=settings.dtype,
        device=device,
        scaling=scaling,
        optimizer=settings.optimizer,
        halving=not settings.compress or len(y) > MOST_IN_ORDER,
    )
    return lambda start, watch: (fit_curve(start=start, watch=watch), None)


def _train_network(
    kind: Network,
    data: LeastSquares,
    rows: Sequence[Array],
    settings: Train,
    device: descent.Device,
    start: descent.ResumePoint | None,
    watch: descent.Watcher,
) -> tuple[History, bytes]:
    *columns, y = rows
    return networks.fit(
        kind, data, columns, y, settings=settings, device=device, start=start, watch=watch
    )


def inputs_digest(params: Params) -> str:
    """Return the SHA-256 of a training's parameters, of its model's names and of its data.

    The code is not included: `samerun run` uses another folder for other code.
    """
    content = {
        "train": params.train.model_dump(mode="json"),
        "model": [params.model, *params.kind.inputs, *params.kind.names],
        "data": checksums.digest(DATA),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def inputs(
    params: Params, kind: Linear, rows: Compressed, device: descent.Device
) -> tuple[list[Array], Array, Scaling]:
    """Return the columns and y for the fit, (points,) each, and the scaling of the columns.

    Raises: ParamsError if the rows do not fit into memory; without train.compress, MissingError or
    DamagedError if a file of data/train does not match its checksum.
    """
    settings = params.train
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


def _rows(summary: Summary, row_bytes: dict[descent.Device, int]) -> list[Array]:
    """Return the inputs and y of the training rows, (rows,) each; their files are checked.

    Raises: ParamsError if they do not fit into memory, MissingError or DamagedError.
    """
    count = summary.train.rows
    for device, per_row in row_bytes.items():
        _check_memory(count, device, per_row, "the data must have fewer rows")
    checksums.check(DATA, TRAIN)
    columns, y = parquet.load(TRAIN, summary.inputs, count)
    return [*columns, y]


def refuse_too_many(rows: int, row_bytes: dict[descent.Device, int]) -> None:
    """Raise ParamsError if rows exceed the free memory. row_bytes: by device."""
    for device, per_row in row_bytes.items():
        _check_memory(rows, device, per_row, "train.compress must be true")


def _check_memory(rows: int, device: descent.Device, per_row: int, rule: str) -> None:
    needed, free = rows * per_row, memory.free(device)
    if free is not None and needed > free:
        got = "false" if "compress" in rule else f"{rows:,}"
        raise ParamsError(
            f"{rule}: {rows:,} rows take {needed:,} bytes on {device}, where {free:,} are free"
            f" (got {got})"
        )
