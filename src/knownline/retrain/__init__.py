"""Scheduled retraining: drift, champion and challenger, the day's branch, the model card."""
