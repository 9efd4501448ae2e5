"""A log's numbers: one entry per benchmark, protocol, frame cap and view, always from the whole log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.suites.base import PROTOCOLS, Suite, alike
from tasks.core.stats import Estimate, Paired, clustered_stderr, estimate, paired

Row = Mapping[str, Any]
Slot = tuple[str, str, str, int, str]
"""benchmark, subset, protocol, frame cap, view."""


def entries(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Numbers of every slot of the log, in a fixed order."""
    return [entry(slot, some) for slot, some in sorted(slots(rows).items())]


def slots(rows: Sequence[Row]) -> dict[Slot, list[Row]]:
    """Rows by slot."""
    found: dict[Slot, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["benchmark"], row["subset"], row["protocol"], row["frames"], row["view"]].append(row)
    return dict(found)


def entry(slot: Slot, rows: Sequence[Row]) -> dict[str, Any]:
    """Numbers of one slot. Rows without an answer are counted and take part in nothing else."""
    benchmark, subset, protocol, frames, view = slot
    suite = REGISTRY[benchmark]
    answered = [row for row in rows if not row["error_class"]]
    counted = [row for row in answered if row[protocol] is not None]
    unscored = Counter(row[f"{protocol}_rule"] for row in answered if row[protocol] is None)
    read = [row for row in counted if row[f"{protocol}_extracted"]]
    other = next(name for name in PROTOCOLS if name != protocol)
    return {
        "benchmark": benchmark,
        "subset": subset,
        "protocol": protocol,
        "frames": frames,
        "view": view,
        "rows": len(rows),
        "answered": len(answered),
        "scored": len(counted),
        "errors": dict(sorted(Counter(row["error_class"] for row in rows if row["error_class"]).items())),
        "not_scored": dict(sorted(unscored.items())),
        "overall": overall(suite, counted, protocol),
        "stderr": _rounded(clustered_stderr([row[protocol] for row in counted], [row["cluster"] for row in counted])),
        "micro": plain(counted, protocol),
        "over_all_answers": _share([row[protocol] or 0.0 for row in answered]),
        "under_other_scorer": {"scorer": other, **plain([row for row in answered if row[other] is not None], other)},
        "groups": groups(suite, counted, protocol),
        "unread": _share([float(not row[f"{protocol}_extracted"]) for row in counted]),
        "truncated": _share([float(row["finish_reason"] == "length") for row in answered]),
        "tokens": _share([float(row["tokens"]) for row in answered]),
        "letters": letters(read, protocol),
    }


def overall(suite: Suite, rows: Sequence[Row], protocol: str) -> dict[str, Any]:
    """The benchmark's own overall number; `partial` names groups of its published files that are absent."""
    names, weigh = leaves(suite, rows)
    found = estimate([row[protocol] for row in rows], [row["cluster"] for row in rows], names, weigh)
    return as_dict(found)


def leaves(suite: Suite, rows: Sequence[Row]) -> tuple[list[str] | None, Callable[..., Any] | None]:
    """Group of each row and the groups' weights; (None, None) where the overall number is a plain mean."""
    if suite.leaves is None or not all(suite.leaves in row["categories"] for row in rows):
        names = [row["categories"].get("original_question_type", "") for row in rows] if suite.leaves else None
        # Video-R1's own file keeps VSI-Bench's types under another name; other benchmarks' tracks are lost in it.
        if names is None or suite.coefficients is None or not all(names):
            return None, None
        return names, suite.coefficients
    return [row["categories"][suite.leaves] for row in rows], suite.coefficients or alike


def plain(rows: Sequence[Row], protocol: str) -> dict[str, Any]:
    """Mean over samples."""
    return as_dict(estimate([row[protocol] for row in rows], [row["cluster"] for row in rows]))


def groups(suite: Suite, rows: Sequence[Row], protocol: str) -> dict[str, dict[str, Any]]:
    """Grouping -> group -> numbers; groups that average others are beside them."""
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for grouping, group in row["categories"].items():
            found[grouping][group].append(row)
    made = {
        grouping: {group: plain(some, protocol) for group, some in sorted(of.items())} for grouping, of in found.items()
    }
    for name, parts in suite.combined.items():
        some = [row for row in rows if row["categories"].get(suite.leaves) in parts]
        if some and suite.leaves:
            kinds = [row["categories"][suite.leaves] for row in some]
            scores, clusters = [row[protocol] for row in some], [row["cluster"] for row in some]
            made[suite.leaves][name] = as_dict(estimate(scores, clusters, kinds, alike))
    return made


def letters(rows: Sequence[Row], protocol: str) -> dict[str, Any]:
    """Letter bias: how often each option letter is said and is true, over multiple-choice answers that name one."""
    pairs = [
        (said, row["solution"])
        for row in rows
        if row["problem_type"] == "multiple choice"
        and len(said := row[f"{protocol}_extracted"].strip("()").upper()) == 1
    ]
    if not pairs:
        return {}
    said, true = Counter(one for one, _ in pairs), Counter(one for _, one in pairs)
    shares = {one: {"said": said[one] / len(pairs), "true": true[one] / len(pairs)} for one in sorted({*said, *true})}
    gap = sum(abs(share["said"] - share["true"]) for share in shares.values()) / 2
    rounded = {one: {name: _rounded(value) for name, value in share.items()} for one, share in shares.items()}
    return {"n": len(pairs), "excess": _rounded(gap), "shares": rounded}


def controls(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What shuffling and blinding cost: ordered minus control, on samples scored in both, by the overall number."""
    by_slot = slots(rows)
    made = []
    for (benchmark, subset, protocol, frames, view), ordered in sorted(by_slot.items()):
        if view != "ordered":
            continue
        for control, cap in (("shuffled", frames), ("no_video", 0)):
            other = by_slot.get((benchmark, subset, protocol, cap, control))
            if other and (found := paired_rows(REGISTRY[benchmark], ordered, other, protocol)) is not None:
                head = {"benchmark": benchmark, "subset": subset, "protocol": protocol, "frames": frames}
                made.append(head | {"control": control, **pair_dict(found)})
    return made


def paired_rows(suite: Suite, first: Sequence[Row], second: Sequence[Row], protocol: str) -> Paired | None:
    """First minus second on the samples that both score; None without any."""
    pairs = matched(first, second, protocol)
    if not pairs:
        return None
    ones = [one for one, _ in pairs]
    names, weigh = leaves(suite, ones)
    return paired(
        [one[protocol] for one in ones],
        [two[protocol] for _, two in pairs],
        [one["cluster"] for one in ones],
        names,
        weigh,
    )


def matched(first: Sequence[Row], second: Sequence[Row], protocol: str) -> list[tuple[Row, Row]]:
    """Rows of the same sample that are scored in both logs, by sample id."""
    others = {row["sample_id"]: row for row in second if row.get(protocol) is not None}
    ones = {row["sample_id"]: row for row in first if row.get(protocol) is not None}
    return [(ones[name], others[name]) for name in sorted(ones.keys() & others.keys())]


def as_dict(found: Estimate) -> dict[str, Any]:
    """`n`, `clusters`, `value`, `se` and the 95 % interval `low`, `high`, as shares."""
    return {name: value if isinstance(value, int) else _rounded(value) for name, value in found._asdict().items()}


def pair_dict(found: Paired) -> dict[str, Any]:
    """Fields of a paired difference, rounded."""
    return {name: value if isinstance(value, int) else _rounded(value) for name, value in found._asdict().items()}


def _share(values: Sequence[float]) -> float | None:
    return _rounded(sum(values) / len(values)) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
