"""Tables and charts of the public benchmarks, and of the test split at frame caps beside the pipeline's. Pure."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tasks.core.schemas.answers import NO_FRAMES, Control, Entry, Gain, Numbers
from tasks.report.curves import Chart
from tasks.report.numbers import NOTHING, Asked, ByModel, by_asked, is_split, sets, title
from tasks.report.svg import Series, line_chart
from tasks.report.tables import (
    NONE,
    Cell,
    Table,
    controls_table,
    decimal,
    estimate_cell,
    mark_best,
    percent,
)

GAPS_SHOWN = 8
"""Groups with missing questions listed per suite and protocol; the rest is in the log folder's index."""
CONTROLS_CAPTION = (
    "Ordered minus control in points of the benchmark's own overall number, on questions scored on every view, with "
    "the 95% interval of the paired difference by clips. What shuffling costs needs the order; what leaving the video "
    "out costs needs the video."
)


def public_tables(numbers: ByModel, models: Sequence[str], cap: int) -> list[Table]:
    """Every table that has rows, in reading order.

    Args:
        numbers: of the models that were run.
        models: in the order of the columns.
        cap: frame cap at which the test split has tables of its own.
    """
    public = {model: _public(numbers[model], cap) for model in models if model in numbers}
    shown = {model: of_model for model, of_model in public.items() if of_model.entries}
    controls = [(model, control) for model, of_model in shown.items() for control in of_model.controls]
    about = sets(shown)
    tables = [
        scores_table(shown),
        published_table(shown),
        *category_tables(shown),
        controls_table(
            "Controls on public benchmarks",
            sorted(controls, key=lambda pair: (pair[1].benchmark, pair[1].subset, pair[1].protocol, pair[1].frames)),
            lambda control: title(about, control) + (f", {control.group}" if control.group else ""),
            CONTROLS_CAPTION,
        ),
        gains_table(shown),
        health_table(shown),
        letters_table(shown),
        sets_table(shown),
    ]
    return [table for table in tables if table.rows]


def _public(numbers: Numbers, cap: int) -> Numbers:
    """Numbers without the test split at the pipeline's own frame cap."""

    def kept(each: Entry | Control) -> bool:
        return not (is_split(each) and each.frames in (cap, NO_FRAMES))

    return dataclasses.replace(
        numbers,
        entries=[entry for entry in numbers.entries if kept(entry)],
        controls=[control for control in numbers.controls if kept(control)],
    )


def scores_table(numbers: ByModel) -> Table:
    """Suite, protocol and frames by model: the suite's own overall number on ordered frames."""
    entries, about = by_asked(numbers), sets(numbers)
    rows = []
    for asked, of in entries.items():
        first = next(iter(of.values()))
        mark = " †" if about[asked[:3]]["incomplete"] else ""
        cells = [_score(of.get(model)) for model in numbers]
        head = [title(about, asked) + mark, asked.protocol, str(asked.frames), f"{first.scored} of {first.rows}"]
        rows.append([*map(Cell, head), *mark_best([cells])[0]])
    caption = (
        "Below each score its 95% interval, over clips (source clip for TempCompass, scene for VSI-Bench). "
        "n: questions scored, of all. Protocols ask and score differently; their numbers must not be compared with "
        "each other."
    )
    if any("†" in row[0].text for row in rows):
        caption += " †: not all of the published questions."
    heads = ["benchmark", "protocol", "frames", "n", *numbers]
    return Table("Public benchmarks, ordered frames", heads, rows, 3, caption)


def published_table(numbers: ByModel) -> Table:
    """Published numbers beside ours of the same suite and protocol, with why they are not comparable."""
    about = sets(numbers)
    rows = []
    for asked, of in by_asked(numbers).items():
        for published in about[asked[:3]]["published"]:
            if published["protocol"] != asked.protocol or published["frames"] not in (None, asked.frames):
                continue
            why = published["not_comparable"].get(str(asked.frames), "")
            texts = [
                title(about, asked),
                asked.protocol,
                published["model"],
                published["source"],
                f"not comparable: {why}" if why else "comparable",
                str(published["frames"] or NONE),
                f"{published['value']:.1f}%",
                str(asked.frames),
                *[percent(of[model].overall.value if model in of else None) for model in numbers],
            ]
            rows.append([Cell(text) for text in texts])
    heads = ["benchmark", "protocol", "published model", "source", "comparison", "frames", "published", "our frames"]
    return Table("Published numbers beside ours", [*heads, *numbers], rows, 5)


def category_tables(numbers: ByModel) -> Iterator[Table]:
    """One table per suite and protocol: its own groups by model and frame cap."""
    about = sets(numbers)
    columns: dict[tuple[str, str, str], dict[tuple[str, int], Entry]] = defaultdict(dict)
    for asked, of in by_asked(numbers).items():
        for model in numbers:
            if model in of:
                columns[asked[:3]][model, asked.frames] = of[model]
    for key, by_column in sorted(columns.items()):
        order = sorted(by_column, key=lambda column: (list(numbers).index(column[0]), column[1]))
        sizes: dict[tuple[str, str], int] = {}
        for entry in by_column.values():
            for grouping, groups in entry.groups.items():
                for group, estimate in groups.items():
                    sizes[grouping, group] = max(sizes.get((grouping, group), 0), estimate.n)
        rows = [
            [
                *map(Cell, (grouping.replace("_", " "), group, str(n))),
                *[estimate_cell(by_column[column].groups.get(grouping, {}).get(group, NOTHING)) for column in order],
            ]
            for (grouping, group), n in sorted(sizes.items())
        ]
        heads = [f"{model}, {frames}" for model, frames in order]
        yield Table(f"{title(about, key)}, {key[2]}: by category", ["grouping", "group", "n", *heads], rows, 2)


def gains_table(numbers: ByModel) -> Table:
    """Knowledge gain: what a lecture adds to what a model knew without it."""
    about = sets(numbers)
    gains: list[tuple[str, Gain]] = [(model, gain) for model, each in numbers.items() for gain in each.gains]
    rows = [
        [
            *map(Cell, (title(about, (gain.benchmark, "", gain.protocol)), gain.protocol, model, str(gain.frames))),
            *map(Cell, (str(gain.n), percent(gain.before), percent(gain.after), percent(gain.gain))),
        ]
        for model, gain in gains
    ]
    heads = ["benchmark", "protocol", "model", "frames", "n", "before", "after", "knowledge gain"]
    caption = "On the questions scored without and with their lecture: (after - before) / (100 - before)."
    return Table("Knowledge gain", heads, rows, 3, caption)


def health_table(numbers: ByModel) -> Table:
    """What else decides a score: unread and truncated answers, errors, denominators, the other protocol's scorer."""
    about = sets(numbers)
    rows = [
        [
            Cell(title(about, asked)),
            Cell(entry.protocol),
            Cell(model),
            Cell(_listed(entry.errors)),
            Cell(_listed(entry.not_scored)),
            Cell(str(entry.frames)),
            Cell(percent(entry.unread)),
            Cell(percent(entry.truncated)),
            Cell(decimal(entry.tokens)),
            Cell(percent(entry.over_all_answers)),
            Cell(percent(entry.under_other_scorer.value), entry.other_scorer),
        ]
        for model, asked, entry in _by_model(numbers)
    ]
    head = ["benchmark", "protocol", "model", "errors", "not scored", "frames", "unread", "truncated", "tokens"]
    caption = (
        "Errors are questions that could not be put to the model and count nowhere. Unread: scored answers in which "
        "the rule found nothing. Over all: answers the scorer leaves out counted as wrong. Other scorer: the same "
        "answers by the other protocol's scorer, as a mean over samples."
    )
    return Table("Extraction, truncation and denominators", [*head, "over all", "other scorer"], rows, 5, caption)


def letters_table(numbers: ByModel) -> Table:
    """Letter bias: the share of each letter among answers and among truths, where they differ most."""
    about = sets(numbers)
    rows = []
    for model, asked, entry in _by_model(numbers):
        if not entry.letters:
            continue
        shares = entry.letters["shares"]
        worst = max(shares, key=lambda letter: abs(shares[letter]["given"] - shares[letter]["true"]))
        gap = f"{worst}: {percent(shares[worst]['given'])} given, {percent(shares[worst]['true'])} true"
        counts = [str(entry.frames), str(entry.letters["n"]), percent(entry.letters["excess"])]
        rows.append([*map(Cell, [title(about, asked), entry.protocol, model, gap, *counts])])
    heads = ["benchmark", "protocol", "model", "largest gap", "frames", "n", "misplaced"]
    caption = (
        "Misplaced: the share of answers that would have to change for letters to be given as often as they are true."
    )
    return Table("Letter bias", heads, rows, 4, caption)


def sets_table(numbers: ByModel) -> Table:
    """What was read and how the run departs from its protocol."""
    rows = []
    shown = {asked[:3] for asked in by_asked(numbers)}
    for key, questions in sorted(sets(numbers).items()):
        if key not in shown:
            continue
        lacks = [*questions["incomplete"][:GAPS_SHOWN]]
        if len(questions["incomplete"]) > GAPS_SHOWN:
            lacks.append(f".. {len(questions['incomplete']) - GAPS_SHOWN} more")
        if questions["missing_clips"]:
            lacks.append(f"{questions['missing_clips']} clips not found")
        if questions["faults"]:
            lacks.append(f"{questions['faults']} unusable records, first: {questions['first_faults'][0]}")
        departures = "; ".join(questions["deviations"]) or "none"
        texts = [title({key: questions}, key), key[2], "; ".join(lacks) or "nothing", departures]
        rows.append([*map(Cell, texts), Cell(str(questions["samples"])), Cell(str(questions["left_out_by_protocol"]))])
    heads = ["benchmark", "protocol", "missing", "departs from the protocol in", "questions", "left out by protocol"]
    return Table("Sources of the public benchmarks", heads, rows, 4)


def frame_charts(numbers: ByModel, models: Sequence[str]) -> list[Chart]:
    """Score over frame caps, one drawing per suite and protocol that was run at two caps or more."""
    shown = {model: numbers[model] for model in models if model in numbers}
    about = sets(shown)
    lines: dict[tuple[str, str, str], dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for asked, of in by_asked(shown).items():
        for model, entry in of.items():
            if entry.overall.value is not None:
                lines[asked[:3]][model].append((asked.frames, entry.overall.value))
    made = []
    for key, by_model in sorted(lines.items()):
        series = [
            Series(
                model,
                [float(frames) for frames, _ in sorted(by_model[model])],
                [value for _, value in sorted(by_model[model])],
                number,
            )
            for number, model in enumerate(models)
            if len(by_model[model]) > 1
        ]
        if series:
            name = f"{title(about, key)}, {key[2]}"
            made.append(Chart(name, line_chart(f"score by frames: {name}", series, x_label="frames", percent=True)))
    return made


def _by_model(numbers: ByModel) -> Iterator[tuple[str, Asked, Entry]]:
    """Entries on ordered frames, model by model."""
    entries = by_asked(numbers)
    return ((model, asked, of[model]) for model in numbers for asked, of in entries.items() if model in of)


def _score(entry: Entry | None) -> Cell:
    if entry is None:
        return Cell("not run")
    if entry.overall.value is None:
        return Cell("not scored", _listed(entry.not_scored) if entry.not_scored else "")
    return estimate_cell(entry.overall)


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{number} {name}" for name, number in counts.items()) or "none"
