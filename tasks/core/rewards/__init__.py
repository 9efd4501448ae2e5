"""Rule rewards: one implementation for the filter, RL and the benchmark, in two variants by name.

strict: the published rules to the bit, holes included, for comparison with published runs.
robust: the same ideas without the holes. `strict.py` and `robust.py` describe each rule.
"""

from tasks.core.rewards.registry import RULES, VARIANTS, accuracy, unscorable
from tasks.core.rewards.score import Score, Verdict
from tasks.core.rewards.shape import format_reward, length_reward

__all__ = ["RULES", "VARIANTS", "Score", "Verdict", "accuracy", "format_reward", "length_reward", "unscorable"]
