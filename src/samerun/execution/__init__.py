"""One execution of a stage: its receipt, its process, its machine, its live page."""
