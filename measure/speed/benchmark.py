"""How long the public benchmarks take at full size without a model: `python -m measure.speed.benchmark`.

1. Annotation of the published size (7,540 TempCompass, 5,130 VSI-Bench and 4,000 MVBench rows, synthetic text) is
   read, recorded answers are scored under both protocols, and the report's tables and charts are rendered.
2. A log of 100,000 answers is rescored in place.

Prints wall and processor seconds of each step.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.benchmark import log, totals
from tasks.benchmark.base import Annotations, Decoding
from tasks.benchmark.generate import row_of
from tasks.benchmark.jobs import Job, QuestionSet
from tasks.benchmark.marking import scored
from tasks.benchmark.protocols import PROTOCOLS
from tasks.benchmark.provenance import describe
from tasks.benchmark.rescore import rescore
from tasks.benchmark.settings import FrameSampling, Settings
from tasks.benchmark.suites import REGISTRY, mvbench, tempcompass, vsi_bench
from tasks.core.engine.types import Completion
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.report.public import frame_charts, public_tables
from tasks.report.tables import as_markdown

ROWS = 100_000
WORDS = [
    "the",
    "person",
    "moves",
    "slowly",
    "from",
    "left",
    "to",
    "right",
    "while",
    "another",
    "object",
    "stays",
    "near",
    "a",
    "table",
    "in",
    "front",
    "of",
    "the",
    "camera",
]


@contextmanager
def clock(name: str) -> Iterator[None]:
    """Print what a step took."""
    wall, used = time.monotonic(), time.process_time()
    yield
    print(f"{name:<58} {time.monotonic() - wall:7.2f} s wall {time.process_time() - used:7.2f} s processor")


def sentence(draw: random.Random, words: int = 14) -> str:
    """Random words."""
    return " ".join(draw.choice(WORDS) for _ in range(words))


def make_tempcompass(folder: Path, draw: random.Random) -> None:
    """Annotation files of the published size, synthetic text."""
    (folder / "questions").mkdir(parents=True)
    videos = [f"{1000 + i // 2}{'_reverse' if i % 2 else ''}" for i in range(410)]
    about = {video: {"eval_dim": {a: {"type": "object motion"} for a in tempcompass.ASPECTS}} for video in videos}
    (folder / "meta_info.json").write_text(json.dumps(about))
    for task, total in REGISTRY["tempcompass"].counts[""].items():
        tree: dict = {}
        for number in range(total):
            options = [f"{letter}. {sentence(draw, 5)}" for letter in "ABCD"]
            if task == "caption_matching":
                options = [f"Caption {letter}: {sentence(draw, 8)}" for letter in "AB"]
            question = (
                "\n".join([sentence(draw), *options])
                if task in ("multi-choice", "caption_matching")
                else sentence(draw)
            )
            answer = draw.choice(["yes", "no"]) if task == "yes_no" else draw.choice(options)
            aspects = tree.setdefault(videos[number % len(videos)], {})
            aspects.setdefault(tempcompass.ASPECTS[number % 5], []).append({"question": question, "answer": answer})
        (folder / "questions" / f"{task}.json").write_text(json.dumps(tree))


def make_vsi_bench(folder: Path, draw: random.Random) -> None:
    """Annotation files of the published size, synthetic text."""
    folder.mkdir(parents=True)
    lines, number = [], 0
    for kind, total in REGISTRY["vsi_bench"].counts[""].items():
        for _ in range(total):
            options = [f"{letter}. {sentence(draw, 3)}" for letter in "ABCD"] if kind in vsi_bench.CHOICE else None
            truth = draw.choice("ABCD") if options else str(draw.randint(1, 200) / 10)
            row = {"id": number, "dataset": "scannet", "scene_name": f"scene{number % 288:04d}", "question_type": kind}
            lines.append(json.dumps(row | {"question": sentence(draw, 30), "ground_truth": truth, "options": options}))
            number += 1
    (folder / "test.jsonl").write_text("\n".join(lines))


def make_mvbench(folder: Path, draw: random.Random) -> None:
    """Annotation files of the published size, synthetic text."""
    (folder / "json").mkdir(parents=True)
    for task in mvbench.FOLDERS:
        rows = []
        for number in range(200):
            options = [f"{sentence(draw, 5)} {i}" for i in range(4)]
            row = {"video": f"{number}.mp4", "question": sentence(draw), "candidates": options}
            rows.append(row | {"answer": draw.choice(options), "start": 0.0, "end": 9.5})
        (folder / "json" / f"{task}.json").write_text(json.dumps(rows))


MAKERS = {"tempcompass": make_tempcompass, "vsi_bench": make_vsi_bench, "mvbench": make_mvbench}
SETTINGS = Settings("c", "video_r1", "s", 0, ("ordered",), Decoding(0.1, 0.001, 1024), None)


def question_sets(name: str, annotations: Annotations, root: Path) -> list[QuestionSet]:
    """A suite under both of its protocols."""
    sampling = FrameSampling(16, 2.0, 4, 3136, 3136)
    return [
        QuestionSet(REGISTRY[name], PROTOCOLS[protocol], "", annotations, 0, root, (16,), sampling)
        for protocol in REGISTRY[name].protocols
    ]


def completion(draw: random.Random) -> Completion:
    """A recorded completion: a reasoned letter or number."""
    answer = draw.choice(["A", "B", "C", "D", "yes", "no", "3.5", "Caption A"])
    return Completion(f"<think>{sentence(draw, 40)}</think><answer>{answer}</answer>", [1] * 60)


def recorded(sets: list[QuestionSet], draw: random.Random) -> list[dict[str, Any]]:
    """Log rows of one answer to each question."""
    rows = []
    for questions in sets:
        for sample in questions.annotations.samples:
            wording = questions.protocol.word(questions.suite, sample, SETTINGS)
            key = f"{questions.protocol.name}/{sample.sample_id}"
            job = Job(questions, sample, 16, "ordered", None, wording, key)
            rows.append(row_of(job, None, None, completion(draw), "") | {"model": "m"})
    return rows


def main() -> None:
    """Measure both."""
    OneLineParser(
        prog="python -m measure.speed.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name, make in MAKERS.items():
            make(root / name, draw)
        with clock("1. read annotations of three benchmarks"):
            read = {name: REGISTRY[name].read(root / name, None) for name in MAKERS}
        print(
            {name: len(each.samples) for name, each in read.items()},
            "faults",
            sum(len(r.faults) for r in read.values()),
        )
        sets = {name: question_sets(name, annotations, root) for name, annotations in read.items()}
        raw = {name: recorded(each, draw) for name, each in sets.items()}
        with clock(f"   score {sum(map(len, raw.values()))} recorded answers by both scorers"):
            rows = {name: [scored(row, "robust") for row in some] for name, some in raw.items()}
        described = [describe(each, SETTINGS, "vllm", None, 0) for some in sets.values() for each in some]
        with clock("   numbers, intervals and groups"):
            numbers = totals.numbers("m", rows.values(), described)
        with clock("   tables and charts"):
            text = "".join(as_markdown(table) for table in public_tables({"m": numbers}, ["m"], 16))
            frame_charts({"m": numbers}, ["m"])
        print(f"   {len(text)} characters of tables")
        folder = root / "logs"
        for name, some in rows.items():
            copies = -(-ROWS // sum(map(len, rows.values())))
            many = (row | {"key": f"{copy}/{row['key']}"} for copy in range(copies) for row in some)
            log.settle(folder / f"{name}.jsonl", many)
        total = sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))
        with clock(f"2. rescore {total} answers in place"):
            rescore(folder, "m", described, "robust")


if __name__ == "__main__":
    run_tool(main)
