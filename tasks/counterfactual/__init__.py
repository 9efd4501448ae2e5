"""Counterfactual pairs of a user's clips and questions: the same clip reversed or mirrored, with its mapped answer."""
