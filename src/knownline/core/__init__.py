"""What every stage shares: the line, moments, history, Parquet, numbers in words, errors."""
