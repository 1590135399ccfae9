"""What DVC knows of the project: its stages, its lock file, and the identity of a run."""
