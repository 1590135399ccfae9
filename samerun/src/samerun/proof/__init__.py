"""Reproducing a recorded run: execute it again and compare the results."""
