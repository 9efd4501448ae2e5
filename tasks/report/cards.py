"""A model card for each checkpoint: what it is, what made it, and how it scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tasks.core.lineage import HASH_CHARS, Link, chain
from tasks.report.suites import ordered
from tasks.report.summary import Summary
from tasks.report.tables import NONE, Cell, Table, as_markdown, interval, percent


def card(
    model: str,
    folder: str,
    *,
    summary: Summary | None,
    suites: Mapping[str, Any],
    lock: Mapping[str, Any],
    params: Mapping[str, Any],
    commit: str,
) -> str:
    """Markdown of one card.

    Args:
        model: name in params.models.
        folder: its checkpoint folder.
        summary: numbers on the test split; None if not run.
        suites: its `suites` object; empty if there is none.
        lock: parsed dvc.lock.
        params: parsed params.yaml.
        commit: commit of the code.
    """
    links = chain(folder, lock)
    parts = [f"# Model card: {model}\n", f"Checkpoint folder `{folder}`; {commit}.\n", "## Lineage\n"]
    if not links:
        parts.append("No stage of the pipeline that has run makes this folder: the checkpoint is an input.\n")
    else:
        parts.append(as_markdown(lineage(folder, links)))
        sections = {key: params[key] for key in sections_of(links[0]) if key in params}
        parts.append(
            f"## Parameters of {links[0].stage}\n\n```yaml\n{yaml.safe_dump(sections, sort_keys=False).rstrip()}\n```\n"
        )
    parts.append("## Scores\n")
    tables = [table for table in (test_table(summary), suite_table(suites)) if table.rows]
    parts += [f"**{table.title}**\n\n{as_markdown(table)}" for table in tables] or ["Not benchmarked.\n"]
    return "\n".join(parts)


def lineage(folder: str, links: Sequence[Link]) -> Table:
    """The stages behind a checkpoint, itself first, each with one hash over its inputs and those of its outputs."""
    rows = []
    for link in links:
        outs = [f"{path} {md5[:HASH_CHARS]}" for path, md5 in link.outs.items()]
        rows.append([Cell(link.stage), Cell(link.inputs), Cell("; ".join(outs))])
    return Table(f"What made {folder}", ["stage", "inputs", "outputs and their md5"], rows, 3)


def sections_of(link: Link) -> list[str]:
    """Sections of params.yaml that a stage reads."""
    return list(dict.fromkeys(str(key).partition(".")[0] for key in link.params))


def test_table(summary: Summary | None) -> Table:
    """The test split, by view."""
    views = summary.views if summary else {}
    rows = [
        [Cell(name), Cell(str(view.overall.n)), Cell(percent(view.overall.accuracy)), Cell(interval(view.overall))]
        for name, view in views.items()
        if view.overall.n
    ]
    return Table("Test split", ["view", "n", "accuracy", "95% interval"], rows)


def suite_table(suites: Mapping[str, Any]) -> Table:
    """Public benchmarks on ordered frames."""
    titles = {(one["benchmark"], one["subset"]): one["title"] for one in suites.get("sources", [])}
    rows = []
    for one in ordered(suites):
        found = one["overall"]
        within = NONE if found["value"] is None else f"{100 * found['low']:.1f}–{100 * found['high']:.1f}"
        name = titles[one["benchmark"], one["subset"]] + (f", {one['subset']}" if one["subset"] else "")
        cells = [
            name,
            one["protocol"],
            str(one["frames"]),
            f"{one['scored']} of {one['rows']}",
            percent(found["value"]),
        ]
        rows.append([*map(Cell, cells), Cell(within)])
    return Table("Public benchmarks", ["benchmark", "protocol", "frames", "n", "score", "95% interval"], rows, 2)


def cards_of(
    models: Mapping[str, str],
    *,
    summaries: Sequence[Summary],
    suites: Mapping[str, Mapping[str, Any]],
    lock: Mapping[str, Any],
    params_text: str,
    commit: str,
) -> dict[str, str]:
    """Model -> its card."""
    found, params = {one.model: one for one in summaries}, yaml.safe_load(params_text) or {}
    return {
        model: card(
            model,
            folder,
            summary=found.get(model),
            suites=suites.get(model, {}),
            lock=lock,
            params=params,
            commit=commit,
        )
        for model, folder in models.items()
    }
