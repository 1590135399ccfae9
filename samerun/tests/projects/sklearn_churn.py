"""A classifier of scikit-learn over a table under `dvc add`, as its users have it.

split -> train -> evaluate; parameters in params.yaml, numbers in metrics.json, a DVC remote.
"""

COMMON = """
import csv

import yaml


def params(stage):
    with open("params.yaml") as file:
        return yaml.safe_load(file)[stage]


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [[float(x) for x in row[1:-1]] for row in rows], [int(row[-1]) for row in rows]
"""

SPLIT = """
import csv
import os

from common import params
from sklearn.model_selection import train_test_split

wanted = params("split")
with open("data/customers.csv", newline="") as file:
    header, *rows = csv.reader(file)
train, test = train_test_split(
    rows, test_size=wanted["test_size"], random_state=wanted["seed"],
    stratify=[row[-1] for row in rows],
)
os.makedirs("data/parts", exist_ok=True)
for name, part in (("train", train), ("test", test)):
    with open(f"data/parts/{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *part])
"""

TRAIN = """
import json

from common import params, read
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

model = make_pipeline(StandardScaler(), LogisticRegression(C=params("train")["C"]))
model.fit(*read("data/parts/train.csv"))
scaler, logistic = model[0], model[1]
kept = {
    "mean": scaler.mean_.tolist(),
    "scale": scaler.scale_.tolist(),
    "coefficients": logistic.coef_[0].tolist(),
    "intercept": logistic.intercept_[0],
}
with open("model.json", "w") as file:
    json.dump(kept, file)
"""

EVALUATE = """
import csv
import json

import numpy as np
from common import params, read
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score

with open("model.json") as file:
    model = json.load(file)
inputs, labels = read("data/parts/test.csv")
scaled = (np.array(inputs) - model["mean"]) / model["scale"]
scores = 1 / (1 + np.exp(-(scaled @ model["coefficients"] + model["intercept"])))
guesses = (scores > params("evaluate")["threshold"]).astype(int)
with open("metrics.json", "w") as file:
    json.dump(
        {
            "accuracy": accuracy_score(labels, guesses),
            "auc": roc_auc_score(labels, scores),
            "errors": {"missed": int(confusion_matrix(labels, guesses)[1, 0])},
        },
        file,
    )
with open("predictions.csv", "w", newline="") as file:
    csv.writer(file).writerows([("actual", "predicted"), *zip(labels, guesses.tolist())])
"""

PARAMS = """
split:
  test_size: 0.25
  seed: 7
train:
  C: 1.0
evaluate:
  threshold: 0.5
"""

PIPELINE = """
stages:
  split:
    cmd: python code/split.py
    deps: [code/common.py, code/split.py, data/customers.csv]
    params: [split]
    outs: [data/parts]
  train:
    cmd: python code/train.py
    deps: [code/common.py, code/train.py, data/parts/train.csv]
    params: [train.C]
    outs: [model.json]
  evaluate:
    cmd: python code/evaluate.py
    deps: [code/common.py, code/evaluate.py, data/parts/test.csv, model.json]
    params: [evaluate.threshold]
    metrics:
      - metrics.json: {cache: false}
    plots:
      - predictions.csv: {template: confusion, x: actual, y: predicted, cache: false}
artifacts:
  churn:
    path: model.json
    type: model
"""


def _customers() -> str:
    """Return a table of 120 customers, of which those that pay much for little tend to leave."""
    rows = ["customer,months,fee,calls,left"]
    for i in range(120):
        months, fee, calls = i * 31 % 60, 20 + i * 17 % 41, i * 13 % 7
        left = int(fee + 3 * calls - months / 2 + i * 29 % 23 > 50)
        rows.append(f"{i},{months},{fee},{calls},{left}")
    return "\n".join(rows) + "\n"


FILES = {
    "code/common.py": COMMON,
    "code/split.py": SPLIT,
    "code/train.py": TRAIN,
    "code/evaluate.py": EVALUATE,
    "params.yaml": PARAMS,
    "dvc.yaml": PIPELINE,
    "data/README": "Customers, by `dvc pull`.\n",
}

TRACKED = {"data/customers.csv": _customers()}
"""What `dvc add` takes."""
