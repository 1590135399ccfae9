"""The project as DVC has it: stages, dvc.lock, cache; and the identity of a run."""
