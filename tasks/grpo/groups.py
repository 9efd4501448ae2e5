"""Groups over processes: which answers of which prompt a process samples, and whole groups from everybody's parts.

A step's rows are numbered over all processes; row n is answer n % G of prompt n // G. A process holds a run of rows:

    G = 4, G~ = 2, two processes       process 0            process 1
    group_ranks: 1, two prompts        0 0 0 0 | s s        1 1 1 1 | s s
    group_ranks: 2, one prompt         0 0 | s              0 0 | s

Every process gets every outcome and assembles the same groups, so that scores and advantages need no further exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from tasks.grpo.data import Prompt, Views
from tasks.grpo.rollout import Answer
from tasks.grpo.scoring import Comparison, GroupScore


class Place(NamedTuple):
    """A process's part of one prompt's group."""

    slot: int
    """Place of the prompt among those of the step, over all processes."""
    prompt: int
    """Index of the prompt."""
    ordered: range
    """Which of the G answers on ordered frames are sampled here."""
    perturbed: range
    """Which of the G~ answers on the first perturbed view."""
    attempt: int = 0
    """0 for the scheduled prompt, n for the n-th in its place."""


class Outcome(NamedTuple):
    """What came of a place; travels between processes, so it holds no pixels."""

    place: Place
    lost: bool
    """The prompt was left out (`open_views`)."""
    order: list[int]
    """Frames of the ordered view."""
    perturbed_order: list[int]
    """Frames of the first perturbed view; empty without one."""
    answers: list[Answer]
    perturbed: list[Answer]
    comparison: Comparison | None
    """Of the ordered answers; None where that was not asked."""


class Held(NamedTuple):
    """A place with what stays on its process."""

    place: Place
    views: Views | None
    """None: the prompt was left out here."""
    answers: list[Answer]
    comparison: Comparison | None = None
    """Log-probabilities of the answers under every view; None where that was not asked."""


class Answered(NamedTuple):
    """A prompt of this step with all its answers."""

    slot: int
    attempt: int
    prompt: Prompt
    order: list[int]
    perturbed_order: list[int]
    answers: list[Answer]
    """G, on ordered frames."""
    perturbed: list[Answer]
    """G~, on the first perturbed view; empty where none were asked for."""
    comparison: Comparison | None
    score: GroupScore


Group = Answered | None
"""None: a process left the prompt out."""
Score = Callable[[int, Prompt, list[Answer], list[Answer], Comparison | None], GroupScore]
"""From a slot, its prompt, G and G~ answers and their comparison."""


def places(indices: Sequence[int], first_row: int, group: int, perturbed: int) -> list[Place]:
    """Places of a process's rows.

    Args:
        indices: prompt of each of its rows.
        first_row: number of the first over all processes.
        group: G.
        perturbed: G~; shared out in proportion to the ordered answers.
    """
    found = []
    numbered = list(enumerate(indices, start=first_row))
    for slot, run in groupby(numbered, key=lambda row: row[0] // group):
        rows = list(run)
        start, end = rows[0][0] % group, rows[-1][0] % group + 1
        parts = range(start * perturbed // group, end * perturbed // group)
        found.append(Place(slot, rows[0][1], range(start, end), parts))
    return found


def outcome(held: Held, perturbed: list[Answer]) -> Outcome:
    """What a process tells the others of a place."""
    views = held.views
    order = views.ordered.order if views else []
    perturbed_order = views.perturbed[0].order if views and views.perturbed else []
    return Outcome(held.place, views is None, order, perturbed_order, held.answers, perturbed, held.comparison)


def assemble(outcomes: Sequence[Outcome], prompts: Sequence[Prompt], score: Score) -> dict[int, Group]:
    """Whole groups by slot, ascending; a prompt that any process lost is lost."""
    found: dict[int, Group] = {}
    ordered = sorted(outcomes, key=lambda outcome: (outcome.place.slot, outcome.place.ordered.start))
    for slot, run in groupby(ordered, key=lambda outcome: outcome.place.slot):
        parts = list(run)
        found[slot] = None if any(part.lost for part in parts) else _join(parts, prompts, score)
    return found


def _join(parts: Sequence[Outcome], prompts: Sequence[Prompt], score: Score) -> Answered:
    head = parts[0]
    answers = [answer for part in parts for answer in part.answers]
    perturbed = [answer for part in parts for answer in part.perturbed]
    comparison = joined([part.comparison for part in parts])
    prompt = prompts[head.place.prompt]
    return Answered(
        head.place.slot,
        head.place.attempt,
        prompt,
        head.order,
        # A process may hold none of the perturbed answers and still know their order.
        next((part.perturbed_order for part in parts if part.perturbed_order), []),
        answers,
        perturbed,
        comparison,
        score(head.place.slot, prompt, answers, perturbed, comparison),
    )


def joined(parts: Sequence[Comparison | None]) -> Comparison | None:
    """Comparisons of a group's parts as one of the group; None where a part was not compared."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    log_probs = [tokens for part in known for tokens in part.log_probs]
    drops = [[tokens for view in views for tokens in view] for views in zip(*(p.drops for p in known), strict=True)]
    return Comparison(log_probs, drops)


def slots_without_signal(groups: dict[int, Group]) -> list[int]:
    """Slots whose prompt was lost or whose answers get no advantage."""
    return [slot for slot, group in groups.items() if group is None or not group.score.has_signal]
