"""benchmark: one model on the test split, with ordered frames and on two controls."""
