"""What every stage shares: models, moments, history, Parquet, number formats, errors."""
