"""The paths of the pipeline's files in a checkout."""

from pathlib import Path

PARAMS = Path("params.yaml")

DATA = Path("data")
TRAIN = DATA / "train"
HOLDOUT = DATA / "holdout"
SUMMARY = DATA / "summary.json"

MODELS = Path("models")
MODEL = MODELS / "model.json"
WEIGHTS = MODELS / "weights.safetensors"

REPORTS = Path("reports")
HISTORY = REPORTS / "history.csv"
METRICS = REPORTS / "metrics.json"
VERDICT = REPORTS / "verdict.md"
PLOTS = REPORTS / "plots"
REPORT = REPORTS / "report.html"
RETRAINED = REPORTS / "retrain.md"
