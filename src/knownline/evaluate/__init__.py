"""The stage `evaluate`: standard errors, residuals, and the gate with its reasons."""
