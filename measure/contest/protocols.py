"""What a contest asks: of which methods, from which starts, and by what its values are chosen.

wide: every method but own answers, from five starts; values by pair accuracy alone. In reports/contest/.

confirm: the method that gained most there, with its placebo and plain GRPO, from starts and seeds that no run of the
wide one saw; values must spare static questions. In reports/contest/confirm/.

consolidated: from starts that answer hardly a pair right, so that RL has few right completions to pay; the others'
values. In reports/contest/consolidated/.

own_answers: reversed pairs learned without a teacher, from the start's own right answers, from the starts of the
confirming one; the others' values, and one of its own. In reports/contest/own_answers/.

rules: rules of RL that pay for time beside plain GRPO and ours' placebo, from the same starts and on the same seeds.
In reports/contest/rules/.

born: from a start without a shortcut, by RL on rows that have one. In reports/contest/born/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from measure.contest.methods import METHODS, Counts
from measure.contest.starts import Start, is_made
from tasks import paths
from tasks.core.io.errors import StageError

OUT = paths.REPORTS / "contest"


class Room(NamedTuple):
    """Which starts are judged, by their row of starts.csv."""

    least: float
    """Pair accuracy before RL: below it a start reads its shortcut alone."""
    most: float
    """Above it there is little to free."""
    judged: int
    """So many that qualify are judged, the first of the protocol's list."""


class Protocol(NamedTuple):
    """A contest that was fixed before its runs; its text is protocol.md in `folder`."""

    name: str
    folder: Path
    tuning: tuple[Start, ...]
    """Values are chosen on these alone; they are not judged."""
    starts: tuple[Start, ...]
    """In the order in which they are made and run."""
    methods: tuple[str, ...]
    first_seed: int = 0
    room: Room | None = None
    """None: every start that is made."""
    allowed_loss: float | None = None
    """Static questions on moving clips that a value may lose against the tuning starts, as a share; None: any."""
    seeds: int = 4
    """Seeds of a start, if the command line says no other number; methods that do not lead take half of them."""
    counts: Counts = Counts()
    chosen: Path | None = None
    """chosen.json of the protocol whose values are taken; None: its own."""


WIDE_STARTS = (
    Start(0.75, "colour", "caption", 1),
    Start(0.9, "side", "caption", 11),
    Start(0.85, "colour", "caption", 7),
    Start(0.97, "side", "caption", 12),
    Start(0.99, "background", "caption", 32),  # a shortcut that no tuning has seen
    Start(0.88, "colour", "caption", 4),  # consolidated, as the next three: hardly a pair is right before RL
    Start(0.92, "colour", "caption", 5),
    Start(0.97, "colour", "caption", 2),
    Start(0.97, "colour", "reason", 20),
    Start(0.93, "background", "caption", 31),  # hardly a shortcut, as the next ones: RL may bring it up
    Start(0.8, "background", "caption", 30),
    Start(0.5, "colour", "caption", 0),
    Start(0.6, "colour", "caption", 900),
    Start(0.8, "side", "caption", 10),
    Start(0.995, "side", "caption", 13),
    Start(0.97, "colour", "sft", 70),
)
UNBIASED = Start(0.0, "colour", "caption", 40)
"""RL on biased data may bring the shortcut up here."""
CONFIRM_STARTS = (
    Start(0.8, "colour", "caption", 51),
    Start(0.95, "side", "caption", 52),
    Start(0.997, "background", "caption", 53),
    Start(0.85, "colour", "caption", 54),
    Start(0.97, "side", "caption", 55),
    Start(0.75, "colour", "caption", 56),
    Start(0.9, "side", "caption", 57),
    Start(0.995, "background", "caption", 58),
    Start(0.85, "colour", "caption", 59),
    Start(0.97, "side", "caption", 60),
)
WIDE_METHODS = tuple(name for name, method in METHODS.items() if not method.own_answers)
"""Own answers came up after its runs, with a protocol of their own."""
RULES = ("grpo", "exchange", "permuted", "tgrpo", "arrow")
BORN = ("grpo", "grpo_pairs", "exchange")
PROTOCOLS = {
    "wide": Protocol("wide", OUT, (Start(0.85, "colour", "caption", 3),), (*WIDE_STARTS, UNBIASED), WIDE_METHODS),
    "confirm": Protocol(
        "confirm",
        OUT / "confirm",
        (Start(0.85, "colour", "caption", 3), Start(0.75, "colour", "caption", 1), Start(0.9, "side", "caption", 11)),
        CONFIRM_STARTS,
        ("grpo", "sft_pairs", "sft_twice"),
        first_seed=10,
        room=Room(0.1, 0.9, 5),
        allowed_loss=0.01,
    ),
    "consolidated": Protocol(
        "consolidated",
        OUT / "consolidated",
        (),
        WIDE_STARTS[5:9],
        ("grpo", "grpo_pairs", "sft_pairs", "sft_twice", "rft_pairs", "rft_twice"),
        room=Room(0.0, 0.1, 2),
        seeds=2,
        counts=Counts(leading=4, others=4, starts=2),
        chosen=OUT / "own_answers" / "chosen.json",
    ),
    "own_answers": Protocol(
        "own_answers",
        OUT / "own_answers",
        (),
        CONFIRM_STARTS,
        ("grpo", "sft_pairs", "rft_pairs", "rft_twice"),
        first_seed=12,
        room=Room(0.1, 0.9, 4),
        seeds=2,
        counts=Counts(leading=8, others=8, starts=4),
        chosen=OUT / "own_answers" / "chosen.json",
    ),
    "rules": Protocol(
        "rules",
        OUT / "rules",
        (),
        CONFIRM_STARTS,
        RULES,
        first_seed=12,
        room=Room(0.1, 0.9, 4),
        seeds=2,
        counts=Counts(leading=8, starts=4, leaders=RULES),
        chosen=OUT / "rules" / "chosen.json",
    ),
    "born": Protocol(
        "born",
        OUT / "born",
        (),
        (UNBIASED,),
        BORN,
        seeds=2,
        counts=Counts(leading=2, starts=1, leaders=BORN),
        chosen=OUT / "chosen.json",
    ),
}


def command(protocol: Protocol, step: str) -> str:
    """What a user types for a step of a protocol."""
    return f"`python -m measure.contest {step} --protocol {protocol.name}`"


def named(protocol: Protocol, names: Sequence[str] | None) -> list[Start]:
    """Starts of these names, all where None.

    Raises:
        StageError: lists the starts there are.
    """
    known = {start.name: start for start in (*protocol.tuning, *protocol.starts)}
    if unknown := [name for name in names or () if name not in known]:
        raise StageError(f"no start {', '.join(unknown)}; starts: {', '.join(known)}")
    return list(known.values()) if names is None else [known[name] for name in names]


def ready(protocol: Protocol, names: Sequence[str] | None, scores: Sequence[Mapping[str, Any]]) -> list[Start]:
    """Starts that are contested: those named, else those judged by their rows of starts.csv, else those that are made.

    Raises:
        StageError: a named one serves tuning, one is not made, or none is; names the command that makes them.
    """
    chosen = [start for start in named(protocol, names) if start not in protocol.tuning]
    if names is not None and len(chosen) < len(names):
        tuning = ", ".join(start.name for start in protocol.tuning)
        raise StageError(f"{tuning}: values are chosen on it; it is not contested")
    if names is None and protocol.room is not None:
        chosen = qualified(protocol, protocol.room, scores)
    made = [start for start in chosen if is_made(start)]
    whichever = names is None and protocol.room is None
    if not made or (len(made) < len(chosen) and not whichever):
        missing = ", ".join(start.name for start in chosen if start not in made)
        raise StageError(f"not made: {missing}; {command(protocol, 'starts')} makes them")
    return made


def wanted(protocol: Protocol, start: Start, scores: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a start has to be made: it serves tuning or is judged, or rows of starts.csv do not tell yet."""
    if protocol.room is None or start in protocol.tuning:
        return True
    judged = _judged(protocol, protocol.room, scores)
    scored = any(row["start"] == start.name for row in scores)
    return start in judged if scored else len(judged) < protocol.room.judged


def qualified(protocol: Protocol, room: Room, scores: Sequence[Mapping[str, Any]]) -> list[Start]:
    """The first `room.judged` starts of the protocol whose pair accuracy before RL lies within `room`.

    Raises:
        StageError: there are fewer.
    """
    judged = _judged(protocol, room, scores)
    if len(judged) < room.judged:
        raise StageError(
            f"{len(judged)} of {room.judged} starts have a pair accuracy of {room.least} to {room.most} before RL; "
            f"{command(protocol, 'starts')} makes more, while its list has any"
        )
    return judged


def _judged(protocol: Protocol, room: Room, scores: Sequence[Mapping[str, Any]]) -> list[Start]:
    pairs = {row["start"]: float(row["pair_accuracy"]) for row in scores}
    within = [start for start in protocol.starts if room.least <= pairs.get(start.name, -1.0) <= room.most]
    return within[: room.judged]
