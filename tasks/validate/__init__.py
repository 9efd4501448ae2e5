"""Stage validate: gates between stages, Great Expectations suites in code."""
