"""The ways of training that are compared; everything a way does not name is the same for all.

sft                       no reinforcement learning
grpo                      G answers on ordered frames, no temporal term
grpo_equal_compute        G + G~ answers on ordered frames, no temporal term: as many rollouts as T-GRPO
tgrpo_reward              the published bonus, before normalisation
tgrpo_advantage           the gap p - p~, after normalisation
tgrpo_logprob             `logprob` with its defaults on G answers: two thirds of T-GRPO's rollouts
tgrpo_logprob_uncentred   `logprob`, but every correct answer is paid in full; G + G~ answers
tgrpo_logprob_tokens      answers get no bonus, but their tokens share the advantage by what order decides of each
                          (`token_share`); G + G~ answers
tgrpo_tuned               `logprob` with its defaults on G + G~ answers, of which the correct ones exchange advantage by
                          how much each hangs on frame order
"""

from __future__ import annotations

from tasks.core.io.errors import StageError
from tasks.grpo.objectives import Choice
from tasks.grpo.objectives.grpo import PlainGrpo
from tasks.grpo.objectives.logprob import LogProb
from tasks.grpo.objectives.tgrpo_advantage import TgrpoAdvantage
from tasks.grpo.objectives.tgrpo_reward import TgrpoReward
from tasks.params import Grpo

SFT = "sft"
GROUP, PERTURBED = 8, 4
"""G and G~, the published ones."""
TUNED = LogProb()
WAYS: dict[str, tuple[int, Choice]] = {
    "grpo": (GROUP, PlainGrpo()),
    "grpo_equal_compute": (GROUP + PERTURBED, PlainGrpo()),
    "tgrpo_reward": (GROUP, TgrpoReward(completions=PERTURBED)),
    "tgrpo_advantage": (GROUP, TgrpoAdvantage(completions=PERTURBED)),
    "tgrpo_logprob": (GROUP, TUNED),
    "tgrpo_logprob_uncentred": (GROUP + PERTURBED, LogProb(centred=False)),
    "tgrpo_logprob_tokens": (GROUP + PERTURBED, LogProb(alpha=0.0, token_share=0.5)),
    "tgrpo_tuned": (GROUP + PERTURBED, TUNED),
}
"""Completions on ordered frames, and objective, by method."""
METHODS = (SFT, *WAYS)


def arm(method: str, base: Grpo) -> Grpo | None:
    """Settings of one method; None for `sft`, which does not train.

    Args:
        method: one of METHODS.
        base: the `grpo` section. Its group and objective are left aside: these are what methods differ in.

    Raises:
        StageError: unknown method.
    """
    if method not in METHODS:
        raise StageError(f"no method {method!r}; methods: {', '.join(METHODS)}")
    if method == SFT:
        return None
    group, objective = WAYS[method]
    return base.model_copy(update={"group": group, "objective": objective})
