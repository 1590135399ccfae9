"""The stage `generate`: draw points around the true line or read a table; choose the holdout."""
