"""Groups over processes: which completions of a prompt a process samples, and whole groups from all processes' parts.

A step's rows are numbered over all processes; row n is completion n % G of prompt n // G. A process holds a run of
rows:

    G = 4, G~ = 2, two processes       process 0            process 1
    group_ranks: 1, two prompts        0 0 0 0 | s s        1 1 1 1 | s s
    group_ranks: 2, one prompt         0 0 | s              0 0 | s

Every process gets all results and assembles the same groups, so scores and advantages need no further exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from tasks.grpo.data import Prompt, Views
from tasks.grpo.rollout import Completion
from tasks.grpo.scoring import Comparison, GroupScore


class Part(NamedTuple):
    """A process's part of one prompt's group."""

    slot: int
    """Index of the prompt among those of the step, over all processes."""
    prompt: int
    """Index of the prompt."""
    ordered: range
    """Which of the G completions on ordered frames are sampled here."""
    perturbed: range
    """Which of the G~ completions on the first perturbed view."""
    attempt: int = 0
    """0 for the scheduled prompt, n for the n-th in its place."""


class PartResult(NamedTuple):
    """Completions of a part, without pixels: every process gets those of all others."""

    part: Part
    lost: bool
    """The prompt was left out (`open_views`)."""
    order: list[int]
    """Frames of the ordered view."""
    perturbed_order: list[int]
    """Frames of the first perturbed view; empty without one."""
    completions: list[Completion]
    perturbed: list[Completion]
    comparison: Comparison | None
    """Of the ordered completions; None where that was not asked."""


class LocalPart(NamedTuple):
    """A part with the pixels, which stay on the process that opened them."""

    part: Part
    views: Views | None
    """None: the prompt was left out here."""
    completions: list[Completion]
    comparison: Comparison | None = None
    """Log-probabilities of the completions under every view; None where that was not asked."""


class Group(NamedTuple):
    """A prompt of this step with all its completions."""

    slot: int
    attempt: int
    prompt: Prompt
    order: list[int]
    perturbed_order: list[int]
    completions: list[Completion]
    """G, on ordered frames."""
    perturbed: list[Completion]
    """G~, on the first perturbed view; empty where none were asked for."""
    comparison: Comparison | None
    score: GroupScore


Score = Callable[[int, Prompt, list[Completion], list[Completion], Comparison | None], GroupScore]
"""From a slot, its prompt, G and G~ completions and their comparison."""


def own_parts(indices: Sequence[int], first_row: int, group: int, perturbed: int) -> list[Part]:
    """Parts of a process's rows.

    Args:
        indices: prompt of each of its rows.
        first_row: number of the first over all processes.
        group: G.
        perturbed: G~; shared out in proportion to the ordered completions.
    """
    own = []
    numbered = list(enumerate(indices, start=first_row))
    for slot, run in groupby(numbered, key=lambda row: row[0] // group):
        rows = list(run)
        start, end = rows[0][0] % group, rows[-1][0] % group + 1
        parts = range(start * perturbed // group, end * perturbed // group)
        own.append(Part(slot, rows[0][1], range(start, end), parts))
    return own


def result_of(local: LocalPart, perturbed: list[Completion]) -> PartResult:
    """The result of a part as it is sent to the other processes."""
    views = local.views
    order = views.ordered.order if views else []
    perturbed_order = views.perturbed[0].order if views and views.perturbed else []
    return PartResult(local.part, views is None, order, perturbed_order, local.completions, perturbed, local.comparison)


def assemble(results: Sequence[PartResult], prompts: Sequence[Prompt], score: Score) -> dict[int, Group | None]:
    """Whole groups by slot, ascending; a prompt that any process lost is lost."""
    groups: dict[int, Group | None] = {}
    ordered = sorted(results, key=lambda result: (result.part.slot, result.part.ordered.start))
    for slot, run in groupby(ordered, key=lambda result: result.part.slot):
        parts = list(run)
        groups[slot] = None if any(part.lost for part in parts) else _join(parts, prompts, score)
    return groups


def _join(parts: Sequence[PartResult], prompts: Sequence[Prompt], score: Score) -> Group:
    head = parts[0]
    completions = [completion for part in parts for completion in part.completions]
    perturbed = [completion for part in parts for completion in part.perturbed]
    comparison = joined([part.comparison for part in parts])
    prompt = prompts[head.part.prompt]
    return Group(
        head.part.slot,
        head.part.attempt,
        prompt,
        head.order,
        # A process may hold none of the perturbed completions and still know their order.
        next((part.perturbed_order for part in parts if part.perturbed_order), []),
        completions,
        perturbed,
        comparison,
        score(head.part.slot, prompt, completions, perturbed, comparison),
    )


def joined(parts: Sequence[Comparison | None]) -> Comparison | None:
    """Comparisons of a group's parts as one of the group; None where a part was not compared."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    log_probs = [tokens for part in known for tokens in part.log_probs]
    drops = [[tokens for view in views for tokens in view] for views in zip(*(p.drops for p in known), strict=True)]
    return Comparison(log_probs, drops)


def slots_without_signal(groups: Mapping[int, Group | None]) -> list[int]:
    """Slots whose prompt was lost or whose completions get no advantage."""
    return [slot for slot, group in groups.items() if group is None or not group.score.has_signal]
