"""The result in a few sentences, made of the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.stats import Estimate, Paired
from tasks.report.inputs import Inputs
from tasks.report.numbers import gain, in_order, split_controls, split_entry
from tasks.report.tables import percent, points


def findings(inputs: Inputs, models: Sequence[str]) -> list[str]:
    """The result in a few sentences: the last model that was run, against the others and against its own controls."""
    cap = inputs.cap
    entries = {
        model: entry
        for model, numbers in in_order(inputs.numbers, models).items()
        if (entry := split_entry(numbers, cap)) is not None
    }
    if not entries:
        return ["No model was run on ordered frames."]
    *others, last = entries
    entry = entries[last]
    against = "".join(f"; {model} {percent(entries[model].overall.value)}" for model in others)
    sentences = [
        f"{last} answers {percent(entry.overall.value)} of {entry.overall.n} questions right"
        f"{_within(entry.overall)}{against}."
    ]
    if others and (gained := gain(inputs.logs.get(last, []), inputs.logs.get(others[-1], []), cap)) is not None:
        word = "better" if gained.difference >= 0 else "worse"
        sentences.append(
            f"On {gained.n} temporal questions {last} is {points(abs(gained.difference)).removeprefix('+')} points "
            f"{word} than {others[-1]}{_signed_interval(gained)}."
        )
    for view, phrase in (("shuffled", "Shuffling the frames"), ("no_video", "Leaving the video out")):
        losses = [
            f"{_in_words(control.lost[view]).removeprefix('+')} on {control.group} questions"
            for control in split_controls(inputs.numbers[last], cap)
            if view in control.lost
        ]
        if losses:
            sentences.append(f"{phrase} costs {last} {' and '.join(losses)}.")
    if entry.well_formed is not None:
        sentences.append(f"{percent(entry.well_formed)} of its answers are well formed.")
    return sentences


def _within(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" (95% interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _in_words(lost: Paired) -> str:
    return f"{points(lost.difference)} points{_signed_interval(lost)}"


def _signed_interval(paired: Paired) -> str:
    return "" if paired.low is None or paired.high is None else f" ({points(paired.low)} to {points(paired.high)})"
