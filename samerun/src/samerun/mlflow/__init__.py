"""The MLflow store: its runs, their pages and models, and its sync between machines."""
