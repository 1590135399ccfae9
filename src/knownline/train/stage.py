"""The stage `train`: fits the training rows; writes models/ and reports/history.csv."""

from knownline.core import formatting
from knownline.core.layout import SUMMARY
from knownline.core.summary import Summary
from knownline.params import Params
from samerun.core.interrupts import importing


def main() -> int:
    """Fit the model and write it with its history."""
    params = Params.read()
    summary = Summary.of(params.kind, SUMMARY)
    with importing():  # torch: a second or two
        from knownline.train import fitting
    fitted = fitting.fit(params, summary)
    epochs = formatting.counted(params.train.epochs, "epoch")
    values = ", ".join(f"{name} = {value!r}" for name, value in fitted.parameters.items())
    if fitted.weights:
        values = f"a network with weights {fitted.weights[:12]}…"
    print(f"train: {values} after {epochs}")
    return 0
