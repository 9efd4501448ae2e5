"""SFT and T-GRPO with every backbone: a few steps from the smallest model, interrupted and resumed to the bit."""

import dataclasses

import numpy as np
import pytest
import torch

from tasks.core.backbones import backbone_of
from tasks.core.train.clips import ClipStore
from tasks.core.train.features import trains
from tasks.core.video import Clip
from tasks.grpo import collect
from tasks.params import Sft
from tasks.sft.data import Collator, examples, row_packer
from tasks.sft.train import keeps_features, train
from tests.support.families import FAMILIES, load
from tests.support.grpo_stage import RECORDS, Stage, parity_score, settings

pytestmark = pytest.mark.slow


@pytest.fixture(params=FAMILIES)
def folder(request, family_folder):
    return family_folder(request.param)


@pytest.fixture
def clip_maker(folder):
    """As the fixture `make_clip`, with frames of the family's size."""
    side = load(backbone_of(folder.name), folder).side

    def make(frames=8, fps=2.0, seed=0):
        pixels = np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)
        return Clip(pixels, list(range(frames)), fps, fps, frames / fps if fps else 0.0)

    return make


class SftStage:
    """A collator over `RECORDS` that stops when so many batches were made."""

    def __init__(self, folder, make_clip, settings, stop_after=None):
        family = load(backbone_of(folder.name), folder)
        self.model, self.processor, self.settings = family.model, family.processor, settings
        records = [dataclasses.replace(record, process="<think>It ends right.</think>") for record in RECORDS]
        self.rows = examples(records, self.processor, template="brief", system="You are a helpful assistant.")
        self.skipped, self.batches, self._stop_after = [], 0, stop_after

        def read(path, data_type):
            seed = sum(path.encode())
            frames = 4 + 2 * (seed % 2)
            return (
                make_clip(frames=1, fps=0, seed=seed) if data_type == "image" else make_clip(frames=frames, seed=seed)
            )

        self._collate = Collator(
            self.rows,
            self.processor,
            ClipStore(read, 1.0),
            lambda row, reason: self.skipped.append((row.path, reason)),
            row_packer(self.model, settings.padding_free),
            keeps_features(settings),
        )

    def __call__(self, batch):
        self.batches += 1
        if self._stop_after is not None and self.batches > self._stop_after:
            raise KeyboardInterrupt
        return self._collate(batch)

    def expect(self, rows):
        self._collate.expect(rows)

    def train(self, work):
        return train(
            self.model,
            self.processor,
            self.rows,
            self,
            settings=self.settings,
            seed=5,
            work=work,
            curve=work / "curve.csv",
        )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"train_vision": True, "padding_free": True}, id="packed"),
        pytest.param({"train_vision": True, "padding_free": False}, id="padded"),
        pytest.param({"train_vision": False, "padding_free": True, "cache_features_gb": 1.0}, id="frozen encoder"),
    ],
)
def test_sft_resumes_to_the_bit(folder, clip_maker, tmp_path, changes):
    values = Sft(**{"epochs": 1, "learning_rate": 1e-3, "batch_size": 2, "save_steps": 1, **changes})
    whole = SftStage(folder, clip_maker, values)
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    result = whole.train(tmp_path / "whole")
    assert whole.skipped == [] and np.isfinite(result.metrics["loss"])
    moved = {name for name, value in whole.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and trains(whole.model) == changes["train_vision"]
    with pytest.raises(KeyboardInterrupt):
        SftStage(folder, clip_maker, values, stop_after=2).train(tmp_path / "parts")
    parts = SftStage(folder, clip_maker, values)
    parts.train(tmp_path / "parts")
    assert parts.batches < whole.batches
    for name, value in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"objective": {"kind": "tgrpo_reward", "completions": 2}}, id="published"),
        pytest.param({"objective": {"kind": "logprob", "alpha": 0.3}, "beta": 0.04}, id="log-probability contrast"),
        pytest.param({"train_vision": False, "cache_features_gb": 1.0, "encode_once": True}, id="frozen encoder"),
        pytest.param({"encode_once": False, "share_prefix": False, "share_prefix_update": False}, id="plain"),
        pytest.param({"lora": {"rank": 2}}, id="adapter"),
    ],
)
def test_grpo_resumes_to_the_bit(folder, clip_maker, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(collect, "score_group", parity_score)
    values = settings(steps=2, save_steps=1, prompts_per_step=2, **changes)
    straight = Stage(folder, clip_maker)
    whole = straight.train(tmp_path / "whole", values)
    losses = [entry["grad_norm"] for entry in whole.trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and np.isfinite(losses).all() and any(losses) and straight.skipped == []
    with pytest.raises(KeyboardInterrupt):
        Stage(folder, clip_maker, stop_at=straight.asked - 1).train(tmp_path / "parts", values)
    resumed = Stage(folder, clip_maker)
    parts = resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    ours, theirs = (result.trainer.model.state_dict() for result in (whole, parts))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(theirs[name], value), name
