"""A network in PyTorch that logs with DVCLive, as its users have it.

prepare -> train -> evaluate. The folder `dvclive` is an output, and what DVC shows of it stands at
the top of dvc.yaml, where DVCLive writes it while the stage runs.
"""

PREPARE = """
import dvc.api
import numpy as np

params = dvc.api.params_show(stages="prepare")["prepare"]
table = np.loadtxt("data/points.csv", delimiter=",", skiprows=1)
rows = np.random.default_rng(params["seed"]).permutation(len(table))
held_out = round(len(table) * params["held_out"])
np.savez("data/split.npz", test=table[rows[:held_out]], train=table[rows[held_out:]])
"""

TRAIN = """
import dvc.api
import numpy as np
import torch
from dvclive import Live
from safetensors.torch import save_file

from network import network

params = dvc.api.params_show(stages="train")["train"]
torch.manual_seed(params["seed"])
torch.set_num_threads(1)
table = torch.tensor(np.load("data/split.npz")["train"], dtype=torch.float32)
inputs, labels = table[:, :2], table[:, 2:]
net = network(params["hidden"])
optimizer = torch.optim.Adam(net.parameters(), lr=params["lr"])
with Live() as live:
    live.log_params(params)
    for epoch in range(params["epochs"]):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(inputs), labels)
        loss.backward()
        optimizer.step()
        live.log_metric("train/loss", loss.item())
        live.log_metric("train/accuracy", ((net(inputs) > 0) == labels).float().mean().item())
        live.next_step()
    save_file(net.state_dict(), "model.safetensors")
    live.log_artifact("model.safetensors", type="model", name="mlp")
"""

NETWORK = """
import torch


def network(hidden):
    return torch.nn.Sequential(
        torch.nn.Linear(2, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1)
    )
"""

EVALUATE = """
import dvc.api
import numpy as np
import torch
from dvclive import Live
from safetensors.torch import load_file

from network import network

params = dvc.api.params_show(stages="evaluate")
torch.set_num_threads(1)
table = torch.tensor(np.load("data/split.npz")["test"], dtype=torch.float32)
net = network(params["train"]["hidden"])
net.load_state_dict(load_file("model.safetensors"))
scores = torch.sigmoid(net(table[:, :2])).detach().numpy()[:, 0]
labels = table[:, 2].numpy().astype(int)
with Live("evaluation", dvcyaml=False) as live:
    hits = (scores > params["evaluate"]["threshold"]) == labels
    live.summary["accuracy"] = float(hits.mean())
    live.log_sklearn_plot("roc", labels, scores)
    live.log_sklearn_plot("confusion_matrix", labels, (scores > 0.5).astype(int))
"""

PARAMS = """
prepare:
  held_out: 0.25
  seed: 1
train:
  hidden: 8
  lr: 0.05
  epochs: 4
  seed: 2
evaluate:
  threshold: 0.5
"""

PIPELINE = """
stages:
  prepare:
    cmd: python src/prepare.py
    deps:
      - data/points.csv
      - src/prepare.py
    params:
      - prepare
    outs:
      - data/split.npz
  train:
    cmd: python src/train.py
    deps:
      - data/split.npz
      - src/network.py
      - src/train.py
    params:
      - train
    outs:
      - model.safetensors
      - dvclive
  evaluate:
    cmd: python src/evaluate.py
    deps:
      - data/split.npz
      - model.safetensors
      - src/evaluate.py
      - src/network.py
    params:
      - evaluate
      - train.hidden
    outs:
      - evaluation
metrics:
  - evaluation/metrics.json
plots:
  - evaluation/plots/sklearn/roc.json:
      x: fpr
      y: tpr
  - evaluation/plots/sklearn/confusion_matrix.json:
      template: confusion
      x: actual
      y: predicted
"""


def _points() -> str:
    """Return 80 points in the plane and whether each is in a ring, without a random number."""
    rows = ["x,y,inside"]
    for i in range(80):
        x, y = (i * 37 % 80) / 40 - 1, (i * 53 % 79) / 39.5 - 1
        rows.append(f"{x:.4f},{y:.4f},{int(x * x + y * y < 0.5)}")
    return "\n".join(rows) + "\n"


FILES = {
    "data/points.csv": _points(),
    "src/prepare.py": PREPARE,
    "src/train.py": TRAIN,
    "src/network.py": NETWORK,
    "src/evaluate.py": EVALUATE,
    "params.yaml": PARAMS,
    "dvc.yaml": PIPELINE,
}
