"""The ways of training that are compared; everything a way does not name is the same for all.

sft                  no reinforcement learning
grpo                 G answers on ordered frames, no contrast
grpo_equal_compute   G + G~ answers on ordered frames, no contrast: as many rollouts as T-GRPO
tgrpo_reward         the published bonus, before normalisation
tgrpo_advantage      the gap p - p~, after normalisation
tgrpo_logprob        each answer's own loss of probability, after normalisation; G answers
"""

from __future__ import annotations

from typing import Any

from tasks.core.io.errors import StageError
from tasks.params import Grpo

SFT = "sft"
METHODS = (SFT, "grpo", "grpo_equal_compute", "tgrpo_reward", "tgrpo_advantage", "tgrpo_logprob")
MODES = {"tgrpo_reward": "reward", "tgrpo_advantage": "advantage", "tgrpo_logprob": "logprob"}


def arm(method: str, base: Grpo) -> Grpo | None:
    """Settings of one method; None for `sft`, which does not train.

    Args:
        method: one of METHODS.
        base: the `grpo` section; its preset is left aside, for it would undo what the methods differ in.

    Raises:
        StageError: unknown method.
    """
    if method not in METHODS:
        raise StageError(f"no method {method!r}; methods: {', '.join(METHODS)}")
    if method == SFT:
        return None
    changes: dict[str, Any] = {"preset": None}
    temporal = base.temporal
    if method in MODES:
        changes["temporal"] = temporal.model_copy(update={"enabled": True, "mode": MODES[method]})
    else:
        changes["temporal"] = temporal.model_copy(update={"enabled": False})
    if method == "grpo_equal_compute":
        changes["group"] = base.group + temporal.shuffled
    return base.model_copy(update=changes)
