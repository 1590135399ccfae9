"""Scheduled retraining: drift, champion and challenger, the branch of the day, the model card."""
