"""The whole plan: pure of files but those that it looks at, so that a page of docs and a test make it alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks import paths
from tasks.core.models.load import is_endpoint
from tasks.core.sizing.memory import Part
from tasks.core.sizing.shapes import Model, model_in
from tasks.machines import Rendezvous
from tasks.params import Params
from tasks.plan import refuse
from tasks.plan.files import ROWS, Counted, Missing, media_count, missing_all, split_rows
from tasks.plan.graph import Stage, stages
from tasks.plan.hours import generation_hours, grpo_hours, grpo_step, ingest_hours, sft_hours
from tasks.plan.machine import Launched, Machine, launched
from tasks.plan.needs import Need, disk_parts, engine_need, grpo_need, host_need, sft_need

KEPT_SHARE = 0.63
"""Share of a teacher's completions that the filter kept in the published run (165,575 of 263,071)."""


class Hours(NamedTuple):
    """A stage's time."""

    stage: str
    hours: float | None
    """None: cannot be told."""
    why: str


class Plan(NamedTuple):
    """What a run will do, need and take."""

    machine: Machine
    start: Launched
    stages: list[Stage]
    missing: list[Missing]
    needs: list[Need]
    disk: list[Part]
    hours: list[Hours]
    refusals: list[str]
    unknown: list[str]
    """Models whose size cannot be told."""

    @property
    def works(self) -> bool:
        """Whether the run can begin."""
        return not self.missing and not self.refusals


def make_plan(
    params: Params,
    values: Mapping[str, Any],
    graph: Mapping[str, Any],
    lock: Mapping[str, Any],
    *,
    machine: Machine,
    launch: str,
    meeting: Rendezvous | None = None,
) -> Plan:
    """A plan.

    Args:
        params: params.yaml.
        values: the same as it is written.
        graph: dvc.yaml.
        lock: dvc.lock; empty where nothing has run.
        machine: where it is to run.
        launch: VIDEO_R1_LAUNCH.
        meeting: by VIDEO_R1_MACHINE.

    Raises:
        LaunchError: a launcher that cannot be right, or a configuration of it that cannot be read.
    """
    start = launched(launch, machine, meeting)
    models = models_of(params)
    known = {stage: model for stage, model in models.items() if model is not None}
    rows = {split: split_rows(params, split) for split in ("train", "rl", "test")}
    clips = media_count(params)
    needs, refusals = _memory(known, params, start, machine)
    disk = list(disk_parts(params, known, start, clips))
    refusals = [
        *refuse.refusal_of_endpoint(params),
        *refuse.refusals_of_launch(start, machine),
        *refuse.refusals_of_settings(params, start, machine),
        *refusals,
        *refuse.refusals_of_disk(sum(part.size_bytes for part in disk), machine, params),
    ]
    return Plan(
        machine=machine,
        start=start,
        stages=list(stages(graph, lock, values, params.start, launch, meeting)),
        missing=missing_all(params),
        needs=needs,
        disk=disk,
        hours=list(hours_of(known, params, rows, clips, start, machine)),
        refusals=refusals,
        unknown=[stage for stage, model in models.items() if model is None],
    )


def models_of(params: Params) -> dict[str, Model | None]:
    """Stage -> its model; None: neither there nor a released one. Endpoints have none."""
    policy = params.policy()
    made = {str(paths.SFT_MODEL): policy, str(paths.GRPO_MODEL): policy}
    folders = {f"benchmark@{name}": made.get(path := params.models[name], path) for name in params.benchmarked()}
    if params.start.at != "sft":
        folders["sft"] = params.base()
    if params.start.at == "teacher" and "teacher" in params.models:
        folders["annotate"] = params.teacher()
    folders["grpo"] = policy
    return {stage: model_in(Path(path)) for stage, path in folders.items() if not is_endpoint(path)}


def _memory(
    models: Mapping[str, Model], params: Params, start: Launched, machine: Machine
) -> tuple[list[Need], list[str]]:
    """Sums by stage, and those that are too large."""
    needs: list[Need] = []
    refusals: list[str] = []
    for stage, need_of in (("sft", sft_need), ("grpo", grpo_need)):
        if stage not in models:
            continue
        need = need_of(models[stage], params, start, machine)
        needs.append(need)
        refusals += refuse.refusals_of_training(need, models[stage], params, start, machine)
        if machine.gpus:
            needs.append(host_need(stage, models[stage], params, start))
            refusals += refuse.refusals_of_host(needs[-1], machine)
    if "grpo" in models:
        refusals += refuse.refusal_of_rollout_engine(models["grpo"], params, machine)
        refusals += refuse.refusals_of_lengths(models["grpo"], params)
    for stage, model in models.items():
        if stage in ("sft", "grpo"):
            continue
        need = engine_need(stage, model, params, machine)
        needs.append(need)
        refusals += refuse.refusals_of_engine(need, model, params, machine)
    return needs, refusals


def hours_of(
    models: Mapping[str, Model],
    params: Params,
    rows: Mapping[str, Counted],
    media: int | None,
    start: Launched,
    machine: Machine,
) -> Iterator[Hours]:
    """Hours by stage, in the order they run."""
    train = rows["train"]
    yield _hours("ingest", media, lambda count: ingest_hours(count, params), f"at most {_rows(media)} media")
    if machine.card.tflops is None:
        yield Hours("everything else", None, f"rate of {machine.card.name} unknown")
        return
    if "annotate" in models:
        asked = None if train.rows is None else train.rows * params.annotate.samples
        tokens = params.annotate.sampling.max_tokens
        yield _hours(
            "annotate",
            asked,
            lambda count: generation_hours(models["annotate"], params, machine, requests=count, max_tokens=tokens),
            f"{_rows(asked)} completions",
        )
    if "sft" in models:
        share = KEPT_SHARE if params.start.at == "teacher" else 1.0
        kept = None if train.rows is None else int(train.rows * share)
        why = f"{_rows(kept)} rows" + (f", {share:.0%} kept as in the published run" if share < 1 else "")
        yield _hours("sft", kept, lambda count: sft_hours(models["sft"], params, count, start, machine), why)
    if "grpo" in models:
        step = grpo_step(models["grpo"], params, start, machine)
        parts = (
            f"{step.seconds:.1f} s: rollout {step.rollout:.1f}, scoring {step.scoring:.1f}, update {step.update:.1f}"
        )
        parts += f", new weights {step.sync:.1f}" if step.sync else ""
        total_hours = grpo_hours(models["grpo"], params, start, machine)
        yield Hours("grpo", total_hours, f"{params.grpo.steps} steps of {parts}")
    for stage, model in models.items():
        if stage.startswith("benchmark@"):
            yield _benchmark(stage, model, params, rows["test"], machine)


def _benchmark(stage: str, model: Model, params: Params, test: Counted, machine: Machine) -> Hours:
    """The test split and the suites, each on every view and at every frame cap, suites by both protocols."""
    section, views = params.benchmark, len(params.benchmark.views)
    tokens = section.sampling.max_tokens
    asked = test.rows if section.rows is None or test.rows is None else min(section.rows, test.rows)
    if asked is None:
        return Hours(stage, None, "rows of the test split unknown")
    hours, requests = 0.0, 0
    for frames in section.test_frames or [params.video.frames]:
        requests += asked * views
        hours += generation_hours(model, params, machine, requests=asked * views, max_tokens=tokens, frames=frames)
    for suite in section.suites:
        size = min(ROWS[suite.name], suite.limit or ROWS[suite.name]) * len(suite.protocols) * views
        for frames in section.frames:
            requests += size
            hours += generation_hours(
                model,
                params,
                machine,
                requests=size,
                max_tokens=tokens,
                frames=frames,
                max_pixels=section.max_pixels,
            )
    return Hours(stage, hours, f"{_rows(requests)} completions")


def _hours(stage: str, count: int | None, hours: Any, why: str) -> Hours:
    return Hours(stage, None if count is None else hours(count), why)


def _rows(count: int | None) -> str:
    return "an unknown number of" if count is None else f"{count:,}"
