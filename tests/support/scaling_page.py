"""Tables of docs/scaling.md and docs/scaling_7b.md from profiles and plan: `python -m tests.support.scaling_page`."""

import re
from pathlib import Path
from typing import NamedTuple

import yaml

from tasks import params, profile
from tasks.core.io.atomic import write_text
from tasks.core.io.documents import read_yaml
from tasks.plan.graph import GRAPH
from tasks.plan.levers import gib
from tasks.plan.machine import described
from tasks.plan.plan import Plan, make_plan
from tests.support.graph import ROOT

README = ROOT / "README.md"
FSDP = "accelerate:profiles/accelerate/fsdp_{}gpu.yaml"


class Run(NamedTuple):
    """A profile on a machine."""

    profile: str
    gpus: str
    launch: str


RUNS = [
    Run("video_r1_7b", "4xh100", FSDP.format(4)),
    Run("video_r1_7b_8gpu", "8xh100", FSDP.format(8)),
    Run("video_r1_7b_64f", "4xh100", FSDP.format(4)),
    Run("video_r1_7b_ours", "4xh100", FSDP.format(4)),
    Run("video_r1_7b_lora", "1xh100", "python"),
    Run("video_r1_7b_lora", "1xl40s", "python"),
    Run("video_r1_3b", "1xrtx4090", "python"),
    Run("video_r1_qwen3vl_8b", "4xh100", FSDP.format(4)),
]


PLACES = [
    Run("video_r1_3b", "1xrtx4090", "python"),
    Run("video_r1_7b_lora", "1xl40s", "python"),
    Run("video_r1_7b_lora", "1xh100", "python"),
    Run("video_r1_7b", "4xh100", FSDP.format(4)),
    Run("video_r1_7b_ours", "4xh100", FSDP.format(4)),
    Run("video_r1_7b_8gpu", "8xh100", FSDP.format(8)),
]
"""The smallest machine of each kind to the largest, for docs/scaling.md."""


def plan_of(run: Run) -> Plan:
    """Its plan."""
    values = yaml.safe_load(profile.text_of(run.profile, ROOT / "profiles"))
    config = params.Params.model_validate(values)
    return make_plan(
        config, values, read_yaml(ROOT / GRAPH), {}, machine=described(run.gpus, None, None), launch=run.launch
    )


def tables() -> dict[Path, dict[str, str]]:
    """Page -> marked name -> table."""
    plans = {run: plan_of(run) for run in RUNS}
    return {
        ROOT / "docs/scaling_7b.md": {"memory": memory(plans), "sums": sums(plans), "hours": hours(plans)},
        ROOT / "docs/scaling.md": {"machines": machines({run: plan_of(run) for run in PLACES})},
    }


def machines(plans: dict[Run, Plan]) -> str:
    """What runs where: the mini run as README tells it, then a profile on each kind of machine."""
    [minutes] = re.findall(r"^\| `make run` \|.*\| ((?:\d+ to )?\d+ minutes) \|$", README.read_text(), re.M)
    lines = [
        "| machine | profile | launched with | largest need of a GPU | main memory | SFT and GRPO | whole run |",
        "|---|---|---|--:|--:|--:|--:|",
        f"| 2 processor cores | `mini` | `python` |  |  |  | **{minutes}** |",
    ]
    for run, plan in plans.items():
        training = [need for need in plan.needs if need.stage in ("sft", "grpo")]
        gpu = max(need.size_bytes for need in training if need.where == "GPU")
        host = max(need.size_bytes for need in training if need.where == "host")
        trained = sum(each.hours or 0.0 for each in plan.hours if each.stage in ("sft", "grpo"))
        whole = sum(each.hours or 0.0 for each in plan.hours)
        cells = [f"{plan.machine.gpus} x {plan.machine.card.name}", f"`{run.profile}`", f"`{run.launch}`"]
        cells += [f"{gib(gpu)} of {plan.machine.card.gib:g}", gib(host), f"{trained:.1f} h", f"{whole:.0f} h"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "| 8 machines of 8 GPUs | none |  | no figure |  |  |  |"])


def memory(plans: dict[Run, Plan]) -> str:
    """Memory and disk."""
    lines = [
        "| profile | machine | SFT, a GPU | GRPO, a GPU | of | main memory | disk | fits |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for run, plan in plans.items():
        need = {(need.stage, need.where): gib(need.size_bytes) for need in plan.needs}
        host = max((need.size_bytes for need in plan.needs if need.where == "host"), default=0.0)
        disk = gib(sum(part.size_bytes for part in plan.disk))
        card = f"{plan.machine.card.gib:g} GiB"
        fits = "no" if plan.refusals else "yes"
        cells = [f"`{run.profile}`", f"{plan.machine.gpus} x {plan.machine.card.name}", need.get(("sft", "GPU"), "")]
        lines.append(f"| {' | '.join([*cells, need['grpo', 'GPU'], card, gib(host), disk, fits])} |")
    return "\n".join(lines)


def sums(plans: dict[Run, Plan]) -> str:
    """What GRPO's number is made of."""
    lines = ["| profile | GRPO on a GPU |", "|---|---|"]
    seen = set()
    for run, plan in plans.items():
        [need] = [need for need in plan.needs if (need.stage, need.where) == ("grpo", "GPU")]
        if run.profile not in seen:
            parts = " + ".join(f"{gib(part.size_bytes).removesuffix(' GiB')} {part.name}" for part in need.parts)
            lines.append(f"| `{run.profile}` | {parts} |")
        seen.add(run.profile)
    return "\n".join(lines)


def hours(plans: dict[Run, Plan]) -> str:
    """Hours by stage."""
    lines = [
        "| profile | machine | annotate | SFT | GRPO | a step of GRPO | benchmark, each 7B model |",
        "|---|---|--:|--:|--:|---|--:|",
    ]
    for run, plan in plans.items():
        told = {each.stage: f"{each.hours:.1f}" for each in plan.hours if each.hours is not None}
        step = next(each.why for each in plan.hours if each.stage == "grpo").partition(" steps of ")[2]
        cells = [f"`{run.profile}`", f"{plan.machine.gpus} x {plan.machine.card.name}", told.get("annotate", "")]
        cells += [told.get("sft", ""), told["grpo"], step, told["benchmark@grpo"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_tables(text: str, made: dict[str, str]) -> str:
    """A page with its tables made anew."""
    for name, table in made.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        assert text.count(start) == text.count(end) == 1, name
        text = text.partition(start)[0] + f"{start}\n{table}\n{end}" + text.partition(end)[2]
    return text


if __name__ == "__main__":
    for page, made in tables().items():
        write_text(page, with_tables(page.read_text(), made))
