"""The MLflow store: the runs in it, their pages, their models, its sync between machines."""
