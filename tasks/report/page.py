"""What the page says: one context of plain values for the template, and the same tables for the markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.core.schemas.records import truth_of
from tasks.report.controls import GROUPS, Control, all_controls
from tasks.report.curves import Chart, charts, read_curve, readable, split_constant
from tasks.report.data import data_missing, data_tables
from tasks.report.examples import Answer, Row, answer_of_row, by_question, choose, choose_shuffled
from tasks.report.findings import findings
from tasks.report.inputs import Inputs
from tasks.report.lineage import lineage_table
from tasks.report.strips import Frame
from tasks.report.suites import frame_charts, suite_tables
from tasks.report.summary import Estimate, Summary, in_order
from tasks.report.svg import DotRow, Mark, dot_chart
from tasks.report.tables import (
    VIEW_NAMES,
    Table,
    controls_table,
    estimate_of,
    group_table,
    main_table,
    metrics_table,
    number,
    percent,
)

TITLE = "Video-R1 pipeline: benchmark report"
TRAINED = ("sft", "grpo", "world")
"""Stages with a training curve, in the order they are shown."""
CONTENTS = [
    ("results", "Results"),
    ("controls", "Controls"),
    ("kinds", "By kind"),
    ("public", "Public benchmarks"),
    ("training", "Training"),
    ("examples", "Examples"),
    ("data", "Data"),
    ("provenance", "Provenance"),
]
MARKS = {"right": "✓ right", "partly": "◐", "wrong": "✗ wrong", "error": "– error"}
VIEW_MARKS = {
    "ordered": Mark(0, colour=0),
    "shuffled": Mark(0, colour=1, shape="ring"),
    "no_video": Mark(0, colour=2, shape="cross"),
}


class Plan(NamedTuple):
    """Which test records are shown, before any clip is opened."""

    shown: list[Row]
    shuffled: Row | None
    """A record for the ordered/shuffled comparison, and the model whose answers it shows."""
    shuffled_model: str


class Pictures(NamedTuple):
    """Frames of one record's clip, or why there are none."""

    frames: list[Frame]
    shuffled: list[Frame]
    """The same clip as a model gets it in the shuffled view; empty unless asked for."""
    total: int
    """Frames a model gets; the strip may show fewer."""
    missing: str = ""


class Option(NamedTuple):
    """One lettered option as shown."""

    text: str
    gold: bool


def plan(inputs: Inputs, models: Sequence[str], count: int) -> Plan:
    """Choose examples: `count` questions for all models, and one shuffled clip for the last model that has one."""
    if not count:
        return Plan([], None, "")
    answered = {model: by_question(inputs.logs.get(model, []), "ordered") for model in models}
    for model in reversed(models):
        log = inputs.logs.get(model, [])
        if (found := choose_shuffled(inputs.test, answered[model], by_question(log, "shuffled"))) is not None:
            return Plan(choose(inputs.test, answered, count), found, model)
    return Plan(choose(inputs.test, answered, count), None, "")


def context(inputs: Inputs, models: Sequence[str], chosen: Plan, pictures: Mapping[int, Pictures]) -> dict[str, Any]:
    """Everything the template prints.

    Args:
        inputs: What the stages left.
        models: Model names in the order of the tables.
        chosen: Records to show.
        pictures: Problem id -> frames, for every record of `chosen`.
    """
    summaries, controls = inputs.summaries, all_controls(inputs.logs, models)
    return {
        "title": TITLE,
        "subtitle": subtitle(inputs),
        "contents": CONTENTS,
        "marks": MARKS,
        "findings": findings(inputs, controls, models),
        "tables": benchmark_tables(inputs, controls, models),
        "result_charts": result_charts(summaries, models),
        "control_charts": control_charts(controls),
        "training": [_training(stage, inputs.curves.get(stage)) for stage in TRAINED],
        "examples": [_example(record, inputs, models, pictures) for record in chosen.shown],
        "shuffled": _shuffled(chosen, inputs, pictures),
        "public_tables": suite_tables(inputs.suites, models),
        "public_charts": frame_charts(inputs.suites, models),
        "data_tables": data_tables(inputs),
        "data_missing": data_missing(inputs),
        "commit": inputs.commit,
        "params_text": inputs.params_text,
    }


def subtitle(inputs: Inputs) -> str:
    """One line: how many questions, models and which code."""
    questions = f", {len(inputs.test)} test questions" if inputs.test else ""
    return f"{len(inputs.summaries)} models{questions}; code: {inputs.commit}"


def benchmark_tables(inputs: Inputs, controls: Sequence[Control], models: Sequence[str]) -> dict[str, Table]:
    """Tables with a fixed place on the page."""
    groups = inputs.summaries
    return {
        "main": main_table(groups, models),
        "controls": controls_table(controls),
        "types": group_table("By problem type", "problem type", groups, models, lambda view: view.by_type),
        "skills": group_table("By skill", "skill", groups, models, lambda view: view.by_skill),
        "lineage": lineage_table(inputs.lock),
        "metrics": metrics_table(inputs.metrics),
    }


def result_charts(summaries: Sequence[Summary], models: Sequence[str]) -> list[Chart]:
    """Accuracy with intervals, one drawing per group of questions."""
    made = []
    for group in ("overall", "temporal", "static"):
        rows = [
            DotRow(s.model, [_mark(e, 0)], percent(e.accuracy))
            for s in in_order(summaries, models)
            if (e := estimate_of(s, group)).n
        ]
        if rows:
            made.append(Chart(group, dot_chart(f"accuracy, {group} questions", rows)))
    return made


def control_charts(controls: Sequence[Control]) -> list[Chart]:
    """Ordered, shuffled and no video on one line per model; temporal and static apart."""
    legend = [(VIEW_NAMES[view], mark) for view, mark in VIEW_MARKS.items()]
    made = []
    for group in GROUPS:
        rows = [
            DotRow(
                c.model,
                [mark._replace(value=c.accuracy[view]) for view, mark in VIEW_MARKS.items() if view in c.accuracy],
            )
            for c in controls
            if c.group == group
        ]
        if rows:
            made.append(Chart(f"{group} questions", dot_chart(f"controls, {group} questions", rows, legend)))
    return made


def _mark(estimate: Estimate, colour: int) -> Mark:
    return Mark(estimate.accuracy, estimate.low, estimate.high, colour)


def _training(stage: str, text: str | None) -> dict[str, Any]:
    """Charts of one stage's curve, or why there are none."""
    if text is None:
        return {"stage": stage, "missing": "not run"}
    curve = read_curve(text)
    flat, moving = split_constant(curve)
    phases = ", ".join(phase.name for phase in curve.phases) if len(curve.phases) > 1 else ""
    return {
        "stage": stage,
        "missing": "" if curve.columns else "its curve holds no number",
        "charts": charts(stage, moving),
        "phases": phases,
        "constants": ", ".join(f"{readable(name)} {number(value)}" for name, value in flat.items()),
    }


def _example(record: Row, inputs: Inputs, models: Sequence[str], pictures: Mapping[int, Pictures]) -> dict[str, Any]:
    rows = {model: by_question(inputs.logs.get(model, []), "ordered").get(record["problem_id"]) for model in models}
    return _question(record, pictures) | {
        "answers": [answer_of_row(model, row) for model, row in rows.items() if row is not None]
    }


def _shuffled(chosen: Plan, inputs: Inputs, pictures: Mapping[int, Pictures]) -> dict[str, Any] | None:
    if chosen.shuffled is None:
        return None
    log, key = inputs.logs[chosen.shuffled_model], chosen.shuffled["problem_id"]
    answers: list[Answer] = []
    for view, name in VIEW_NAMES.items():
        if (row := by_question(log, view).get(key)) is not None:
            answers.append(answer_of_row(f"{chosen.shuffled_model}, {name}", row))
    return _question(chosen.shuffled, pictures) | {
        "answers": answers,
        "shuffled_frames": pictures[key].shuffled,
    }


def _question(record: Row, pictures: Mapping[int, Pictures]) -> dict[str, Any]:
    """What is shown of the question itself."""
    gold, found = truth_of(record["solution"]), pictures[record["problem_id"]]
    options = [Option(text, text.strip() == gold or text.startswith(f"{gold}.")) for text in record["options"]]
    time = "temporal" if record["temporal"] else "static" if record["temporal"] is False else ""
    about = [f"question {record['problem_id']}", record["data_type"], record["problem_type"], record.get("skill"), time]
    if len(found.frames) < found.total:
        about.append(f"{len(found.frames)} of {found.total} frames")
    return {
        "about": " · ".join(part for part in about if part),
        "problem": record["problem"],
        "options": options,
        "gold": gold,
        "gold_shown": any(option.gold for option in options),
        "frames": found.frames,
        "missing": found.missing,
    }
