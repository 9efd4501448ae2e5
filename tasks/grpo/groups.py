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
from tasks.grpo.scoring import GroupScore


class Place(NamedTuple):
    """A process's part of one prompt's group."""

    slot: int
    """Place of the prompt among those of the step, over all processes."""
    prompt: int
    """Index of the prompt."""
    ordered: range
    """Which of the G answers on ordered frames are sampled here."""
    shuffled: range
    """Which of the G~ answers on shuffled frames."""
    attempt: int = 0
    """0 for the scheduled prompt, n for the n-th in its place."""


class Outcome(NamedTuple):
    """What came of a place; travels between processes, so it holds no pixels."""

    place: Place
    lost: bool
    """The prompt was left out (`open_views`)."""
    order: list[int]
    """Frames of the ordered view."""
    shuffled_order: list[int]
    """Frames of the shuffled view; empty without one."""
    answers: list[Answer]
    shuffled: list[Answer]
    drops: list[float] | None
    """Nats each ordered answer loses under shuffled frames; None where that was not asked."""


class Held(NamedTuple):
    """A place with what stays on its process."""

    place: Place
    views: Views | None
    """None: the prompt was left out here."""
    answers: list[Answer]
    drops: list[list[float]] | None = None
    """Nats that each token of each answer loses under shuffled frames; None where that was not asked."""


class Answered(NamedTuple):
    """A prompt of this step with all its answers."""

    slot: int
    attempt: int
    prompt: Prompt
    order: list[int]
    shuffled_order: list[int]
    answers: list[Answer]
    """G, on ordered frames."""
    shuffled: list[Answer]
    """G~, on shuffled frames; empty without contrast."""
    drops: list[float] | None
    score: GroupScore


Group = Answered | None
"""None: a process left the prompt out."""
Score = Callable[[Prompt, list[Answer], list[Answer], list[float] | None], GroupScore]


def places(indices: Sequence[int], first_row: int, group: int, shuffled: int) -> list[Place]:
    """Places of a process's rows.

    Args:
        indices: prompt of each of its rows.
        first_row: number of the first over all processes.
        group: G.
        shuffled: G~; shared out in proportion to the ordered answers.
    """
    found = []
    numbered = list(enumerate(indices, start=first_row))
    for slot, run in groupby(numbered, key=lambda row: row[0] // group):
        rows = list(run)
        start, end = rows[0][0] % group, rows[-1][0] % group + 1
        parts = range(start * shuffled // group, end * shuffled // group)
        found.append(Place(slot, rows[0][1], range(start, end), parts))
    return found


def outcome(held: Held, shuffled: list[Answer]) -> Outcome:
    """What a process tells the others of a place."""
    views = held.views
    drops = None if held.drops is None else [sum(tokens) for tokens in held.drops]
    order = views.ordered.order if views else []
    shuffled_order = views.shuffled.order if views and views.shuffled else []
    return Outcome(held.place, views is None, order, shuffled_order, held.answers, shuffled, drops)


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
    shuffled = [answer for part in parts for answer in part.shuffled]
    drops = None if head.drops is None else [drop for part in parts for drop in part.drops or []]
    prompt = prompts[head.place.prompt]
    return Answered(
        head.place.slot,
        head.place.attempt,
        prompt,
        head.order,
        # A process may hold none of the shuffled answers and still know their order.
        next((part.shuffled_order for part in parts if part.shuffled_order), []),
        answers,
        shuffled,
        drops,
        score(prompt, answers, shuffled, drops),
    )


def barren(groups: dict[int, Group]) -> list[int]:
    """Slots whose prompt was lost or whose answers get no advantage."""
    return [slot for slot, group in groups.items() if group is None or not group.score.teaches]
