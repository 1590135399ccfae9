"""A recorded run executed again and compared."""
