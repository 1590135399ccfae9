"""Records each run of a DVC pipeline in MLflow, and proves that it can be repeated."""
