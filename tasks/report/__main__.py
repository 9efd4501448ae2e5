"""Build the report, or a part of it: `python -m tasks.report [show|data]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks import params, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.documents import read_json, read_yaml
from tasks.core.io.errors import StageError
from tasks.core.lineage import as_json, chain, stage_report
from tasks.report import page
from tasks.report.audits import Audits
from tasks.report.cards import cards_of
from tasks.report.data_card import data_card
from tasks.report.data_page import page_context, read_dataset, read_shown
from tasks.report.examples import Plan, plan
from tasks.report.inputs import commit, read_inputs
from tasks.report.numbers import headline, main_cap, read_numbers
from tasks.report.pictures import Pictures, open_pictures
from tasks.report.render import html_page, markdown, terminal
from tasks.report.tables import main_table

DATA_STRIPS = 3
"""Rows of each source that the data page shows."""


def main() -> None:
    """Build the report, or only show it; both print the benchmark tables and the paths of the report."""
    arguments = parse_arguments()
    config = params.load()
    if arguments.command == "data":
        build_data(config)
        return
    models = list(config.models)
    if arguments.command is None:
        build(config)
    elif not paths.REPORT_PAGE.exists():
        raise StageError(f"{paths.REPORT_PAGE}: no report yet; run `dvc repro report` first")
    numbers = read_numbers(paths.REPORTS / "benchmark")
    cap = main_cap(numbers, config.video.frames)
    controls = page.split_controls_table(page.model_controls(numbers, models, cap))
    print(terminal(main_table(numbers, models, cap), controls))
    print(f"\nreport: {paths.REPORT_PAGE}\ntables: {paths.REPORT_TABLES}")


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m tasks.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("show", help="print the main tables of the report that was built")
    commands.add_parser("data", help="build the data page and the data card alone, which need no more than ingest")
    return parser.parse_args()


def build(config: params.Params) -> None:
    """Read every input, decode the clips that are shown, write page, tables, headline numbers and cards."""
    if paths.metrics("ingest").exists():
        build_data(config)
    models = list(config.models)
    inputs = read_inputs(models, config.video.frames, config.world.name)
    chosen = plan(inputs, models, config.report.examples)
    context = page.context(inputs, models, chosen, pictures_of(chosen, config), strips_of(inputs.audits, config))
    tables = context["tables"]
    sections = {
        "Results": [tables["main"], tables["types"], tables["skills"]],
        "Controls": [tables["controls"]],
        "Public benchmarks": context["public_tables"] or ["None was run."],
        "Payments": context["payment_tables"] or ["grpo: no ledger"],
        "Audit": context["audit_tables"] or ["None was made."],
        "Data": [*context["data_missing"], *context["data_tables"]],
    }
    write_text(paths.REPORT_TABLES, markdown(context["title"], context["subtitle"], context["findings"], sections))
    write_text(paths.REPORT_PAGE, html_page(context))
    for model, numbers in inputs.numbers.items():
        write_json(paths.metrics("report", model), headline(numbers, inputs.cap))
    cards = cards_of(
        config.models,
        numbers=inputs.numbers,
        lock=inputs.lock,
        params_text=inputs.params_text,
        commit=inputs.commit,
    )
    for model, text in cards.items():
        write_text(paths.model_card(model), text)
        if links := chain(config.models[model], inputs.lock):
            reports = {link.stage: report for link in links if (report := stage_report(paths.REPORTS, link.stage))}
            write_json(paths.lineage(model), as_json(config.models[model], links, inputs.commit, reports))


def build_data(config: params.Params) -> None:
    """Write the data page and the data card."""
    data = read_dataset()
    shown = read_shown(data, DATA_STRIPS)
    frames, fps, least = config.video.frames, config.video.fps, config.video.min_frames
    pictures = [
        open_pictures(row, config.report.strip_frames, frames=frames, fps=fps, min_frames=least) for row in shown
    ]
    code = commit()
    write_text(paths.DATA_PAGE, html_page(page_context(data, shown, pictures, code), "data.html.j2"))
    reports = {stage: paths.metrics(stage) for stage in ("annotate", "filter")}
    metrics = {stage: read_json(path) for stage, path in reports.items() if path.exists()}
    write_text(paths.DATA_CARD, data_card(data, metrics=metrics, lock=read_yaml(Path("dvc.lock")), commit=code))
    print(f"data: {paths.DATA_PAGE}\ncard: {paths.DATA_CARD}")


def pictures_of(chosen: Plan, config: params.Params) -> dict[int, Pictures]:
    """Frame strips of every record that is shown, by problem id."""
    shuffled = chosen.shuffled["problem_id"] if chosen.shuffled else None
    shown = {record["problem_id"]: record for record in [*chosen.shown, chosen.shuffled] if record}
    return {
        problem_id: open_pictures(
            record,
            config.report.strip_frames,
            frames=config.video.frames,
            fps=config.video.fps,
            min_frames=config.video.min_frames,
            shuffle_seed=config.seed if problem_id == shuffled else None,
        )
        for problem_id, record in shown.items()
    }


def strips_of(audits: Audits, config: params.Params) -> dict[str, Pictures]:
    """Frame strips of the audits' examples, by path."""
    examples = [example for numbers in audits.values() for example in numbers.get("examples", [])]
    return {
        example["path"]: open_pictures(
            example,
            config.report.strip_frames,
            frames=config.video.frames,
            fps=config.video.fps,
            min_frames=config.video.min_frames,
        )
        for example in examples
    }


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
