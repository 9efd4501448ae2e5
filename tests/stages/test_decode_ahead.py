"""Stages with clips decoded ahead: what comes out is what comes out without, whatever becomes of the clips."""

import json
import shutil
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from torch.utils.data import BatchSampler
from transformers import TrainerCallback
from trl.trainer.utils import RepeatSampler

from tasks import paths
from tasks.annotate import __main__ as annotate
from tasks.benchmark import __main__ as benchmark
from tasks.benchmark import log
from tasks.core.train.clips import ClipStore
from tasks.core.video import VideoError
from tasks.core.video import open as open_module
from tasks.grpo import collect
from tasks.grpo import trainer as trainer_module
from tasks.grpo.data import drawn, schedule
from tasks.grpo.stop import StoppedError, StopRequest
from tasks.params import Sft
from tasks.sft.data import AnnouncedOrder
from tests.support import benchmark_runs
from tests.support import benchmark_trees as trees
from tests.support.grpo_stage import RECORDS, Stage, parity_score, record, settings
from tests.support.infer_project import FakeEngine, make_project
from tests.support.sft_stage import RECORDS as SFT_RECORDS
from tests.support.sft_stage import Stage as SftStage
from tests.support.sft_stage import record as sft_record


@pytest.fixture
def scored_by_parity(monkeypatch):
    monkeypatch.setattr(collect, "score_group", parity_score)


def entries(result):
    return [entry for entry in result.trainer.state.log_history if "loss" in entry]


class AfterStep(TrainerCallback):
    """Calls `act(step)` at the end of each."""

    def __init__(self, act):
        self.act = act

    def on_step_end(self, args, state, control, **_):
        self.act(state.global_step)


def acting(monkeypatch, act):
    made = trainer_module.VideoGRPOTrainer.__init__

    def init(self, **kwargs):
        made(self, **{**kwargs, "callbacks": [AfterStep(act), *kwargs["callbacks"]]})

    monkeypatch.setattr(trainer_module.VideoGRPOTrainer, "__init__", init)


# The store.


def test_expected_clips_are_given_once_decoded_and_errors_where_they_are_used(make_clip):
    read = []

    def reader(path, data_type):
        read.append(path)
        if path == "broken":
            raise VideoError(path, "torn")
        return make_clip(frames=2, seed=ord(path))

    with ClipStore(reader, 1.0, workers=2) as store:
        store.expect([("a", "video"), ("broken", "video"), ("b", "video"), ("a", "video")])
        assert store.get("a", "video") is store.get("a", "video")
        assert (store.get("b", "video").frames == make_clip(frames=2, seed=ord("b")).frames).all()
        for _ in range(2):
            with pytest.raises(VideoError, match="torn"):
                store.get("broken", "video")
        seen = len(read)
        store.expect([("a", "video"), ("broken", "video")])
        assert store.get("a", "video") is not None
    assert len(read) == seen and read.count("a") == read.count("b") == 1


def test_a_clip_held_and_expected_outlives_one_held_only(make_clip):
    read = []

    def reader(path, data_type):
        read.append(path)
        return make_clip(frames=2)

    size = make_clip(frames=2).frames.nbytes
    with ClipStore(reader, 4 / 3 * 2.5 * size / 2**30, workers=1) as store:
        for path in "ab":
            store.get(path, "video")
        store.expect([("a", "video"), ("c", "video")])
        for path in "ca":
            store.get(path, "video")
    assert sorted(read) == ["a", "b", "c"], "c pushed out b, not a, which was used longest ago"


# GRPO.


@pytest.mark.parametrize(
    ("processes", "group", "ranks", "prompts"),
    [(1, 4, 1, 2), (2, 4, 1, 1), (2, 4, 2, 1), (4, 4, 2, 3), (3, 2, 1, 2)],
    ids=["one", "two", "a group on two", "groups straddle", "three"],
)
def test_the_prompts_expected_are_those_that_trl_deals(processes, group, ranks, prompts):
    steps, rows = 5, prompts * group // ranks
    slots = rows * processes // group
    order = schedule(7, steps * slots, seed=1)
    for process in range(processes):
        dealt = RepeatSampler(range(len(order)), group, batch_size=slots, shuffle=False)
        batches = BatchSamplerShard(BatchSampler(dealt, rows, False), processes, process)
        for step, batch in enumerate(batches, start=1):
            expected = [order[slot] for slot in dict.fromkeys(batch)]
            assert drawn(order, step, process * rows, rows, group, processes) == expected
        assert step == steps
        assert drawn(order, steps + 1, process * rows, rows, group, processes) == []


@pytest.mark.parametrize(
    "changes", [{}, {"refill": 1, "micro_batch": 4}], ids=["plain", "prompts replaced, micro-batches"]
)
def test_grpo_learns_the_same_with_workers(tiny_model, make_clip, tmp_path, scored_by_parity, changes):
    runs = []
    for workers in (0, 2):
        stage = Stage(tiny_model, make_clip, [*RECORDS, record(9, path="broken")], workers=workers)
        work = tmp_path / str(workers)
        with stage.clips:
            result = stage.train(work, settings(**changes))
        logged = [pq.read_table(path).to_pylist() for path in sorted((work / "rollouts").glob("*.parquet"))]
        losses = [(entry["loss"], entry["grad_norm"], entry["skipped"]) for entry in entries(result)]
        runs.append((losses, logged, stage.skipped, [value.clone() for value in stage.model.state_dict().values()]))
    plain, ahead = runs
    assert plain[:3] == ahead[:3] and len(plain[0]) == 4
    assert all(torch.equal(one, other) for one, other in zip(plain[3], ahead[3], strict=True))
    assert plain[2] and not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_a_clip_that_vanishes_mid_run_costs_its_prompt(tiny_model, make_clip, tmp_path, monkeypatch, scored_by_parity):
    """Gone after step 3; what was decoded for step 4 by then may still be used, later steps lose it."""
    order = schedule(len(RECORDS), 12, 3)
    lost = next(index for index in order[8:] if index not in order[6:8])
    stage = Stage(tiny_model, make_clip, workers=2)
    acting(monkeypatch, lambda step: step == 3 and stage.gone.add(RECORDS[lost].path))
    with stage.clips:
        result = stage.train(tmp_path, settings(steps=6, save_steps=6))
    skipped = [entry["skipped"] for entry in entries(result)]
    assert skipped == [0.0] * 4 + [order[at : at + 2].count(lost) / 2 for at in (8, 10)]
    assert {path for path, _ in stage.skipped} == {RECORDS[lost].path} and sum(skipped) > 0


def test_a_broken_clip_that_is_decoded_ahead_and_never_used_is_not_reported(
    tiny_model, make_clip, tmp_path, monkeypatch, scored_by_parity
):
    """Stopped after step 1: the clip of step 2 was tried and is nobody's loss yet."""
    order = schedule(2, 2, 3)
    stage = Stage(
        tiny_model, make_clip, [record(n, path="broken" if n == order[1] else None) for n in (0, 1)], workers=1
    )
    tried = threading.Event()
    inner = stage.clips._ahead._read

    def read(medium):
        try:
            return inner(medium)
        finally:
            if medium[0] == "broken":
                tried.set()

    monkeypatch.setattr(stage.clips._ahead, "_read", read)
    stop = StopRequest()
    acting(monkeypatch, lambda step: setattr(stop, "asked", tried.wait(20)))
    with stage.clips, pytest.raises(StoppedError, match="after step 1 of 2"):
        stage.train(tmp_path, settings(steps=2, prompts_per_step=1), stop)
    assert stage.skipped == []


# SFT.


@pytest.mark.parametrize(("processes", "batch", "rows"), [(1, 3, 10), (2, 2, 8), (3, 2, 18)])
def test_the_rows_announced_are_those_of_this_and_the_next_batch(processes, batch, rows):
    sampler = SeedableRandomSampler(range(rows), data_seed=5)
    for process in range(processes):
        for epoch in (0, 1):
            told = []
            order = AnnouncedOrder(sampler, told.append, batch, process, processes)
            sampler.set_epoch(epoch)
            whole = BatchSampler(order, batch, False)
            dealt = list(BatchSamplerShard(whole, processes, process) if processes > 1 else whole)
            assert told == [one + two for one, two in zip(dealt, [*dealt[1:], []], strict=True)]
            sampler.set_epoch(epoch)
            announced = list(order)
            sampler.set_epoch(epoch)
            assert announced == list(sampler) and len(order) == rows


@pytest.mark.parametrize(
    ("group_by_length", "stop_after"), [(False, 5), (True, None)], ids=["stopped and resumed", "by length"]
)
def test_sft_learns_the_same_with_workers(tiny_model, make_clip, tmp_path, group_by_length, stop_after):
    """A broken clip among the rows; one run with workers is stopped in its second epoch and goes on."""
    values = Sft(epochs=2, learning_rate=3e-3, batch_size=3, save_steps=2, group_by_length=group_by_length)
    rows = [*SFT_RECORDS, sft_record(9, path="broken")]
    plain = SftStage(tiny_model, make_clip, rows)
    whole = plain.train(tmp_path / "whole", values)
    if stop_after is not None:
        with pytest.raises(KeyboardInterrupt):
            SftStage(tiny_model, make_clip, rows, stop_after, workers=2).train(tmp_path / "parts", values)
    resumed = SftStage(tiny_model, make_clip, rows, workers=2)
    assert resumed.train(tmp_path / "parts", values).curve == whole.curve
    assert all(torch.equal(v, plain.model.state_dict()[name]) for name, v in resumed.model.state_dict().items())
    assert plain.skipped == [("broken", "torn")] * 2


# Stages that ask.


@pytest.mark.parametrize(
    ("stage", "argv", "written"),
    [
        (annotate, ["annotate"], lambda: [pq.read_table(paths.COT).to_pylist(), paths.metrics("annotate").read_text()]),
        (benchmark, ["benchmark", "run", "base"], lambda: answers(paths.answers("base"))),
    ],
    ids=["annotate", "benchmark"],
)
def test_answers_are_the_same_with_workers(tmp_path, tiny_model, monkeypatch, stage, argv, written):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    make_project(tmp_path, tiny_model)
    text, found = paths.PARAMS.read_text(), []
    for workers in (0, 2):
        params = json.dumps({"frames": 4, "min_frames": 2, "decode_workers": workers, "disk_cache_gb": 0})
        paths.PARAMS.write_text("".join([text[: text.index("video:")], f"video: {params}\n"]))
        stage.main()
        found.append(written())
        shutil.rmtree(paths.ANSWERS, ignore_errors=True)
    assert found[0] == found[1]


def answers(folder):
    """Rows of a model's logs, but for the seconds they took."""
    return [row | {"seconds": 0} for path in log.logs_in(folder) for row in log.read(path).values()]


def test_public_benchmarks_are_answered_the_same_with_workers_and_cached_frames(tmp_path, monkeypatch):
    """A missing and a broken clip among them; folders of pictures are never cached."""
    monkeypatch.chdir(tmp_path)
    trees.annotate(tmp_path / "annotations")
    trees.render(tmp_path / "annotations", tmp_path / "media")
    read, inner = [], open_module.guarded

    def counted(function, path, *args, **options):
        read.append(str(path))
        return inner(function, path, *args, **options)

    monkeypatch.setattr(open_module, "guarded", counted)
    found, decoded = [], []
    for number, changes in enumerate([(0, 0.0), (2, 0.0), (2, 1.0), (2, 1.0)]):
        folder = tmp_path / f"logs {number}"
        settings = dict(zip(("decode_workers", "disk_cache_gb"), changes, strict=True))
        made, _ = benchmark_runs.benchmark(benchmark_runs.opened(tmp_path), folder, **settings)
        found.append((made.entries, answers(folder)))
        decoded.append({path for path in read if not path.endswith(trees.BROKEN) and not Path(path).is_dir()})
        read.clear()
    assert found[0] == found[1] == found[2] == found[3]
    assert decoded[0] == decoded[1] == decoded[2] != set() and not decoded[3]
