"""The joint between DVC and MLflow: what a pipeline ran is recorded, and can be proven."""
