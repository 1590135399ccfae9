"""The checks of `samerun doctor`: of a workspace, its inputs, its store and its runs."""
