"""The stage `train`: fits the training rows, writes models/model.json and reports/history.csv."""

from knownline.core import formatting
from knownline.core.layout import SUMMARY
from knownline.core.summary import Summary
from knownline.params import Params
from samerun.core.interrupts import importing


def main() -> int:
    """Fit the model and write it with its history."""
    params = Params.read()
    rows = Summary.of(params.kind, SUMMARY).train
    with importing():  # torch: a second or two
        from knownline.train import fitting
    parameters = fitting.fit(params, rows).parameters
    epochs = formatting.counted(params.train.epochs, "epoch")
    values = ", ".join(f"{name} = {value!r}" for name, value in parameters.items())
    print(f"train: {values} after {epochs}")
    return 0
