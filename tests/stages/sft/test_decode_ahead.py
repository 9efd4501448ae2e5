"""SFT with clips decoded ahead learns what it learns without."""

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from torch.utils.data import BatchSampler

from tasks.params import Sft
from tasks.sft.data import AnnouncedOrder
from tests.support.sft_stage import RECORDS as SFT_RECORDS
from tests.support.sft_stage import Stage as SftStage
from tests.support.sft_stage import record as sft_record


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


@pytest.mark.slow
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
