"""Reading: annotation files, and answers out of completions."""
