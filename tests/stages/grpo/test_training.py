"""GRPO on a tiny random model: literal losses, exact resume, lost prompts, the stage from files to files."""

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from tasks import paths
from tasks.core.io.digests import file_digest
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model, load_processor
from tasks.core.video import open as open_module
from tasks.grpo.log import RolloutLog
from tasks.grpo.settings import arguments
from tests.support import bad_readers
from tests.support.grpo_stage import (
    RECORDS,
    Stage,
    record,
    settings,
    weights,
)
from tests.support.training_project import make_project

STEPS = [(0.0, 5.97663), (0.00396973, 4.0852), (0.0155197, 5.37422), (0.0281569, 10.21067)]
"""Loss and gradient norm of each step."""


def test_literal_losses_and_exact_resume(tiny_model, make_clip, tmp_path, scored_by_parity):
    """Stopped and started again = never stopped, to the bit, with the penalty and two micro-batches a step."""
    values = settings(beta=0.04, micro_batch=4, loss_type="dapo")
    straight = Stage(tiny_model, make_clip)
    whole = straight.train(tmp_path / "whole", values)
    seen = [(entry["loss"], entry["grad_norm"]) for entry in whole.trainer.state.log_history if "loss" in entry]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(STEPS), rtol=2e-3, atol=1e-5, msg=str(seen))

    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_at=7).train(tmp_path / "parts", values)
    resumed = Stage(tiny_model, make_clip)
    parts = resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[name]), name
    assert parts.curve == whole.curve
    for work in ("whole", "parts"):
        RolloutLog(tmp_path / work / "rollouts").join(tmp_path / f"{work}.parquet", 4)
    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


def test_a_lost_clip_costs_its_prompt(tiny_model, make_clip, tmp_path, scored_by_parity):
    stage = Stage(tiny_model, make_clip, [RECORDS[0], record(9, path="broken")])
    result = stage.train(tmp_path, settings(steps=2))
    assert ("broken", "torn") in stage.skipped
    assert [entry["skipped"] for entry in result.trainer.state.log_history if "loss" in entry] == [0.5, 0.5]
    assert all(math.isfinite(entry["loss"]) for entry in result.trainer.state.log_history if "loss" in entry)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"problem": "What is <|video_pad|>?"}, "problem: spells <|video_pad|>", id="a second video"),
        pytest.param({"problem": "What is <|image_pad|>?"}, "problem: spells <|image_pad|>", id="an image beside it"),
        pytest.param({"options": ["A.", "B. <|vision_end|>"]}, "options: spells <|vision_end|>", id="an option"),
    ],
)
def test_a_question_that_spells_a_visual_token_costs_its_prompt(
    tiny_model, make_clip, tmp_path, scored_by_parity, changes, reason
):
    stage = Stage(tiny_model, make_clip, [RECORDS[0], dataclasses.replace(record(9), **changes)])
    result = stage.train(tmp_path, settings(steps=1))
    assert set(stage.skipped) == {("clip 9", f"{reason}, which stands for pixels")}
    assert [entry["skipped"] for entry in result.trainer.state.log_history if "loss" in entry] == [0.5]


def test_all_clips_lost_trains_nothing(tiny_model, make_clip, tmp_path):
    stage = Stage(tiny_model, make_clip, [record(8, path="broken"), record(9, path="broken")])
    before = weights(stage)
    stage.train(tmp_path, settings(steps=1, weight_decay=0.0))
    assert all(torch.equal(value, before[name]) for name, value in stage.model.state_dict().items())


def test_no_signal_trains_nothing(stage, tmp_path):
    """A random model answers nothing right: every group is without variance, counted and skipped."""
    before = weights(stage)
    result = stage.train(tmp_path, settings(steps=2, weight_decay=0.0))
    entries = [entry for entry in result.trainer.state.log_history if "loss" in entry]
    assert [entry["zero_variance"] for entry in entries] == [1.0, 1.0]
    assert all(torch.equal(value, before[name]) for name, value in stage.model.state_dict().items())


def test_a_frozen_encoder_stays(stage, tmp_path, scored_by_parity):
    before = weights(stage)
    stage.train(tmp_path, settings(steps=2, train_vision=False, gradient_checkpointing=True))
    moved = {name for name, value in stage.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(".visual." in name for name in moved)


def test_the_stage_from_files_to_files(tiny_model, tmp_path, monkeypatch, capsys):
    """`python -m tasks.grpo` with one video, one image and one clip that does not decode; an audit dropped a fourth."""
    from tasks.grpo.__main__ import main

    rows = [record(0, path="clip.mp4"), record(1, "image", "still.png"), record(2, path="torn.mp4")]
    monkeypatch.chdir(tmp_path)
    rows.append(record(3, path="never opened.mp4"))
    make_project(tmp_path, tiny_model, rl=rows)
    problems = [rows[number].problem for number in (0, 3)]
    audited = {"problem_id": [0, 3], "problem": problems, "evidence": ["order", "text"], "difficulty": ""}
    pd.DataFrame(audited).to_parquet("tags.parquet")
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["grpo"]["rows"] = {"tags": "tags.parquet", "digest": file_digest(Path("tags.parquet"))[:12]}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert main() == 0
    metrics = json.loads((tmp_path / "reports/grpo/metrics.json").read_text())
    assert (metrics["steps"], metrics["skipped_prompts"]) == (2, 1)
    assert metrics["rl_rows"] == {"rows": 4, "kept": 3, "not_audited": 2, "dropped": {"text": 1}}
    assert (tmp_path / "reports/grpo/curve.csv").read_text().count("\n") == 3
    assert pq.read_table(tmp_path / "data/grpo/rollouts.parquet").num_rows == metrics["rollouts"]
    assert load_model(tmp_path / "models/grpo").config.model_type == "qwen2_5_vl"
    assert load_processor(tmp_path / "models/grpo").chat_template
    assert not list((tmp_path / "models/.work/grpo").iterdir()), "work in progress is removed when done"
    assert "models/grpo" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("end", bad_readers.TORN)
def test_a_clip_that_ends_its_reader_costs_its_prompt(tiny_model, tmp_path, monkeypatch, capsys, end):
    from tasks.grpo.__main__ import main

    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model, rl=[record(0, path="clip.mp4"), record(1, path="torn.mp4")])
    reader, says = bad_readers.TORN[end]
    monkeypatch.setattr(open_module, "read_resized", reader)
    params = yaml.safe_load(paths.PARAMS.read_text())
    params["video"] |= {"read_limit_seconds": 3.0}
    params["grpo"] |= {"steps": 1}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    assert main() == 0
    metrics = json.loads((tmp_path / "reports/grpo/metrics.json").read_text())
    assert (metrics["steps"], metrics["skipped_prompts"]) == (1, 1)
    [told] = [line for line in capsys.readouterr().err.splitlines() if "torn.mp4" in line]
    assert says in told


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"micro_batch": 3}, "grpo.micro_batch: 3 does not divide prompts_per_step . group / group_ranks = 8"),
        ({"sampling": {"temperature": 0.0}}, "grpo.sampling.temperature"),
    ],
    ids=["micro-batch", "greedy"],
)
def test_contradictions_are_named(changes, says, tmp_path):
    with pytest.raises(StageError, match=says):
        arguments(settings(**changes), 0, tmp_path)
