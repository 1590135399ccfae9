"""What can be wrong with a workspace, and with a store."""
