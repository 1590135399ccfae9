"""Types and functions of every command: errors, complete files, arguments, the store's address."""
