"""What each speed lever saves in a step, measured on random weights and noise."""
