"""Time and memory of a measurement; decides no result."""
