"""T-GRPO: reinforcement learning on video that pays for using frame order."""
