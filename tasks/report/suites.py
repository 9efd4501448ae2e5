"""Tables and charts of the public benchmarks, from what the benchmark stage left per model. Pure.

A model's numbers are the `suites` object of `reports/benchmark/<model>.json`: entries (one per benchmark, protocol,
frame cap and view), controls (paired differences) and sources (files, counts, departures, published numbers).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.report.curves import Chart
from tasks.report.svg import Series, line_chart
from tasks.report.tables import NONE, Cell, Table, percent, points

Numbers = Mapping[str, Mapping[str, Any]]
"""Model -> its `suites` object."""
Entry = Mapping[str, Any]
OFFICIAL_LIMIT = 8
"""Deviations listed per benchmark and protocol; the rest is in the log folder's index."""


def suite_tables(numbers: Numbers, models: Sequence[str]) -> list[Table]:
    """Every table that has rows, in reading order."""
    shown = [model for model in models if numbers.get(model, {}).get("entries")]
    tables = [
        scores_table(numbers, shown),
        published_table(numbers, shown),
        *category_tables(numbers, shown),
        controls_table(numbers, shown),
        health_table(numbers, shown),
        letters_table(numbers, shown),
        sources_table(numbers, shown),
    ]
    return [table for table in tables if table.rows]


def scores_table(numbers: Numbers, models: Sequence[str]) -> Table:
    """Benchmark, protocol and frames by model: the benchmark's own overall number on ordered frames."""
    found = {model: {slot(one): one for one in ordered(numbers[model])} for model in models}
    about = sources(numbers, models)
    rows = []
    for key in sorted({key for of in found.values() for key in of}):
        one = next(of[key] for of in found.values() if key in of)
        mark = " †" if about[key[:3]]["incomplete"] else ""
        cells = [_score(found[model].get(key)) for model in models]
        counts = f"{one['scored']} of {one['rows']}"
        rows.append([Cell(title(about, key) + mark), Cell(key[2]), Cell(str(key[3])), Cell(counts), *_best(cells)])
    caption = (
        "Below each score its 95% interval, over clips (source clip for TempCompass, scene for VSI-Bench). "
        "n: questions scored, of all. Protocols ask and score differently; their numbers must not be compared with "
        "each other."
    )
    if any("†" in row[0].text for row in rows):
        caption += " †: not all of the published questions."
    return Table(
        "Public benchmarks, ordered frames", ["benchmark", "protocol", "frames", "n", *models], rows, 3, caption
    )


def published_table(numbers: Numbers, models: Sequence[str]) -> Table:
    """Published numbers beside ours of the same benchmark and protocol, with why they are not comparable."""
    found = {model: {slot(one): one for one in ordered(numbers[model])} for model in models}
    about = sources(numbers, models)
    rows = []
    for key in sorted({key for of in found.values() for key in of}):
        for one in about[key[:3]]["published"]:
            if one["protocol"] != key[2] or one["frames"] not in (None, key[3]):
                continue
            why = one["not_comparable"].get(str(key[3]), "")
            ours = [Cell(percent(_value(found[model].get(key)))) for model in models]
            verdict = Cell(f"not comparable: {why}" if why else "comparable")
            frames = Cell(str(one["frames"] or NONE))
            about_it = [Cell(title(about, key)), Cell(key[2]), Cell(one["model"]), Cell(one["source"]), verdict]
            rows.append([*about_it, frames, Cell(f"{one['value']:.1f}%"), Cell(str(key[3])), *ours])
    texts = ["benchmark", "protocol", "published model", "source", "comparison", "frames", "published", "our frames"]
    return Table("Published numbers beside ours", [*texts, *models], rows, 5)


def category_tables(numbers: Numbers, models: Sequence[str]) -> Iterator[Table]:
    """One table per benchmark and protocol: its own groups by model and frame cap."""
    about = sources(numbers, models)
    columns: dict[tuple[str, str, str], dict[tuple[str, int], Entry]] = defaultdict(dict)
    for model in models:
        for one in ordered(numbers[model]):
            columns[slot(one)[:3]][model, one["frames"]] = one
    for key, of in sorted(columns.items()):
        names: dict[tuple[str, str], int] = {}
        for one in of.values():
            for grouping, groups in one["groups"].items():
                for group, estimate in groups.items():
                    names[grouping, group] = max(names.get((grouping, group), 0), estimate["n"])
        rows = [
            [
                Cell(grouping.replace("_", " ")),
                Cell(group),
                Cell(str(n)),
                *[_estimate(one["groups"].get(grouping, {}).get(group)) for one in of.values()],
            ]
            for (grouping, group), n in sorted(names.items())
        ]
        heads = [f"{model}, {frames}" for model, frames in of]
        yield Table(f"{title(about, key)}, {key[2]}: by category", ["grouping", "group", "n", *heads], rows, 2)


def controls_table(numbers: Numbers, models: Sequence[str]) -> Table:
    """How much of each score needs the order of frames, and how much the video."""
    about = sources(numbers, models)
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for model in models:
        for one in numbers[model]["controls"]:
            found[(*slot(one), model)][one["control"]] = one
    rows = [
        [
            Cell(title(about, key)),
            Cell(key[2]),
            Cell(key[4]),
            Cell(str(key[3])),
            *[cell for name in ("shuffled", "no_video") for cell in _lost(of.get(name))],
        ]
        for key, of in sorted(found.items())
    ]
    head = ["benchmark", "protocol", "model", "frames", "lost to shuffling", "n", "lost without video", "n"]
    caption = (
        "Ordered minus control in points of the benchmark's own overall number, on questions scored in both, with the "
        "95% interval of the paired difference by clips. What shuffling costs needs the order; what leaving the video "
        "out costs needs the video."
    )
    return Table("Controls on public benchmarks", head, rows, 3, caption)


def health_table(numbers: Numbers, models: Sequence[str]) -> Table:
    """What else decides a score: unread and truncated answers, errors, denominators, the other protocol's scorer."""
    about = sources(numbers, models)
    rows = []
    for model in models:
        for one in ordered(numbers[model]):
            other = one["under_other_scorer"]
            rows.append(
                [
                    Cell(title(about, slot(one))),
                    Cell(one["protocol"]),
                    Cell(model),
                    Cell(_listed(one["errors"])),
                    Cell(_listed(one["not_scored"])),
                    Cell(str(one["frames"])),
                    Cell(percent(one["unread"])),
                    Cell(percent(one["truncated"])),
                    Cell(NONE if one["tokens"] is None else f"{one['tokens']:.1f}"),
                    Cell(percent(one["over_all_answers"])),
                    Cell(percent(other["value"]), other["scorer"]),
                ]
            )
    head = ["benchmark", "protocol", "model", "errors", "not scored", "frames", "unread", "truncated", "tokens"]
    caption = (
        "Errors are questions that could not be put to the model and count nowhere. Unread: scored answers in which "
        "the rule found nothing. Over all: answers the scorer leaves out counted as wrong. Other scorer: the same "
        "answers by the other protocol's scorer, as a mean over samples."
    )
    return Table("Extraction, truncation and denominators", [*head, "over all", "other scorer"], rows, 5, caption)


def letters_table(numbers: Numbers, models: Sequence[str]) -> Table:
    """Letter bias: the share of each letter among answers and among truths, where they differ most."""
    about = sources(numbers, models)
    rows = []
    for model in models:
        for one in ordered(numbers[model]):
            if not one["letters"]:
                continue
            shares = one["letters"]["shares"]
            worst = max(shares, key=lambda letter: abs(shares[letter]["said"] - shares[letter]["true"]))
            said = f"{worst}: {percent(shares[worst]['said'])} said, {percent(shares[worst]['true'])} true"
            head = [Cell(title(about, slot(one))), Cell(one["protocol"]), Cell(model), Cell(said)]
            counts = [Cell(str(one["frames"])), Cell(str(one["letters"]["n"])), Cell(percent(one["letters"]["excess"]))]
            rows.append([*head, *counts])
    head_texts = ["benchmark", "protocol", "model", "largest gap", "frames", "n", "misplaced"]
    caption = (
        "Misplaced: the share of answers that would have to change for letters to be said as often as they are true."
    )
    return Table("Letter bias", head_texts, rows, 4, caption)


def sources_table(numbers: Numbers, models: Sequence[str]) -> Table:
    """What was read and how the run departs from its protocol."""
    rows = []
    for key, one in sorted(sources(numbers, models).items()):
        lacks = [*one["incomplete"][:OFFICIAL_LIMIT]]
        if len(one["incomplete"]) > OFFICIAL_LIMIT:
            lacks.append(f".. {len(one['incomplete']) - OFFICIAL_LIMIT} more")
        lacks += [f"{one['missing_clips']} clips not found"] * bool(one["missing_clips"])
        lacks += [f"{one['faults']} unusable records, first: {one['first_faults'][0]}"] if one["faults"] else []
        departs = "; ".join(one["deviations"]) or "none"
        head = [Cell(title({key: one}, key)), Cell(key[2]), Cell("; ".join(lacks) or "nothing"), Cell(departs)]
        rows.append([*head, Cell(str(one["samples"])), Cell(str(one["left_out_by_protocol"]))])
    texts = ["benchmark", "protocol", "missing", "departs from the protocol in", "questions", "left out by protocol"]
    return Table("Sources of the public benchmarks", texts, rows, 4)


def frame_charts(numbers: Numbers, models: Sequence[str]) -> list[Chart]:
    """Score over frame caps, one drawing per benchmark and protocol that was run at two caps or more."""
    about = sources(numbers, models)
    lines: dict[tuple[str, str, str], dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for model in models:
        for one in ordered(numbers.get(model, {})):
            if (value := _value(one)) is not None:
                lines[slot(one)[:3]][model].append((one["frames"], value))
    made = []
    for key, of in sorted(lines.items()):
        series = [
            Series(model, [float(x) for x, _ in sorted(of[model])], [y for _, y in sorted(of[model])], number)
            for number, model in enumerate(models)
            if len(of[model]) > 1
        ]
        if series:
            name = f"{title(about, key)}, {key[2]}"
            made.append(Chart(name, line_chart(f"score by frames: {name}", series, x_label="frames", percent=True)))
    return made


def ordered(of_model: Mapping[str, Any]) -> list[Entry]:
    """Entries on ordered frames."""
    return [one for one in of_model.get("entries", []) if one["view"] == "ordered"]


def slot(one: Mapping[str, Any]) -> tuple[str, str, str, int]:
    """Benchmark, subset, protocol and frame cap."""
    return one["benchmark"], one["subset"], one["protocol"], one["frames"]


def sources(numbers: Numbers, models: Sequence[str]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """(benchmark, subset, protocol) -> its source, of the first model that has it."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for model in models:
        for one in numbers.get(model, {}).get("sources", []):
            found.setdefault((one["benchmark"], one["subset"], one["protocol"]), one)
    return found


def title(about: Mapping[tuple[Any, ...], Mapping[str, Any]], key: Sequence[Any]) -> str:
    """Name of a benchmark as shown."""
    one = about[tuple(key[:3])]
    return one["title"] + (f", {one['subset']}" if one["subset"] else "")


def _value(one: Entry | None) -> float | None:
    return None if one is None else one["overall"]["value"]


def _score(one: Entry | None) -> Cell:
    if one is None:
        return Cell("not run")
    if one["overall"]["value"] is None:
        return Cell("not scored", _listed(one["not_scored"]) if one["not_scored"] else "")
    return _estimate(one["overall"])


def _estimate(estimate: Mapping[str, Any] | None) -> Cell:
    if not estimate or estimate["value"] is None:
        return Cell(NONE)
    return Cell(percent(estimate["value"]), f"{100 * estimate['low']:.1f}–{100 * estimate['high']:.1f}")


def _best(cells: list[Cell]) -> list[Cell]:
    values = [float(cell.text.rstrip("%")) if cell.text.endswith("%") else -1.0 for cell in cells]
    if sum(value >= 0 for value in values) < 2:
        return cells
    return [cell._replace(best=value == max(values)) for cell, value in zip(cells, values, strict=True)]


def _lost(one: Mapping[str, Any] | None) -> list[Cell]:
    if one is None:
        return [Cell(NONE), Cell(NONE)]
    within = "" if one["low"] is None else f"{points(one['low'])} to {points(one['high'])}"
    return [Cell(points(one["difference"]), within), Cell(str(one["n"]))]


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{number} {name}" for name, number in counts.items()) or "none"
