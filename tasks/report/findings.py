"""The result in a few sentences, made of the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.report.controls import Control, Loss, gain
from tasks.report.inputs import Inputs
from tasks.report.summary import in_order
from tasks.report.tables import percent, points


def findings(inputs: Inputs, controls: Sequence[Control], models: Sequence[str]) -> list[str]:
    """The result in a few sentences: the last model that was run, against the others and against its own controls."""
    found = {s.model: s.views["ordered"] for s in in_order(inputs.summaries, models) if "ordered" in s.views}
    if not found:
        return ["No model was run on ordered frames."]
    *others, last = found
    view = found[last]
    against = "".join(f"; {model} {percent(found[model].overall.accuracy)}" for model in others)
    said = [
        f"{last} answers {percent(view.overall.accuracy)} of {view.overall.n} questions right"
        f"{_within(view.overall.low, view.overall.high)}{against}."
    ]
    if others and (gained := gain(inputs.logs.get(last, []), inputs.logs.get(others[-1], []), True)) is not None:
        n, loss = gained
        word = "better" if loss.value >= 0 else "worse"
        said.append(
            f"On {n} temporal questions {last} is {points(abs(loss.value)).removeprefix('+')} points {word} than "
            f"{others[-1]}{_signed_interval(loss)}."
        )
    for control, phrase in (("shuffled", "Shuffling the frames"), ("no_video", "Leaving the video out")):
        losses = [
            f"{_in_words(c.loss[control]).removeprefix('+')} on {c.group} questions"
            for c in controls
            if c.model == last and control in c.loss
        ]
        if losses:
            said.append(f"{phrase} costs {last} {' and '.join(losses)}.")
    if math.isfinite(view.well_formed):
        said.append(f"{percent(view.well_formed)} of its answers are well formed.")
    return said


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95% interval {100 * low:.1f} to {100 * high:.1f})"


def _in_words(loss: Loss) -> str:
    return f"{points(loss.value)} points{_signed_interval(loss)}"


def _signed_interval(loss: Loss) -> str:
    return "" if loss.low is None or loss.high is None else f" ({points(loss.low)} to {points(loss.high)})"
