"""Build the report, or print its main tables again: `python -m tasks.report [show]`."""

from __future__ import annotations

import sys

from tasks import params, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.jsonl import read_jsonl
from tasks.core.lineage import as_json, chain, stage_report
from tasks.report import page
from tasks.report.cards import cards_of
from tasks.report.clips import open_strips
from tasks.report.controls import all_controls
from tasks.report.inputs import read_inputs, read_summaries
from tasks.report.render import html_page, markdown, terminal
from tasks.report.summary import ReportError, headline
from tasks.report.tables import controls_table, main_table

USAGE = "usage: python -m tasks.report [show]"


def main() -> None:
    """Build unless told to show; either way end with the benchmark tables and where the report lies."""
    arguments = sys.argv[1:]
    if arguments not in ([], ["show"]):
        raise ReportError(f"unknown argument {' '.join(arguments)!r}; {USAGE}")
    p = params.load()
    if not arguments:
        build(p)
    elif not paths.REPORT_PAGE.exists():
        raise ReportError(f"{paths.REPORT_PAGE}: no report yet; run `dvc repro report` first")
    logs = {model: read_jsonl(paths.predictions(model)) for model in p.models}
    print(terminal(main_table(read_summaries(), p.models), controls_table(all_controls(logs, list(p.models)))))
    print(f"\nreport: {paths.REPORT_PAGE}\ntables: {paths.REPORT_TABLES}")


def build(p: params.Params) -> None:
    """Read every input, decode the clips that are shown, write page, tables, headline numbers and cards."""
    models = list(p.models)
    inputs = read_inputs(models)
    chosen = page.plan(inputs, models, p.report.examples)
    pictures = open_pictures(chosen, p)
    context = page.context(inputs, models, chosen, pictures)
    tables = context["tables"]
    sections = {
        "Results": [tables["main"], tables["types"], tables["skills"]],
        "Controls": [tables["controls"]],
        "Public benchmarks": context["public_tables"] or ["None was run."],
        "Data": [*context["data_missing"], *context["data_tables"]],
    }
    write_text(paths.REPORT_TABLES, markdown(context["title"], context["subtitle"], context["findings"], sections))
    write_text(paths.REPORT_PAGE, html_page(context))
    for summary in inputs.summaries:
        write_json(paths.metrics("report", summary.model), headline(summary))
    cards = cards_of(
        p.models,
        summaries=inputs.summaries,
        suites=inputs.suites,
        lock=inputs.lock,
        params_text=inputs.params_text,
        commit=inputs.commit,
    )
    for model, text in cards.items():
        write_text(paths.model_card(model), text)
        if links := chain(p.models[model], inputs.lock):
            reports = {link.stage: report for link in links if (report := stage_report(paths.REPORTS, link.stage))}
            write_json(paths.lineage(model), as_json(p.models[model], links, inputs.commit, reports))


def open_pictures(chosen: page.Plan, p: params.Params) -> dict[int, page.Pictures]:
    """Frame strips of every record that is shown, by problem id."""
    shuffled = chosen.shuffled["problem_id"] if chosen.shuffled else None
    shown = {record["problem_id"]: record for record in [*chosen.shown, chosen.shuffled] if record}
    return {
        key: open_strips(
            record,
            p.report.strip_frames,
            frames=p.video.frames,
            fps=p.video.fps,
            min_frames=p.video.min_frames,
            shuffle_seed=p.seed if key == shuffled else None,
        )
        for key, record in shown.items()
    }


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
