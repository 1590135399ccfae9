"""The stage `generate`: draw points around the truth or read a table; choose the holdout."""
