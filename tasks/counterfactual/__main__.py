"""Pairs from your clips: `python -m tasks.counterfactual records.json --media-root clips --out data/raw/pairs`.

For every question about a video whose answer a rule tells (`mapping.py`) its clip is written twice, as it is and
reversed or mirrored, both sampled and encoded alike, so that nothing but the change tells them apart. Written below
`--out`:

    records.json    both members of every pair, in Video-R1's format: a source for RL, or for the benchmark
    pairs.json      problem ids of the two members, kind and relation (change, stay, question)
    refused.json    the questions that no rule maps, with the reason

`python -m tasks.counterfactual score predictions.jsonl --out data/raw/pairs` then tells pair accuracy: a row counts
when both members are right. Predictions are JSON lines of `problem_id` and `completion`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from tasks import params
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number, whole_number
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.rows import read_rows
from tasks.core.rewards import accuracy
from tasks.core.schemas.mapping import KINDS, mapped
from tasks.core.schemas.parsing import RecordError, parse_record
from tasks.core.schemas.records import Record
from tasks.core.stats import estimate
from tasks.core.video import Clip, ReadClip, VideoError, open_clip
from tasks.core.video.perturb import perturb
from tasks.core.world.render import write_clip

PERTURBATION = {"reversed": "reverse", "mirrored": "mirror"}
PAIRS, RECORDS, REFUSED = "pairs.json", "records.json", "refused.json"
RIGHT_ABOVE = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Make pairs, or score predictions on them."""
    chosen = parse(arguments)
    if chosen.command == "score":
        if not chosen.file.is_file():
            raise StageError(f"{chosen.file}: no such file of predictions")
        scores = score(read_jsonl(chosen.file), chosen.out)
        for relation, numbers in scores.items():
            value, low, high = (f"{100 * number:.1f}" for number in (numbers.value, numbers.low, numbers.high))
            print(f"{relation:<9} {value} % of {numbers.n} pairs ({low} to {high})")
        return 0
    config = params.load()
    sampling = config.video.opening() | {"frames": chosen.frames, "fps": chosen.fps}
    records = _records(chosen.file, chosen.media_root)
    pairs, refused = make(records, chosen.kinds, partial(open_clip, **sampling), chosen.out)
    print(f"counterfactual: {len(pairs)} pairs, {sum(refused.values())} refused -> {chosen.out}")
    for reason, count in refused.most_common():
        print(f"  {count} x {reason}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line; `make` may be left out."""
    parser = OneLineParser(prog="python -m tasks.counterfactual", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="+", metavar="[make|score] FILE", help="a record file, or predictions to score")
    parser.add_argument("--media-root", type=Path, default=Path(), help="folder that record paths start from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pairs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--frames", type=whole_number(2), default=64, help="most frames of a written clip; even")
    parser.add_argument("--fps", type=real_number(above=0), default=8.0, help="rate aimed at")
    chosen = parser.parse_args(arguments)
    *command, file = chosen.words
    if command not in ([], ["make"], ["score"]) or file in ("make", "score"):
        parser.error(f"{' '.join(chosen.words)}: say `make FILE` or `score FILE`")
    chosen.command, chosen.file = (command or ["make"])[0], Path(file)
    return chosen


def make(
    records: Sequence[Record], kinds: Sequence[str], read: ReadClip, out: Path
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Write clips, records and pairs; returns the pairs and how many questions were refused, by reason.

    Raises:
        StageError: `out` can be no folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StageError(f"--out {out}: {error.filename} is no folder") from None
    written: list[Record] = []
    pairs: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for record in records:
        for kind in kinds:
            changed = mapped(record, kind)
            if not isinstance(changed, str):
                try:
                    clip = read(record.path, record.data_type)
                    members = _write(clip, record, changed.record, kind, out, first=len(written))
                except (VideoError, ValueError) as error:
                    changed = getattr(error, "reason", str(error))
                else:
                    written += members
                    ids = {"forward": members[0].problem_id, "changed": members[1].problem_id}
                    pairs.append({**ids, "kind": kind, "relation": changed.relation, "source": record.problem_id})
                    continue
            refused.append({"problem_id": record.problem_id, "kind": kind, "reason": changed})
    write_json(out / RECORDS, [_raw(record) for record in written])
    write_json(out / PAIRS, pairs)
    write_json(out / REFUSED, refused)
    return pairs, Counter(row["reason"] for row in refused)


def score(predictions: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Pair accuracy by relation and over all, with intervals clustered by the question that a pair was made of.

    Raises:
        StageError: no pairs there, or a prediction is missing or none.
    """
    if not (folder / PAIRS).exists():
        raise StageError(f"{folder}: no {PAIRS}; make pairs first")
    if not (pairs := json.loads((folder / PAIRS).read_text())):
        raise StageError(f"{folder / PAIRS}: no pair to score")
    records = {row["problem_id"]: row for row in json.loads((folder / RECORDS).read_text())}
    completions = {}
    for number, row in enumerate(predictions, start=1):
        if not isinstance(row.get("problem_id"), int) or not isinstance(row.get("completion"), str):
            raise StageError(f"prediction {number}: problem_id as a number and completion as text are wanted")
        completions[row["problem_id"]] = row["completion"]
    if missing := sorted(records.keys() - completions.keys()):
        raise StageError(f"{len(missing)} predictions are missing, the first is of problem_id {missing[0]}")
    right = {
        number: accuracy(row["problem_type"], completions[number], row["solution"]).value > RIGHT_ABOVE
        for number, row in records.items()
    }
    scores = {}
    for relation in ("all", *sorted({pair["relation"] for pair in pairs})):
        some = [pair for pair in pairs if relation in ("all", pair["relation"])]
        values = [float(right[pair["forward"]] and right[pair["changed"]]) for pair in some]
        scores[relation] = estimate(values, [str(pair["source"]) for pair in some])
    return scores


def _write(clip: Clip, record: Record, changed: Record, kind: str, out: Path, *, first: int) -> list[Record]:
    """Both clips of a pair and their records; ids count up from `first`."""
    rate = Fraction(clip.sample_fps).limit_denominator(1000)
    members = []
    sides = (("forward", clip, record), (kind, perturb(clip, PERTURBATION[kind]), changed))
    for number, (name, shown, question) in enumerate(sides, start=first):
        file = f"{number:07d}-{name}.mp4"
        write_clip(out / file, shown.frames, rate)
        members.append(dataclasses.replace(question, problem_id=number, path=f"./{file}"))
    return members


def _raw(record: Record) -> dict[str, Any]:
    fields = ("problem_id", "problem", "data_type", "problem_type", "options", "process", "solution", "path")
    return {name: getattr(record, name) for name in fields} | {"data_source": record.data_source or "counterfactual"}


def _records(path: Path, media_root: Path) -> list[Record]:
    records = []
    for row in read_rows(path):
        try:
            if row.fault:
                raise RecordError(f"{path} row {row.row}", "row", row.fault)
            record = parse_record(row.value, f"{path} row {row.row}")
        except RecordError as error:
            print(f"counterfactual: {error}")
            continue
        records.append(dataclasses.replace(record, path=str(media_root / record.path)))
    return records


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
