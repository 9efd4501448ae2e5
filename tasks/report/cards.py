"""A model card for each checkpoint: what it is, what made it, and how it scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tasks.core.lineage import HASH_CHARS, Link, chain
from tasks.core.schemas.answers import Numbers
from tasks.report.numbers import ByModel, by_asked, is_split, sets, title
from tasks.report.tables import NONE, Cell, Table, as_markdown, interval, percent


def card(
    model: str,
    folder: str,
    *,
    numbers: Numbers | None,
    lock: Mapping[str, Any],
    params: Mapping[str, Any],
    commit: str,
) -> str:
    """Markdown of one card.

    Args:
        model: name in params.models.
        folder: its checkpoint folder.
        numbers: its benchmark numbers; None if it was not benchmarked.
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
    tables = [] if numbers is None else [split_table(numbers), public_table(numbers)]
    shown = [table for table in tables if table.rows]
    parts += [f"**{table.title}**\n\n{as_markdown(table)}" for table in shown] or ["Not benchmarked.\n"]
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


def split_table(numbers: Numbers) -> Table:
    """The test split, by frame cap and view."""
    rows = [
        [
            *map(Cell, (entry.view, str(entry.frames or NONE), str(entry.overall.n))),
            *map(Cell, (percent(entry.overall.value), interval(entry.overall) or NONE)),
        ]
        for entry in numbers.entries
        if is_split(entry) and entry.overall.n
    ]
    return Table("Test split", ["view", "frames", "n", "accuracy", "95% interval"], rows)


def public_table(numbers: Numbers) -> Table:
    """Public benchmarks on ordered frames."""
    about = sets({numbers.model: numbers})
    rows = [
        [
            *map(Cell, (title(about, asked), asked.protocol, str(asked.frames))),
            Cell(f"{of[numbers.model].scored} of {of[numbers.model].rows}"),
            Cell(percent(of[numbers.model].overall.value)),
            Cell(interval(of[numbers.model].overall) or NONE),
        ]
        for asked, of in by_asked({numbers.model: numbers}).items()
        if not is_split(of[numbers.model])
    ]
    return Table("Public benchmarks", ["benchmark", "protocol", "frames", "n", "score", "95% interval"], rows, 2)


def cards_of(
    models: Mapping[str, str],
    *,
    numbers: ByModel,
    lock: Mapping[str, Any],
    params_text: str,
    commit: str,
) -> dict[str, str]:
    """Model -> its card."""
    params = yaml.safe_load(params_text) or {}
    return {
        model: card(
            model,
            folder,
            numbers=numbers.get(model),
            lock=lock,
            params=params,
            commit=commit,
        )
        for model, folder in models.items()
    }
