"""How long the public benchmarks take at full size without a model: `python -m tests.support.benchmark_scale`.

1. Annotation of the published size (7,540 TempCompass, 5,130 VSI-Bench and 4,000 MVBench rows, synthetic text) is
   read, recorded answers are scored under both protocols, and the report's tables and charts are rendered.
2. A log of 100,000 answers is rescored in place.

Prints wall and processor seconds of each step.
"""

import json
import random
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tasks.benchmark.media import Sampling
from tasks.benchmark.suite_run import summary
from tasks.benchmark.suites.base import Decoding
from tasks.report.suites import frame_charts, suite_tables

from tasks.benchmark import suite_log
from tasks.benchmark.generate import row_of
from tasks.benchmark.jobs import Job, Settings, Source, ask_of
from tasks.benchmark.marking import scored
from tasks.benchmark.provenance import describe
from tasks.benchmark.rescore import rescore_suites
from tasks.benchmark.suites import REGISTRY, mvbench, tempcompass, vsi_bench
from tasks.core.engine.base import Completion
from tasks.report.tables import as_markdown

NAMES = ("tempcompass", "vsi_bench", "mvbench")
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
def clock(name: str):
    """Print what a step took."""
    wall, used = time.monotonic(), time.process_time()
    yield
    print(f"{name:<58} {time.monotonic() - wall:7.2f} s wall {time.process_time() - used:7.2f} s processor")


def sentence(draw: random.Random, words: int = 14) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def make_tempcompass(folder: Path, draw: random.Random) -> None:
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
    (folder / "json").mkdir(parents=True)
    for task in mvbench.FOLDERS:
        rows = []
        for number in range(200):
            options = [f"{sentence(draw, 5)} {i}" for i in range(4)]
            row = {"video": f"{number}.mp4", "question": sentence(draw), "candidates": options}
            rows.append(row | {"answer": draw.choice(options), "start": 0.0, "end": 9.5})
        (folder / "json" / f"{task}.json").write_text(json.dumps(rows))


def settings() -> Settings:
    sampling = Sampling(16, 2.0, 4, 3136, 3136)
    return Settings("c", "video_r1", "s", 0, ("ordered",), (16,), sampling, Decoding(0.1, 0.001, 1024), None)


def answer(draw: random.Random) -> str:
    """A recorded answer: a reasoned letter or number."""
    said = draw.choice(["A", "B", "C", "D", "yes", "no", "3.5", "Caption A"])
    return f"<think>{sentence(draw, 40)}</think><answer>{said}</answer>"


def recorded(sources: list[Source], draw: random.Random) -> list[dict]:
    shared, rows = settings(), []
    for source in sources:
        for sample in source.annotations.samples:
            key = f"{source.protocol}/{sample.sample_id}"
            job = Job(source, sample, 16, "ordered", None, ask_of(source, sample, shared), key)
            rows.append(row_of(job, None, None, Completion(answer(draw), [1] * 60), "", 0.1))
    return rows


def main() -> None:
    """Measure both."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in NAMES:
            globals()[f"make_{name}"](root / name, draw)
        with clock("1. read annotations of three benchmarks"):
            found = {name: REGISTRY[name].read(root / name, None) for name in NAMES}
        print(
            {name: len(one.samples) for name, one in found.items()},
            "faults",
            sum(len(f.faults) for f in found.values()),
        )
        both = {
            name: [Source(REGISTRY[name], protocol, one, 0, root, "") for protocol in ("official", "video_r1")]
            for name, one in found.items()
        }
        raw = {name: recorded(sources, draw) for name, sources in both.items()}
        with clock(f"   score {sum(map(len, raw.values()))} recorded answers by both scorers"):
            rows = {name: [scored(row) for row in some] for name, some in raw.items()}
        with clock("   numbers, intervals and groups"):
            parts = [summary(some) for some in rows.values()]
        about = [describe(one, settings(), "vllm", None, 0) for sources in both.values() for one in sources]
        numbers = {"entries": [e for part in parts for e in part["entries"]], "controls": [], "sources": about}
        with clock("   tables and charts"):
            text = "".join(as_markdown(table) for table in suite_tables({"m": numbers}, ["m"]))
            frame_charts({"m": numbers}, ["m"])
        print(f"   {len(text)} characters of tables")
        folder = root / "logs"
        for name, some in raw.items():
            copies = -(-ROWS // sum(map(len, raw.values())))
            many = (row | {"key": f"{copy}/{row['key']}"} for copy in range(copies) for row in some)
            suite_log.settle(folder / f"{name}.jsonl", many)
        total = sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))
        with clock(f"2. rescore {total} answers in place"):
            rescore_suites(folder, "m", about)


if __name__ == "__main__":
    main()
