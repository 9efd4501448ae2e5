"""The whole graph at its smallest, by the same code and dvc.yaml, for what must run it often (`verify`, `faults`)."""
