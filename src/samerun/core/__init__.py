"""What every command shares: errors, files that are whole or absent, arguments, addresses."""
