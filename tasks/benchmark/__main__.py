"""Benchmark models: `python -m tasks.benchmark run MODEL`, `rescore [MODEL ..]` or `compare MODEL MODEL`.

`run` asks one model of params.models the test split and the public benchmarks; after an interruption the same command
goes on. `rescore` applies the present scoring rules to the answer logs, without generating. `compare` compares two
models question by question.
"""

from __future__ import annotations

import argparse
import difflib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tasks import params, paths
from tasks.benchmark import log, rescore
from tasks.benchmark.aside import ASIDE, set_aside, take_back
from tasks.benchmark.base import Decoding
from tasks.benchmark.compare import compare, lines
from tasks.benchmark.jobs import QuestionSet, open_questions
from tasks.benchmark.run import Answerer, JudgeModel, run
from tasks.benchmark.settings import FrameSampling, Settings
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import Engine, EngineError
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.digests import code_digests, file_digest, work_key
from tasks.core.io.documents import read_json
from tasks.core.io.errors import StageError
from tasks.core.models.load import checkpoint_digest, frame_shape_in, is_endpoint
from tasks.core.schemas.answers import TEST_SPLIT, Numbers, as_json
from tasks.core.video import tell_cache

DECIDING_CORE = ("backbones", "engine", "models", "text", "video")
DECIDING = ("generate", "jobs", "clips")
"""Packages of tasks/core, and modules of this one, whose code decides a completion; a job's key adds the question."""


def main() -> None:
    """Run the command of the first argument."""
    arguments = parse_arguments()
    config = params.load()
    if arguments.command == "run":
        benchmark(config, arguments.model)
    elif arguments.command == "rescore":
        benchmarked = [name for name in config.benchmarked() if paths.metrics("benchmark", name).exists()]
        if not benchmarked and not arguments.models:
            raise StageError(f"no model of {paths.PARAMS} was benchmarked; run `dvc repro benchmark` first")
        for name in arguments.models or benchmarked:
            rescore_model(config, name)
    else:
        compare_models(config, arguments.first, arguments.second)


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(
        prog="python -m tasks.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    running = commands.add_parser("run", help="ask one model what its logs lack")
    running.add_argument("model", help="name of a model in params.models")
    rescoring = commands.add_parser("rescore", help="score old logs by the present rules")
    rescoring.add_argument("models", nargs="*", help="models; all that were benchmarked if none is named")
    comparing = commands.add_parser("compare", help="two models on the same questions")
    comparing.add_argument("first", help="a model")
    comparing.add_argument("second", help="another")
    return parser.parse_args()


def benchmark(config: params.Params, name: str) -> None:
    """Ask one model the questions that its logs lack; write its logs and numbers."""
    folder = folder_of(config, name)
    if name not in config.benchmarked():
        leave_out(config, name)
        return
    take_back(paths.answers(name))
    section = config.benchmark
    with ExitStack() as stack:
        opened: list[Engine] = []

        def engine() -> Engine:
            if not opened:
                opened.append(stack.enter_context(open_engine(model_path=folder, **config.engine.model_dump())))
            return opened[0]

        answerer = Answerer(
            name,
            engine,
            backend="openai" if is_endpoint(folder) else config.engine.backend,
            batch_size=config.engine.batch_size,
            judge=None if section.judge is None else JudgeModel(**section.judge.model_dump()),
        )
        numbers = run(question_sets(config, folder), settings_of(config, folder), paths.answers(name), answerer)
    refuse_all_failed(numbers)
    write_json(paths.metrics("benchmark", name), as_json(numbers))
    report(numbers)
    tell_cache(name)


def leave_out(config: params.Params, name: str) -> None:
    """Ask a model nothing: its numbers have no entries, and answers of earlier runs are kept aside."""
    kept = set_aside(paths.answers(name))
    write_json(paths.metrics("benchmark", name), as_json(Numbers(name, [], [], [], [])))
    earlier = f"; logs of earlier runs are kept in {paths.answers(name) / ASIDE}: {kept}" if kept else ""
    print(f"{name}: not asked, benchmark.models is {', '.join(config.benchmarked())}{earlier}")


def question_sets(config: params.Params, folder: Path) -> list[QuestionSet]:
    """The test split, and the public benchmarks of params.benchmark.suites under each of their protocols.

    `folder` is the model's: the model decides the size of frames.
    """
    section = config.benchmark
    sampling = FrameSampling(**config.video.sampling(), **frame_shape_in(folder)._asdict())
    split = open_questions(
        "pipeline",
        name=TEST_SPLIT,
        annotations=str(paths.INGEST),
        media=None,
        video_r1_file=None,
        subset=None,
        limit=section.rows,
        frames=section.test_frames or [config.video.frames],
        sampling=sampling,
    )
    if (pixels := section.max_pixels) is not None:
        sampling = sampling._replace(max_pixels=pixels, min_pixels=min(sampling.min_pixels, pixels))
    return [
        split,
        *(
            open_questions(
                protocol, **suite.model_dump(exclude={"protocols"}), frames=section.frames, sampling=sampling
            )
            for suite in section.suites
            for protocol in suite.protocols
        ),
    ]


def settings_of(config: params.Params, folder: Path) -> Settings:
    """Settings of all jobs; scoring code is no part of their keys."""
    section, here = config.benchmark, Path(__file__).parent
    config_key = work_key(
        model=model_digest(folder),
        engine=config.engine.deciding(),
        code=code_digests(
            *(here.parent / "core" / name for name in DECIDING_CORE), *(here / f"{name}.py" for name in DECIDING)
        ),
    )
    return Settings(
        config=config_key,
        template=config.prompt.template,
        system=config.prompt.system,
        seed=config.seed,
        views=tuple(section.views),
        decoding=Decoding(**section.sampling.model_dump()),
        official_max_tokens=section.official_max_tokens,
        reward_variant=section.reward_variant,
        decode_workers=config.video.decode_workers,
        disk_cache_gb=config.video.disk_cache_gb,
        read_limit_seconds=config.video.read_limit_seconds,
    )


def refuse_all_failed(numbers: Numbers) -> None:
    """Raise EngineError when the model could be asked no question of the test split."""
    entries = [entry for entry in numbers.entries if entry.benchmark == TEST_SPLIT]
    if entries and not any(entry.answered for entry in entries):
        rows = log.read(log.path_of(paths.answers(numbers.model), TEST_SPLIT, "")).values()
        first = next(row["error"] for row in rows)
        raise EngineError(f"none of {len(rows)} questions could be put to {numbers.model}; first: {first}")


def rescore_model(config: params.Params, name: str) -> None:
    """Apply the present scoring rules to a model's logs and write its new numbers."""
    folder_of(config, name)
    target = paths.metrics("benchmark", name)
    if not target.exists():
        raise StageError(f"{target}: {name} was not benchmarked; run `dvc repro benchmark@{name}` first")
    described: list[dict[str, Any]] = read_json(target).get("question_sets", [])
    numbers = rescore.rescore(paths.answers(name), name, described, config.benchmark.reward_variant)
    write_json(target, as_json(numbers))
    report(numbers)


def compare_models(config: params.Params, first: str, second: str) -> None:
    """Compare two models' logs; print the result, and write it with every changed answer."""
    logs = []
    for name in (first, second):
        folder_of(config, name)
        if not (kept := log.logs_in(paths.answers(name))):
            raise StageError(f"{paths.answers(name)}: no answers of {name}; run `dvc repro benchmark@{name}` first")
        logs.append([row for path in kept for row in log.read(path).values()])
    comparison = compare(logs[0], logs[1], (first, second))
    target = paths.comparison(first, second)
    write_json(target, comparison)
    print("\n".join(lines(comparison)))
    print(f"\nevery changed answer: {target}")


def folder_of(config: params.Params, name: str) -> Path:
    """Checkpoint folder of a model.

    Raises:
        StageError: the name is not in params.models.
    """
    if name in config.models:
        return Path(config.models[name])
    near = difflib.get_close_matches(name, config.models, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; models: {', '.join(config.models)}"
    raise StageError(f"{paths.PARAMS}: no model '{name}'{hint}")


def model_digest(folder: Path) -> str:
    """Digest of a model's folder, or of its endpoint file."""
    if not is_endpoint(folder):
        return checkpoint_digest(folder)
    if not folder.is_file():
        raise StageError(f"{folder}: no such endpoint file")
    return file_digest(folder)


def report(numbers: Numbers) -> None:
    """Print one line per entry."""
    for entry in numbers.entries:
        share = "-" if entry.overall.value is None else f"{100 * entry.overall.value:.1f} %"
        subset = f" {entry.subset}" if entry.subset else ""
        frames = f", {entry.frames} frames" if entry.frames else ""
        print(
            f"{numbers.model} {entry.benchmark}{subset} {entry.protocol}{frames}, {entry.view}: {share} of "
            f"{entry.scored} scored, {entry.rows - entry.answered} errors"
        )


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
