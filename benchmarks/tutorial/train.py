"""Fit the line and log every epoch."""

import json

import mlflow
import pandas as pd
import torch
import yaml

params = yaml.safe_load(open("params.yaml"))
data = pd.read_csv("data.csv").query("not holdout")
mean, sd = data.x.mean(), data.x.std(ddof=0)
x = torch.tensor((data.x.to_numpy() - mean) / sd).reshape(-1, 1)
y = torch.tensor(data.y.to_numpy()).reshape(-1, 1)

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("tutorial")
with mlflow.start_run() as run:
    mlflow.log_params(params)
    model = torch.nn.Linear(1, 1, dtype=torch.float64)
    optimiser = torch.optim.SGD(model.parameters(), lr=params["learning_rate"])
    for epoch in range(params["epochs"]):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimiser.step()
        w = model.weight.item() / sd
        b = model.bias.item() - w * mean
        mlflow.log_metric("loss", loss.item(), step=epoch)
        mlflow.log_metric("w", w, step=epoch)
        mlflow.log_metric("b", b, step=epoch)
    mlflow.pytorch.log_model(model, name="model", input_example=x[:2].numpy())
    json.dump({"w": w, "b": b}, open("model.json", "w"))
    open("run_id.txt", "w").write(run.info.run_id)
