"""Hold the line against the holdout, draw it, and add both to the run."""

import json
import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd

line = json.load(open("model.json"))
data = pd.read_csv("data.csv")
held = data[data.holdout]
rmse = float(np.sqrt(np.mean((line["w"] * held.x + line["b"] - held.y) ** 2)))
metrics = {"holdout_rmse": rmse, "w_error": line["w"] - 20, "b_error": line["b"] - 5}
json.dump(metrics, open("metrics.json", "w"))

os.makedirs("plots", exist_ok=True)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
with mlflow.start_run(run_id=open("run_id.txt").read()):
    mlflow.log_metrics(metrics)
    history = mlflow.MlflowClient().get_metric_history(open("run_id.txt").read(), "loss")
    for name in ("fit", "loss", "path"):
        plt.figure()
        if name == "fit":
            plt.scatter(data.x, data.y)
            plt.plot(data.x, line["w"] * data.x + line["b"])
        else:
            plt.plot([point.value for point in history])
        plt.savefig(f"plots/{name}.png")
        plt.close()
    mlflow.log_artifacts("plots", "plots")
