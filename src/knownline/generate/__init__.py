"""The stage `generate`: draws points around the truth or reads a table; chooses the holdout."""
