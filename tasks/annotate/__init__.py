"""annotate: the teacher answers every training question with its reasoning."""
