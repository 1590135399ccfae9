"""A retraining pipeline that fits data with a known true answer."""
