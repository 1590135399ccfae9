"""The checks of `samerun doctor`: of a workspace, of its inputs, and of a store and its runs."""
