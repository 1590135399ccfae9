"""The stage `evaluate`: reference fit, standard errors, residuals, the gate."""
