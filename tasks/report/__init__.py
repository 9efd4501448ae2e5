"""Report stage: every number and picture of a run in `reports/benchmark.md` and one self-contained page."""
