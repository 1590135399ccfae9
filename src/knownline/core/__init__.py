"""What every stage shares: the line, moments, history, Parquet, number formats, errors."""
