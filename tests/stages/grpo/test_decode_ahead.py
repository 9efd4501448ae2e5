"""GRPO with clips decoded ahead learns what it learns without, whatever becomes of the clips."""

import threading

import pyarrow.parquet as pq
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler
from transformers import TrainerCallback
from trl.trainer.utils import RepeatSampler

from tasks.grpo import trainer as trainer_module
from tasks.grpo.data import drawn, schedule
from tasks.grpo.stop import StoppedError, StopRequest
from tests.support.grpo_stage import RECORDS, Stage, record, settings


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


@pytest.mark.slow
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
