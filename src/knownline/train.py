"""The stage `train`: data/train/ to models/line.json and reports/history.csv."""

import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from knownline import (
    content,
    door,
    environment,
    files,
    history,
    memory,
    onepass,
    processes,
    provenance,
    receipts,
    shards,
    training,
    workers,
)
from knownline.checkpoints import Checkpoint, Checkpoints
from knownline.compression import Compressed
from knownline.errors import DivergedError, ParamsError
from knownline.params import Params, Train
from knownline.provenance import Identity
from knownline.streaming import Stream

TRAIN = Path("data/train")
LINE = Path("models/line.json")
HISTORY = Path("reports/history.csv")


def main(argv: list[str]) -> int:
    """Fit the line, write it with its history, and leave a receipt that it was fitted."""
    parser = door.Arguments(
        "train", "Fit the line to data/train/ by gradient descent.", "knownline train"
    )
    parser.add_argument(
        "--pass-only", action="store_true", help="read the data, keep what is known of it, stop"
    )
    only = parser.parse_args(argv).pass_only
    params = door.read_params()
    device = training.choose_device(params.train.device, params.train.dtype)
    count = workers.wanted()
    signal.signal(signal.SIGTERM, door.interrupt)
    if workers.under_torchrun():
        with workers.joined() as team:
            onepass.known(TRAIN, team)
        if team.rank or only:
            return 0
    elif count > 1:
        _read_in_workers(count)
    known = onepass.known(TRAIN)
    assert known is not None  # a rule of generate
    if only:
        return 0
    identity = provenance.identity(params, provenance.data_sha256())
    part = Part(identity, Checkpoints(identity.fingerprint), str(device))
    receipts.begin()
    fitted = _fit(params, device, part, known.rows)
    line = fitted.line
    files.write_text(LINE, line.to_json())
    files.write_text(
        HISTORY, history.as_csv(fitted.loss.tolist(), fitted.w.tolist(), fitted.b.tolist())
    )
    made = provenance.made_with("train", params, data_sha256=identity.data)
    files.write_used(LINE.parent, made)
    files.seal(LINE.parent, [LINE, HISTORY, LINE.parent / files.USED])
    receipts.leave(part.receipt())
    part.checkpoints.clear()
    print(f"train: w = {line.w!r}, b = {line.b!r} after {params.train.epochs:,} epochs")
    return 0


def _read_in_workers(count: int) -> None:
    """Let torchrun's workers read the data, unless what is known of it is kept."""
    onepass.check(TRAIN)
    if onepass.find(TRAIN) is None:
        workers.start(count, workers.script(), "train", "--pass-only")


class Part:
    """One process's part in an execution: the whole of it, unless an earlier part was cut short."""

    def __init__(self, identity: Identity, checkpoints: Checkpoints, device: str) -> None:
        self.identity = identity
        self.checkpoints = checkpoints
        self.device = device
        self.earlier = checkpoints.load()
        self.execution = self.earlier.execution if self.earlier else uuid.uuid4().hex
        self.started = self.earlier.started if self.earlier else time.time()
        self._clock = time.monotonic() - (self.earlier.seconds if self.earlier else 0.0)

    @property
    def start(self) -> training.Start | None:
        """Where the earlier part stood."""
        found = self.earlier
        return training.Start(found.w, found.b, found.history) if found else None

    @property
    def seconds(self) -> float:
        """How long the training has run, over all its parts."""
        return time.monotonic() - self._clock

    def save(self, step: training.Step) -> None:
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

    def receipt(self) -> receipts.Receipt:
        """Return what `record` needs to know of the whole execution."""
        return receipts.Receipt(
            self.identity.fingerprint,
            self.started,
            self.seconds,
            self.device,
            environment.facts(),
            environment.packages(),
            self.execution,
        )

    def opening(self, params: Params) -> dict[str, Any]:
        """Return what a live run is called and tagged with while it has no result."""
        experiment = os.environ.get("DVC_EXP_NAME") or None
        tags = {
            "fingerprint": self.identity.fingerprint,
            "data_sha256": self.identity.data,
            "device": self.device,
            "process": processes.process(),
            **({"dvc_exp_name": experiment} if experiment else {}),
        }
        return {
            "execution": self.execution,
            "name": content.run_name(params, experiment),
            "tags": tags,
            "params": content.texts(params),
            "start_ms": int(self.started * 1000),
        }


def _fit(params: Params, device: training.Device, part: Part, rows: Compressed) -> training.History:
    """Fit, going on where an earlier part stood; keep checkpoints; stream; show a bar."""
    x, y, scaling = inputs(params.train, rows, device)
    last: training.Step | None = None
    wanted = params.train
    # delay: nobody watches two seconds; disable=None: tqdm asks whether stderr is a terminal.
    with (
        tqdm(
            total=wanted.epochs,
            initial=part.earlier.epochs if part.earlier else 0,
            desc="train",
            unit=" epochs",
            delay=2,
            disable=None,
            leave=False,
        ) as bar,
        Stream(part.opening(params), epochs=wanted.epochs) as stream,
    ):

        def watch(step: training.Step) -> None:
            nonlocal last
            last = step
            stream.add(step.epoch, step.loss, step.w, step.b)
            bar.update()
            if part.checkpoints.due:
                part.save(step)

        try:
            return training.fit(
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
        except KeyboardInterrupt:
            if last:
                part.save(last)
            raise
        except DivergedError:
            part.checkpoints.clear()  # going on from there would lead nowhere else
            raise


def inputs(
    wanted: Train, rows: Compressed, device: training.Device
) -> tuple[training.Array, training.Array, training.Scaling]:
    """Return x and y as the fit is to see them, and how that x relates to the data's.

    Raises: ParamsError where the data's squares do not fit into float64, or rows not into memory.
    """
    if not rows.finite:
        raise ParamsError(
            "data/train/ must have squares within float64, neither too large nor too small:"
            " rescale it (got one that is not)"
        )
    scaling = training.Scaling(rows.mean_x, rows.sd_x) if wanted.standardize else training.Scaling()
    if wanted.compress:
        return *rows.three_points(standardize=wanted.standardize), scaling
    _refuse_too_many(rows.rows, training.row_bytes(wanted.dtype, device))
    x, y = np.empty((2, rows.rows))
    start = 0
    for some_x, some_y in shards.read(TRAIN):
        stop = start + len(some_x)
        x[start:stop], y[start:stop] = some_x, some_y
        start = stop
    np.subtract(x, scaling.mean, out=x)
    return np.divide(x, scaling.sd, out=x), y, scaling


def _refuse_too_many(rows: int, wanted: dict[training.Device, int]) -> None:
    """Refuse rows that do not fit, before any is read. wanted: bytes a row, by device."""
    for place, bytes_ in wanted.items():
        need, free = rows * bytes_, memory.free(place)
        if free is not None and need > free:
            raise ParamsError(
                f"train.compress must be true for {rows:,} rows: row by row they take {need:,}"
                f" bytes on {place} (got false, and {free:,} bytes free)"
            )
