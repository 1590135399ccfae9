"""The stage `train`: data/train/ to models/line.json and reports/history.csv."""

import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from knownline import (
    compression,
    door,
    environment,
    files,
    history,
    provenance,
    receipts,
    shards,
    training,
)
from knownline.errors import ParamsError
from knownline.params import Train

TRAIN = Path("data/train")
LINE = Path("models/line.json")
HISTORY = Path("reports/history.csv")


def main(argv: list[str]) -> int:
    """Fit the line, write it with its history, and leave a receipt that it was fitted."""
    door.Arguments(
        "train", "Fit the line to data/train/ by gradient descent.", "knownline train"
    ).parse_args(argv)
    params = door.read_params()
    device = training.choose_device(params.train.device, params.train.dtype)
    files.check_seal(Path("data"), only=TRAIN)
    fingerprint = provenance.identity(params, provenance.data_sha256()).fingerprint
    started, clock = time.time(), time.monotonic()
    x, y, scaling = inputs(params.train)
    # delay: nobody watches two seconds; disable=None: tqdm asks whether stderr is a terminal.
    with tqdm(
        total=params.train.epochs, desc="train", unit=" epochs", delay=2, disable=None, leave=False
    ) as bar:
        fitted = training.fit(
            x,
            y,
            epochs=params.train.epochs,
            learning_rate=params.train.learning_rate,
            dtype=params.train.dtype,
            device=device,
            scaling=scaling,
            watch=lambda *_: bar.update(),
        )
    seconds = time.monotonic() - clock
    line = fitted.line
    files.write_text(LINE, line.to_json())
    files.write_text(
        HISTORY, history.as_csv(fitted.loss.tolist(), fitted.w.tolist(), fitted.b.tolist())
    )
    files.seal(LINE.parent, [LINE, HISTORY])
    receipts.leave(
        receipts.Receipt(
            fingerprint, started, seconds, str(device), environment.facts(), environment.packages()
        )
    )
    print(f"train: w = {line.w!r}, b = {line.b!r} after {params.train.epochs:,} epochs")
    return 0


def inputs(wanted: Train) -> tuple[training.Array, training.Array, training.Scaling]:
    """Return x and y as the fit is to see them, and how that x relates to the data's.

    Raises: ParamsError where the data's squares do not fit into float64.
    """
    compressed = compression.compress(shards.read(TRAIN))
    if not compressed.finite:
        raise ParamsError(
            "data/train/ must have squares within float64: rescale it (got an overflow)"
        )
    scaling = (
        training.Scaling(compressed.mean_x, compressed.sd_x)
        if wanted.standardize
        else training.Scaling()
    )
    if wanted.compress:
        return *compressed.three_points(standardize=wanted.standardize), scaling
    columns = zip(*shards.read(TRAIN), strict=True)
    x, y = (np.concatenate(column) for column in columns)
    return (x - scaling.mean) / scaling.sd, y, scaling
