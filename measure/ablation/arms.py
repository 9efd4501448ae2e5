"""The ways of training that are compared; everything a way does not name is the same for all.

sft                       no reinforcement learning
grpo                      G answers on ordered frames, no contrast
grpo_equal_compute        G + G~ answers on ordered frames, no contrast: as many rollouts as T-GRPO
tgrpo_reward              the published bonus, before normalisation
tgrpo_advantage           the gap p - p~, after normalisation
tgrpo_logprob             the contrast of the preset `tuned` on G answers: two thirds of T-GRPO's rollouts
tgrpo_logprob_uncentred   the contrast of `tuned`, but every correct answer is paid in full; G + G~ answers
tgrpo_logprob_tokens      answers get no bonus, but their tokens share the advantage by what order decides of each
                          (`grpo.temporal.token_share`); G + G~ answers
tgrpo_tuned               group and contrast of the preset `tuned`: G + G~ answers, of which the correct ones exchange
                          advantage by how much each hangs on frame order
"""

from __future__ import annotations

from typing import Any

from tasks.core.io.errors import StageError
from tasks.params import PRESETS, Grpo, Temporal

SFT = "sft"
GROUP, SHUFFLED = 8, 4
"""G and G~, the published ones."""
TUNED: dict[str, Any] = PRESETS["tuned"]["temporal"]
CONTRASTS: dict[str, dict[str, Any]] = {
    "grpo": {"enabled": False},
    "grpo_equal_compute": {"enabled": False},
    "tgrpo_reward": {"enabled": True, "mode": "reward"},
    "tgrpo_advantage": {"enabled": True, "mode": "advantage"},
    "tgrpo_logprob": TUNED,
    "tgrpo_logprob_uncentred": TUNED | {"centred": False},
    "tgrpo_logprob_tokens": TUNED | {"alpha": 0.0, "token_share": 0.5},
    "tgrpo_tuned": TUNED,
}
"""Fields of `grpo.temporal` that a method sets; the others are the published ones."""
WHOLE_GROUP = {"grpo_equal_compute", "tgrpo_logprob_uncentred", "tgrpo_logprob_tokens", "tgrpo_tuned"}
"""Methods that sample all G + G~ answers on ordered frames."""
METHODS = (SFT, *CONTRASTS)


def arm(method: str, base: Grpo) -> Grpo | None:
    """Settings of one method; None for `sft`, which does not train.

    Args:
        method: one of METHODS.
        base: the `grpo` section. Its preset, group and contrast are left aside: these are what methods differ in.

    Raises:
        StageError: unknown method.
    """
    if method not in METHODS:
        raise StageError(f"no method {method!r}; methods: {', '.join(METHODS)}")
    if method == SFT:
        return None
    temporal = Temporal(shuffled=SHUFFLED).model_copy(update=CONTRASTS[method])
    group = GROUP + SHUFFLED if method in WHOLE_GROUP else GROUP
    return base.model_copy(update={"preset": None, "group": group, "temporal": temporal})
