"""A retraining pipeline whose right answer is known."""
