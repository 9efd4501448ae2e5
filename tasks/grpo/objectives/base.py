"""What an objective is: a frozen choice under `grpo.objective` that says what it asks of a step and what it pays for.

The trainer asks it twice for every prompt of a step:

    asks()              other views of the clip, completions sampled on them, log-probabilities under them
    terms(evidence)     from what came of that:

    reward_i       = accuracy_i + format_weight * format_i + length_i + terms.reward_i
    advantage_i    = normalised(reward_i) + terms.advantage_i
    advantage_i,t  = advantage_i * terms.token_weights_i,t

Every kind is one file here, whose head gives formula, source, cost and departures; it has the fields that it reads and
no others. Nothing here imports torch: params.yaml is read through these classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from tasks.grpo.objectives.perturbations import Perturbation


class Contrast(NamedTuple):
    """A term of the loss: what the policy says under the first other view is to differ from what it says in truth."""

    gamma: float
    """Weight."""
    most: float
    """Nats of a token beyond which its divergence has no gradient."""


class Asks(NamedTuple):
    """What an objective wants of a video prompt beside its G completions on ordered frames."""

    perturbations: tuple[Perturbation, ...] = ()
    """Other views of the clip."""
    completions: int = 0
    """G~: completions sampled on the first of those views."""
    scored: bool = False
    """The G completions' log-probabilities, under the ordered view and every other, without gradient."""
    contrast: Contrast | None = None
    """The G completions under the first other view in the update, with gradient; None leaves that view out of it."""


class Evidence(NamedTuple):
    """One prompt's group as an objective sees it; G completions on ordered frames, G~ on the first other view."""

    accuracy: Sequence[float]
    """G values in [0, 1]."""
    texts: Sequence[str]
    """G completions, special tokens left out."""
    perturbed_accuracy: Sequence[float] = ()
    """G~ values, against the answer that is right for the ordered view; empty without another view."""
    perturbed_texts: Sequence[str] = ()
    log_probs: Sequence[Sequence[float]] | None = None
    """(G, tokens) under the ordered view, nats; None where `Asks.scored` is false or there is no other view."""
    drops: Sequence[Sequence[Sequence[float]]] | None = None
    """(views, G, tokens): log-probability under the ordered view minus that under the other, nats; None likewise."""
    seed: int = 0
    """Fixed by run, step and prompt: for what an objective draws at random."""


def mean_over_views(drops: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """(G, tokens): the mean over views of (views, G, tokens)."""
    if len(drops) == 1:
        return [list(tokens) for tokens in drops[0]]
    by_completion = zip(*drops, strict=True)
    return [[sum(draws) / len(draws) for draws in zip(*views, strict=True)] for views in by_completion]


def token_means(tokens: Sequence[Sequence[float]]) -> list[float]:
    """(G): the mean over each completion's tokens; 0 for one without tokens."""
    return [sum(values) / len(values) if values else 0.0 for values in tokens]


class Terms(NamedTuple):
    """What an objective adds for one prompt; G values each."""

    reward: list[float]
    """Added to rewards, before they are normalised."""
    advantage: list[float]
    """Added to advantages, after normalisation."""
    token_weights: list[list[float]] | None = None
    """(G, tokens) that an advantage is multiplied by at each token; None leaves it alike for all tokens."""

    @property
    def bonus(self) -> list[float]:
        """G terms, of the reward or of the advantage."""
        return [before + after for before, after in zip(self.reward, self.advantage, strict=True)]

    @property
    def paid(self) -> bool:
        """Whether any completion got a bonus."""
        return any(self.bonus)


class Objective(BaseModel):
    """A rule by which completions are paid beyond their reward."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def asks(self) -> Asks:
        """What the rule wants of every video prompt."""
        return Asks()

    def terms(self, evidence: Evidence) -> Terms | None:
        """What the rule adds for one prompt; None where it has nothing to compare, as for an image."""
        raise NotImplementedError


def before_normalisation(bonus: list[float]) -> Terms:
    """A bonus that is part of the reward."""
    return Terms(bonus, [0.0] * len(bonus))


def after_normalisation(bonus: list[float], token_weights: list[list[float]] | None = None) -> Terms:
    """A bonus that is added to the advantage."""
    return Terms([0.0] * len(bonus), bonus, token_weights)
