"""Fit a logistic regression by stochastic gradient descent, and write the loss of each epoch."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

params = yaml.safe_load(Path("params.yaml").read_text())["train"]
table = pd.read_csv("data/train.csv")
x = table.drop(columns="target").to_numpy()
y = np.eye(3)[table["target"]]
mean, scale = x.mean(axis=0), x.std(axis=0)
x = (x - mean) / scale
random = np.random.default_rng(params["seed"])
weights, bias = np.zeros((x.shape[1], 3)), np.zeros(3)
losses = []


def probabilities(rows):
    """Return the probability of each class, for each row."""
    scores = np.exp(rows @ weights + bias)
    return scores / scores.sum(axis=1, keepdims=True)


for _ in range(params["epochs"]):
    for row in random.permutation(len(x)):
        error = probabilities(x[row : row + 1]) - y[row]
        weights -= params["rate"] * np.outer(x[row], error)
        bias -= params["rate"] * error[0]
    losses.append(-np.log(probabilities(x)[y == 1]).mean())

pd.DataFrame({"epoch": range(1, len(losses) + 1), "log_loss": losses}).to_csv(
    "history.csv", index=False
)
model = {"mean": mean, "scale": scale, "weights": weights, "bias": bias}
Path("model.json").write_text(
    json.dumps({name: value.tolist() for name, value in model.items()}, indent=1) + "\n"
)
