"""Reading of annotation files, and of answers in completions."""
