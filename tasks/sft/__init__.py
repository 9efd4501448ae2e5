"""Supervised fine-tuning: the student learns to reason from the filtered teacher answers (cold start for RL)."""
