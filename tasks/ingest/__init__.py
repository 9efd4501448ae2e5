"""Stage ingest: sources to record tables, media manifest and quarantine."""
