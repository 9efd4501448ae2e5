"""Library shared by the stages; imports no stage, neither Prefect nor DVC."""
