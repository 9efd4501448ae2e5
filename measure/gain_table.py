"""The table of `python -m measure.gain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

KEY = ("trial", "seed")
SKILLS = ("after", "colour", "count", "describe", "direction", "motion", "often", "order", "text", "turn", "when")
ENDS = ("first", "last")
"""What a question of order asks for."""
SCORES = ("accuracy", "low", "high", "gain", "gain_low", "gain_high", "temporal", "static", *ENDS, "well_formed")
FIELDS = (*KEY, "flops", "seconds", *SCORES, *SKILLS)
"""Columns of gain.csv."""


def markdown(rows: Sequence[dict[str, str]], titles: Mapping[str, str], questions: int) -> str:
    """The table of gain.md.

    Args:
        rows: of gain.csv.
        titles: what each trial is, in the order of the table.
        questions: asked of each.
    """
    lines = [
        f"models/sft trained on; {questions} validation questions of the mini world; percent, 95 % intervals.",
        "",
        "| trial | seed | 10^12 operations | accuracy | gain over models/sft "
        "| temporal | static | first | last | often | motion | describe | well formed |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    order = list(titles)
    for row in sorted(rows, key=lambda row: (order.index(row["trial"]), int(row["seed"]))):
        percent = {name: f"{100 * float(row[name]):.1f}" for name in (*SCORES, *SKILLS)}
        trained = row["trial"] != "sft"
        operations = f"{float(row['flops']) / 1e12:.1f}"
        gain = f"{percent['gain']} ({percent['gain_low']} to {percent['gain_high']})" if trained else ""
        shown = ("temporal", "static", *ENDS, "often", "motion", "describe", "well_formed")
        lines.append(
            f"| {titles[row['trial']]} | {row['seed']} | {operations} "
            f"| {percent['accuracy']} ({percent['low']} to {percent['high']}) | {gain} "
            f"| {' | '.join(percent[name] for name in shown)} |"
        )
    return "\n".join(lines) + "\n"
