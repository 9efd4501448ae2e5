"""Time, processor time and memory of a step: `grpo`, `sft`, `decode`."""
