"""What every stage shares: the line, moments of rows, history, Parquet, numbers in words, errors."""
