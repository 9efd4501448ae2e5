"""What measures speed, memory and methods; above the stages, so that no stage depends on it."""
