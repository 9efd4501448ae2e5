"""Stage validate: gates between stages; what they expect is written in code for Great Expectations."""
