"""Measurements as rows, as a Markdown table and as the line that sums them up."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from measure.speed.grpo.job import CACHED, Job
from tasks.core.sizing.flops import Load, alone, floor, operations, packed, recomputed
from tasks.core.sizing.shapes import SHAPES

TERA = 1e12
SIDE_PIXELS = 28
"""Pixels of a merged token's side."""
TEMPORAL = 2
"""Frames in a temporal patch."""
WORDS = {"frames": "{} frames", "group": "G {}"}


class Measured(NamedTuple):
    """A job and the numbers of `work.measure`."""

    name: str
    job: Job
    numbers: dict[str, Any]


def loads(job: Job, prompt: int) -> tuple[Load, Load]:
    """What a job's update puts through the model, and what it could not do without.

    Args:
        job: the job.
        prompt: tokens of its prompt.
    """
    frame = (job.side // SIDE_PIXELS) ** 2
    vision = frame * (job.frames if job.path == "trl" else job.frames // TEMPORAL)
    least = packed(prompt, job.answer, job.group, vision, frame)
    if "share_prefix_update" in job.levers:
        batches = -(-job.group // job.micro)
        part = packed(prompt, job.answer, min(job.micro, job.group), 0 if CACHED in job.levers else vision, frame)
        return Load(*(n if name == "frame_tokens" else n * batches for name, n in part._asdict().items())), least
    encoded = -(-job.group // job.micro) if "encode_once" in job.levers else job.group
    # Without Triton TRL's output layer scores every position, the prompt's too.
    return alone(prompt, job.answer, job.group, vision, frame, encoded, all_scored=job.device == "cpu"), least


def update_seconds(item: Measured, clock: str) -> float:
    """Seconds of log-probabilities and backward."""
    part = item.numbers[clock]
    return part["forward"] + part["backward"]


def rows(measured: Sequence[Measured], clock: str) -> list[dict[str, Any]]:
    """One row per measurement, with ratios to the fastest plain one of the same frames and group."""
    table = []
    for item in measured:
        job, part = item.job, item.numbers[clock]
        peers = [other for other in measured if (other.job.frames, other.job.group) == (job.frames, job.group)]
        plain = best(peers, "plain", clock)
        load, least = loads(job, item.numbers["prompt"])
        shape = SHAPES[job.shape]
        again = recomputed(shape, load) if "selective_checkpointing" in job.levers else 0.0
        done, needed = (operations(shape, load) + again) / TERA, floor(shape, least) / TERA
        encode, seconds = part.get("encode", 0.0), update_seconds(item, clock)
        rest = {name: item.numbers["wall"].get(name) for name in ("decode", "rollout", "optimizer")}
        table.append(
            {
                "path": item.name,
                "shape": job.shape,
                "frames": job.frames,
                "video tokens": least.vision_tokens,
                "G": job.group,
                "micro-batch": job.micro,
                "decode s": rest["decode"],
                "rollout s": rest["rollout"],
                "encode s": encode,
                "log-prob s": part["forward"] - encode,
                "backward s": part["backward"],
                "optimizer s": rest["optimizer"],
                "update s": seconds,
                "LM tokens": load.tokens,
                "TFLOP": done,
                "of floor": done / needed,
                "TFLOP/s": done / seconds,
                "peak MiB": item.numbers["peak_mb"],
                "faster": update_seconds(plain, clock) / seconds,
                "memory": item.numbers["peak_mb"] / plain.numbers["peak_mb"],
            }
        )
    return table


def best(measured: Sequence[Measured], name: str, clock: str) -> Measured:
    """The fastest measurement of a path, over its micro-batch sizes."""
    return min((item for item in measured if item.name == name), key=lambda item: update_seconds(item, clock))


def verdict(measured: Sequence[Measured], clock: str) -> str:
    """`policy update: N.Nx plain, N.Nx TRL, peak memory N.NNx plain`: all levers against the others' best.

    TRL is left out where it was not measured. Of several frame counts and groups the last one speaks.
    """
    last = (measured[-1].job.frames, measured[-1].job.group)
    peers = [item for item in measured if (item.job.frames, item.job.group) == last]
    ours, plain = (best(peers, name, clock) for name in ("all levers", "plain"))
    others = [name for name in ("plain", "TRL") if any(item.name == name for item in peers)]
    seconds = update_seconds(ours, clock)
    faster = ", ".join(f"{update_seconds(best(peers, name, clock), clock) / seconds:.1f}x {name}" for name in others)
    memory = ours.numbers["peak_mb"] / plain.numbers["peak_mb"]
    return f"policy update: {faster}, peak memory {memory:.2f}x plain"


def cost_curves(measured: Sequence[Measured], clock: str) -> str:
    """How an update grows: Markdown tables over G at each frame count and over frames at each G, where they vary.

    Each ends with what the last row costs in the first; of plain the fastest micro-batch counts.
    """
    curves = []
    for fixed, moving in (("frames", "group"), ("group", "frames")):
        for value in sorted({getattr(item.job, fixed) for item in measured}):
            peers = [item for item in measured if getattr(item.job, fixed) == value]
            if len({getattr(item.job, moving) for item in peers}) > 1:
                curves.append(f"At {WORDS[fixed].format(value)}:\n\n{markdown(_curve(peers, moving, clock))}\n")
    return "## Cost curve\n\n" + "".join(curves) if curves else ""


def _curve(measured: Sequence[Measured], moving: str, clock: str) -> list[dict[str, Any]]:
    """Seconds of plain and of all levers at every value of `moving`, and their growth."""
    table = []
    for value in sorted({getattr(item.job, moving) for item in measured}):
        peers = [item for item in measured if getattr(item.job, moving) == value]
        plain, ours = (update_seconds(best(peers, name, clock), clock) for name in ("plain", "all levers"))
        row = {"plain s": plain, "all levers s": ours, "faster": plain / ours}
        table.append({"G" if moving == "group" else moving: value, **row})
    first, last = list(table[0].values()), list(table[-1].values())
    growth = [f"{b / a:.1f}x" for a, b in zip(first[:-1], last[:-1], strict=True)]
    return [*table, dict(zip(table[0], [*growth, ""], strict=True))]


def step_rows(times: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per path: mean seconds of a step on either clock, mean tokens of an answer."""
    return [
        {"path": name, "wall s": mean(each["wall"]), "processor s": mean(each["processor"]), "tokens": each["length"]}
        for name, each in times.items()
    ]


def step_verdict(times: Mapping[str, Mapping[str, Any]], clock: str) -> str:
    """`grpo step: N.Nx plain`."""
    return f"grpo step: {mean(times['plain'][clock]) / mean(times['all levers'][clock]):.1f}x plain"


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """Markdown table; numbers right-aligned, three figures."""
    names = list(table[0])
    lines = [
        "| " + " | ".join(names) + " |",
        "|" + "".join(" --- |" if n in ("path", "shape") else " ---: |" for n in names),
    ]
    lines += ["| " + " | ".join(_shown(row[name]) for name in names) + " |" for row in table]
    return "\n".join(lines) + "\n"


def comma_separated(table: Sequence[dict[str, Any]]) -> str:
    """The same as CSV, unrounded."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
