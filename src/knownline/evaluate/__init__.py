"""The stage `evaluate`: standard errors, residuals, the gate and its reasons."""
