"""Measure the model on the rows that it has not seen."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

model = {
    name: np.array(value) for name, value in json.loads(Path("model.json").read_text()).items()
}
table = pd.read_csv("data/test.csv")
x = (table.drop(columns="target").to_numpy() - model["mean"]) / model["scale"]
scores = np.exp(x @ model["weights"] + model["bias"])
probabilities = scores / scores.sum(axis=1, keepdims=True)
right = probabilities[np.arange(len(table)), table["target"]]
metrics = {
    "accuracy": float((probabilities.argmax(axis=1) == table["target"]).mean()),
    "test_log_loss": float(-np.log(right).mean()),
}
Path("metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
