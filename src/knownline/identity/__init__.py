"""The identity of a run: a hash of its inputs, and its name."""
