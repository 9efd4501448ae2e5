"""A plan as text."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.core.sizing.speed import MEASURED
from tasks.plan.levers import gib
from tasks.plan.needs import Need
from tasks.plan.plan import Hours, Plan


def lines(plan: Plan) -> Iterator[str]:
    """All sections, what is wrong last."""
    yield f"on {plan.machine.name}{'' if plan.machine.is_here else ' (described, not this machine)'}"
    many = "es" if plan.start.processes > 1 else ""
    where = f" on {plan.start.machines} machines like this" if plan.start.machines > 1 else ""
    yield f"training stages: {plan.start.text}, {plan.start.processes} process{many}{where}"
    yield "\nstages"
    width = max(len(stage.name) for stage in plan.stages)
    for stage in plan.stages:
        yield f"  {stage.name:<{width}}  {stage.state}{f':  {stage.command}' if stage.runs else ''}"
    yield "\nmemory, at the longest clips and completions"
    for need in plan.needs:
        yield f"  {need.stage:<{width}}  {need.where:<4}  {gib(need.size_bytes):>10}  {_sum(need)}"
    for name in plan.unknown:
        yield f"  {name:<{width}}  unknown: no such checkpoint, and none of the released ones by its name"
    yield "\ndisk"
    free = plan.machine.free_bytes
    room = "" if free is None else f", {gib(free)} are free"
    yield f"  {gib(sum(part.size_bytes for part in plan.disk))} will be written{room}"
    for part in plan.disk:
        yield f"    {gib(part.size_bytes):>10}  {part.name}"
    yield "\nhours, by arithmetic"
    for hours in plan.hours:
        yield f"  {hours.stage:<{width}}  {_time(hours):>10}  {hours.why}"
    yield (
        f"  Rates: the share of a card's data sheet that updates reached on one H200 (measured: {MEASURED['3b']:.0f} "
        f"TFLOP/s at 3B, {MEASURED['7b']:.0f} at 7B). Lengths, bandwidth, launch costs: assumed (docs/scaling_7b.md)."
    )
    if plan.start.machines > 1:
        yield "  The network between machines is in no hour; the other stages run on the first machine."
    if plan.missing:
        yield f"\nmissing: {len(plan.missing)}"
        yield from (f"  {missing}" for missing in plan.missing)
    if plan.refusals:
        yield f"\ncannot work: {len(plan.refusals)}"
        yield from (f"  {refusal}" for refusal in plan.refusals)
    if plan.works:
        yield "\nnothing is missing, everything fits"


def _sum(need: Need) -> str:
    return " + ".join(f"{gib(part.size_bytes)} {part.name}" for part in need.parts if part.size_bytes)


def _time(hours: Hours) -> str:
    if hours.hours is None:
        return "unknown"
    if hours.hours < 1 / 60:
        return f"{hours.hours * 3600:.0f} s"
    return f"{hours.hours * 60:.0f} min" if hours.hours < 1 else f"{hours.hours:,.1f} h"
