"""What every command shares: errors, atomic files and checksums, arguments, the store's address."""
