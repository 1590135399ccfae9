"""The link between DVC and MLflow: records what a pipeline ran, and proves that it can rerun."""
