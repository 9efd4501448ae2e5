"""Numbers of a log: one entry per suite, protocol, frame cap and view, always from the whole log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tasks.benchmark.base import Row, Suite, alike
from tasks.benchmark.protocols import PROTOCOLS
from tasks.benchmark.suites import REGISTRY
from tasks.core.schemas.answers import NO_FRAMES, Control, Entry, Gain, Numbers
from tasks.core.stats import Coefficients, Estimate, Paired, clustered_stderr, estimate, paired
from tasks.core.text.tags import is_well_formed

CONTROL_VIEWS = ("shuffled", "no_video")
UNKNOWN = "unknown"
"""Group of questions that the suite does not assign to a group; the controls leave it out."""
N = TypeVar("N", Estimate, Paired)


def numbers(model: str, logs: Iterable[Sequence[Row]], described: list[dict[str, Any]]) -> Numbers:
    """Numbers of all logs of a model; one log is in memory at a time, besides suites with a knowledge gain.

    Args:
        model: its name.
        logs: rows of each log.
        described: the question sets (`Numbers.question_sets`); may grow while `logs` is read.
    """
    made = Numbers(model, [], [], [], described)
    of_lectures: list[Row] = []
    for rows in logs:
        made.entries.extend(entries(rows))
        made.controls.extend(controls(rows))
        of_lectures += [row for row in rows if REGISTRY[row["benchmark"]].without_lecture is not None]
    made.gains.extend(gains(of_lectures))
    return made


class Condition(NamedTuple):
    """The fields that rows of one entry have in common."""

    benchmark: str
    subset: str
    protocol: str
    frames: int
    """Frame cap."""
    view: str


def conditions(rows: Sequence[Row]) -> dict[Condition, list[Row]]:
    """Rows by condition, conditions in order."""
    split: dict[Condition, list[Row]] = defaultdict(list)
    for row in rows:
        split[Condition(*(row[name] for name in Condition._fields))].append(row)
    return dict(sorted(split.items()))


def entries(rows: Sequence[Row]) -> list[Entry]:
    """Numbers of every condition of the log, in a fixed order."""
    return [entry(condition, some) for condition, some in conditions(rows).items()]


def entry(condition: Condition, rows: Sequence[Row]) -> Entry:
    """Numbers of one condition. Rows without an answer are only counted."""
    suite, protocol = REGISTRY[condition.benchmark], condition.protocol
    other = PROTOCOLS[protocol].other
    answered = [row for row in rows if not row["error_class"]]
    counted = scored_by(answered, protocol)
    unscored = Counter(row[f"{protocol}_rule"] for row in answered if row[protocol] is None)
    read = [row for row in counted if row[f"{protocol}_extracted"]]
    stderr = clustered_stderr([row[protocol] for row in counted], [row["cluster"] for row in counted])
    return Entry(
        **condition._asdict(),
        rows=len(rows),
        answered=len(answered),
        scored=len(counted),
        errors=dict(sorted(Counter(row["error_class"] for row in rows if row["error_class"]).items())),
        not_scored=dict(sorted(unscored.items())),
        overall=overall(suite, counted, protocol),
        mean=mean(counted, protocol),
        mean_stderr=_rounded(stderr),
        over_all_answers=_share([row[protocol] or 0.0 for row in answered]),
        other_scorer=other,
        under_other_scorer=mean(scored_by(answered, other), other),
        groups=groups(suite, counted, protocol),
        well_formed=_share([float(is_well_formed(row["completion"])) for row in answered]),
        unread=_share([float(not row[f"{protocol}_extracted"]) for row in counted]),
        truncated=_share([float(row["finish_reason"] == "length") for row in answered]),
        tokens=_share([float(row["tokens"]) for row in answered]),
        letters=letters(read, protocol),
    )


def scored_by(rows: Sequence[Row], protocol: str) -> list[Row]:
    """Rows that a protocol's scorer counts."""
    return [row for row in rows if row[protocol] is not None]


def overall(suite: Suite, rows: Sequence[Row], protocol: str) -> Estimate:
    """The suite's own overall number."""
    names, weigh = leaves(suite, rows)
    return rounded(estimate([row[protocol] for row in rows], [row["cluster"] for row in rows], names, weigh))


def leaves(suite: Suite, rows: Sequence[Row]) -> tuple[list[str] | None, Coefficients | None]:
    """Group of each row and the groups' weights; (None, None) where the overall number is a plain mean."""
    if suite.leaves is None or not all(suite.leaves in row["categories"] for row in rows):
        names = [row["categories"].get("original_question_type", "") for row in rows] if suite.leaves else None
        # Video-R1's own file keeps VSI-Bench's types under another name; other suites' tracks are lost in it.
        if names is None or suite.coefficients is None or not all(names):
            return None, None
        return names, suite.coefficients
    return [row["categories"][suite.leaves] for row in rows], suite.coefficients or alike


def mean(rows: Sequence[Row], protocol: str) -> Estimate:
    """Mean over answers."""
    return rounded(estimate([row[protocol] for row in rows], [row["cluster"] for row in rows]))


def groups(suite: Suite, rows: Sequence[Row], protocol: str) -> dict[str, dict[str, Estimate]]:
    """Grouping -> group -> mean, with groups that are averages of others."""
    split: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for grouping, group in row["categories"].items():
            split[grouping][group].append(row)
    made = {
        grouping: {group: mean(some, protocol) for group, some in sorted(of.items())}
        for grouping, of in sorted(split.items())
    }
    for name, parts in suite.combined.items():
        some = [row for row in rows if row["categories"].get(suite.leaves) in parts]
        if some and suite.leaves:
            kinds = [row["categories"][suite.leaves] for row in some]
            scores, clusters = [row[protocol] for row in some], [row["cluster"] for row in some]
            made[suite.leaves][name] = rounded(estimate(scores, clusters, kinds, alike))
    return made


def letters(rows: Sequence[Row], protocol: str) -> dict[str, Any]:
    """Letter bias: how often each option letter is given and is true, over multiple-choice answers that name one."""
    pairs = [
        (letter, row["solution"])
        for row in rows
        if row["problem_type"] == "multiple choice"
        and len(letter := row[f"{protocol}_extracted"].strip("()").upper()) == 1
    ]
    if not pairs:
        return {}
    given, true = Counter(letter for letter, _ in pairs), Counter(letter for _, letter in pairs)
    shares = {
        letter: {"given": given[letter] / len(pairs), "true": true[letter] / len(pairs)}
        for letter in sorted({*given, *true})
    }
    gap = sum(abs(share["given"] - share["true"]) for share in shares.values()) / 2
    as_rounded = {letter: {name: _rounded(value) for name, value in share.items()} for letter, share in shares.items()}
    return {"n": len(pairs), "excess": _rounded(gap), "shares": as_rounded}


def controls(rows: Sequence[Row]) -> list[Control]:
    """Scores lost by shuffled frames and without video, by frame cap and group of the suite's `controls_by`.

    All differences are paired: they are over the video questions that have a score on every view of the run, because
    images have no order to shuffle and views may lack different questions.
    """
    by_condition = conditions([row for row in rows if row["data_type"] == "video"])
    made: list[Control] = []
    for condition, ordered in by_condition.items():
        if condition.view != "ordered":
            continue
        views = {"ordered": ordered}
        for view in CONTROL_VIEWS:
            cap = NO_FRAMES if view == "no_video" else condition.frames
            if some := by_condition.get(condition._replace(view=view, frames=cap)):
                views[view] = some
        if len(views) > 1:
            made += _controls(condition, views)
    return made


def _controls(condition: Condition, views: Mapping[str, Sequence[Row]]) -> list[Control]:
    """Controls of one condition, from the rows of each view."""
    suite, protocol = REGISTRY[condition.benchmark], condition.protocol
    by_id = {view: {row["sample_id"]: row for row in scored_by(some, protocol)} for view, some in views.items()}
    common = sorted(set.intersection(*(set(some) for some in by_id.values())))
    made = []
    for group, ids in _by_group(suite, by_id["ordered"], common).items():
        rows = {view: [some[sample_id] for sample_id in ids] for view, some in by_id.items()}
        scores = {view: overall(suite, some, protocol).value for view, some in rows.items()}
        lost = {
            view: rounded(difference(suite, list(zip(rows["ordered"], some, strict=True)), protocol))
            for view, some in rows.items()
            if view != "ordered"
        }
        known = {view: value for view, value in scores.items() if value is not None}
        where = {name: value for name, value in condition._asdict().items() if name != "view"}
        made.append(Control(**where, group=group, n=len(ids), scores=known, lost=lost))
    return made


def _by_group(suite: Suite, rows: Mapping[str, Row], ids: Sequence[str]) -> dict[str, list[str]]:
    """Sample ids by group of the suite's `controls_by`; all under "" where it has none."""
    split: dict[str, list[str]] = defaultdict(list)
    for sample_id in ids:
        group = "" if suite.controls_by is None else rows[sample_id]["categories"].get(suite.controls_by, UNKNOWN)
        split[group].append(sample_id)
    split.pop(UNKNOWN, None)
    return dict(sorted(split.items(), reverse=True))  # "temporal" before "static"


def gains(rows: Sequence[Row]) -> list[Gain]:
    """Knowledge gain of suites that were also asked without their lectures, on the questions scored in both.

    Source: VideoMMMU (arXiv 2501.13826), delta knowledge.
    """
    by_condition = conditions(rows)
    made = []
    for condition, before in by_condition.items():
        suite, protocol = REGISTRY[condition.benchmark], condition.protocol
        if suite.without_lecture is None or condition.subset != suite.without_lecture or condition.view != "ordered":
            continue
        pairs = matched(by_condition.get(condition._replace(subset=""), []), before, protocol)
        first = mean([row for row, _ in pairs], protocol).value
        second = mean([row for _, row in pairs], protocol).value
        if first is None or second is None or second >= 1:
            continue
        gain = round(knowledge_gain(second, first), 6)
        made.append(Gain(condition.benchmark, protocol, condition.frames, second, first, gain, len(pairs)))
    return made


def knowledge_gain(before: float, after: float) -> float:
    """Share of the questions missed before the lecture that are right after it; scores are in [0, 1]."""
    return (after - before) / (1 - before)


def difference(suite: Suite, pairs: Sequence[tuple[Row, Row]], protocol: str) -> Paired:
    """First minus second of pairs of rows about the same sample, by the suite's overall number."""
    first = [row for row, _ in pairs]
    names, weigh = leaves(suite, first)
    clusters = [row["cluster"] for row in first]
    return paired([row[protocol] for row in first], [row[protocol] for _, row in pairs], clusters, names, weigh)


def matched(first: Sequence[Row], second: Sequence[Row], protocol: str) -> list[tuple[Row, Row]]:
    """Rows of the same sample that are scored in both, by sample id."""
    firsts, seconds = ({row["sample_id"]: row for row in scored_by(rows, protocol)} for rows in (first, second))
    return [(firsts[name], seconds[name]) for name in sorted(firsts.keys() & seconds.keys())]


def rounded(number: N) -> N:
    """An estimate or a difference, rounded to six decimals."""
    return number._replace(**{name: _rounded(value) for name, value in number._asdict().items()})


def _share(values: Sequence[float]) -> float | None:
    return _rounded(sum(values) / len(values)) if values else None


def _rounded(value: Any) -> Any:
    return round(float(value), 6) if isinstance(value, float) else value
