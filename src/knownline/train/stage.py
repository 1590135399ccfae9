"""The stage `train`: fits the training rows, writes models/line.json and reports/history.csv."""

from knownline.core import formatting
from knownline.core.layout import SUMMARY
from knownline.core.summary import Summary
from knownline.params import Params
from samerun.core.interrupts import importing


def main() -> int:
    """Fit the line and write it with its history."""
    params = Params.read()
    rows = Summary.read(SUMMARY).train
    with importing():  # torch: a second or two
        from knownline.train import fitting
    line = fitting.fit(params.train, rows)
    epochs = formatting.counted(params.train.epochs, "epoch")
    print(f"train: w = {line.w!r}, b = {line.b!r} after {epochs}")
    return 0
