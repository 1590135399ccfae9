"""One execution of a stage: its process, its environment, its reports and its receipt."""
