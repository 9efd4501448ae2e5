"""The ways of training that are compared; everything a way does not name is the same for all.

sft                           no reinforcement learning
grpo                          G answers on ordered frames, no contrast
grpo_equal_compute            G + G~ answers on ordered frames, no contrast: as many rollouts as T-GRPO
tgrpo_reward                  the published bonus, before normalisation
tgrpo_advantage               the gap p - p~, after normalisation
tgrpo_logprob                 each answer's own loss of probability, after normalisation; G answers
tgrpo_logprob_equal_compute   the same with G + G~ answers
tgrpo_tuned                   group and contrast of the preset `tuned`: G + G~ answers, whose tokens share the advantage
                              by what order decides of each; no bonus
"""

from __future__ import annotations

from typing import Any

from tasks.core.io.errors import StageError
from tasks.params import PRESETS, Grpo

SFT = "sft"
CONTRASTS: dict[str, dict[str, Any]] = {
    "grpo": {"enabled": False},
    "grpo_equal_compute": {"enabled": False},
    "tgrpo_reward": {"enabled": True, "mode": "reward"},
    "tgrpo_advantage": {"enabled": True, "mode": "advantage"},
    "tgrpo_logprob": {"enabled": True, "mode": "logprob"},
    "tgrpo_logprob_equal_compute": {"enabled": True, "mode": "logprob"},
    "tgrpo_tuned": PRESETS["tuned"]["temporal"],
}
"""Fields of `grpo.temporal` that a method sets."""
WHOLE_GROUP = {"grpo_equal_compute", "tgrpo_logprob_equal_compute"}
"""Methods that sample all G + G~ answers on ordered frames."""
METHODS = (SFT, *CONTRASTS)


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
    temporal = base.temporal.model_copy(update=CONTRASTS[method])
    changes: dict[str, Any] = {"preset": None, "temporal": temporal}
    if method in WHOLE_GROUP:
        changes["group"] = base.group + base.temporal.shuffled
    if method == "tgrpo_tuned":
        changes["group"] = PRESETS["tuned"]["group"]
    return base.model_copy(update=changes)
