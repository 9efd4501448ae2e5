"""Files: atomic writes, typed parquet tables, append-only JSON lines, derived seeds, one-line command errors."""
