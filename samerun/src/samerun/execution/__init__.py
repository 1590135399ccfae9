"""One execution of a stage: its receipt, its process, its environment, its live tracking."""
