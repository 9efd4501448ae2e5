"""Benchmark runs on the trees of `benchmark_trees`, with a fake engine."""

from tasks.benchmark.base import Decoding
from tasks.benchmark.jobs import open_questions
from tasks.benchmark.run import Answerer, run
from tasks.benchmark.settings import FrameSampling, Settings
from tests.support.benchmark_trees import SUITES, LetterEngine, runs

SAMPLING = FrameSampling(16, 2.0, 4, 3136, 3136)


def settings(**changes):
    base = Settings(
        config="c",
        template="video_r1",
        system="You are a helpful assistant.",
        seed=1,
        views=("ordered", "shuffled", "no_video"),
        decoding=Decoding(0.1, 0.001, 1024),
        official_max_tokens=None,
    )
    return base._replace(**changes)


def opened(tree, names=SUITES, change=None, frames=(16, 32), sampling=SAMPLING):
    """Question sets of the trees below `tree`, under both protocols."""
    return [
        open_questions(
            protocol,
            **{name: value for name, value in fields.items() if name != "protocols"},
            frames=frames,
            sampling=sampling,
        )
        for fields in runs(tree / "annotations", tree / "media", names, **(change or {}))
        for protocol in fields["protocols"]
    ]


def benchmark(sets, folder, engine=None, judge=None, model="m", **changes):
    """(numbers, the engine) of a run of question sets."""
    engine = engine or LetterEngine()
    answerer = Answerer(model, lambda: engine, backend="vllm", batch_size=8, judge=judge)
    return run(sets, settings(**changes), folder, answerer), engine
