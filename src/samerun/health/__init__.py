"""The checks of `knownline doctor`: of a workspace, and of a store and its runs."""
