"""What a run survives: SIGTERM at any moment, clips that vanish, answers that cannot be read, adapters, sharding."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from tasks.core.backbones import backbone_of
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model
from tasks.core.train.checkpoints import newest_checkpoint
from tasks.core.train.runs import publish
from tasks.core.train.sharding import refuse_data_parallel
from tasks.core.video import VideoError
from tasks.grpo import collect
from tasks.grpo import trainer as trainer_module
from tasks.grpo.checks import check_sharding
from tasks.grpo.data import black_picture
from tasks.grpo.stop import StoppedError, StopRequest
from tests.support.grpo_stage import (
    LOGPROB,
    RECORDS,
    Stage,
    parity_score,
    record,
    settings,
    weights,
)
from tests.support.training_project import make_project

LORA = [(0.0, 1.22823), (0.0034015, 1.31706), (0.0138648, 1.86846)]
"""Loss and gradient norm of three steps with an adapter."""

pytestmark = pytest.mark.slow


def entries(result):
    return [entry for entry in result.trainer.state.log_history if "loss" in entry]


# SIGTERM.


def terminate_once(monkeypatch, owner, name, at):
    """Make the `at`-th call of a method send SIGTERM to this process, before it does its work."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(name)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


MOMENTS = [
    pytest.param("_complete", 2, 2, id="while clips are read and answers sampled"),
    pytest.param("_compute_loss", 3, 2, id="in the forward"),
    pytest.param("_report_tokens", 4, 2, id="before the backward of the second micro-batch"),
    pytest.param("_save_checkpoint", 1, 3, id="while a checkpoint is written"),
]


@pytest.mark.parametrize(("name", "at", "stops_after"), MOMENTS)
def test_sigterm_ends_the_step_saves_and_resumes_exactly(
    tiny_model, make_clip, tmp_path, monkeypatch, scored_by_parity, whole_run, name, at, stops_after
):
    values, expected = whole_run
    with monkeypatch.context() as patch, StopRequest() as stop:
        terminate_once(patch, trainer_module.VideoGRPOTrainer, name, at)
        with pytest.raises(StoppedError, match=f"after step {stops_after} of 4"):
            Stage(tiny_model, make_clip).train(tmp_path, values, stop)
    assert newest_checkpoint(tmp_path).name == f"checkpoint-{stops_after}"
    resumed = Stage(tiny_model, make_clip)
    resumed.train(tmp_path, values)
    for key, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.fixture(scope="module")
def whole_run(tiny_model, make_clip, tmp_path_factory):
    """Settings of a run, and the weights it ends with when nothing stops it."""
    values = settings(micro_batch=4, save_steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "score_group", parity_score)
        stage = Stage(tiny_model, make_clip)
        stage.train(tmp_path_factory.mktemp("whole"), values)
    return values, weights(stage)


def test_sigterm_in_the_last_step_lets_the_run_end(stage, tmp_path, monkeypatch, scored_by_parity):
    with StopRequest() as stop:
        terminate_once(monkeypatch, trainer_module.VideoGRPOTrainer, "_compute_loss", 1)
        result = stage.train(tmp_path, settings(steps=1), stop)
    assert result.metrics["steps"] == 1


def test_a_later_sigterm_is_not_taken_as_a_request(monkeypatch):
    ended = []
    before = signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.asked and not ended, "one request, told twice"
            now = time.monotonic()
            monkeypatch.setattr(time, "monotonic", lambda: now + 3)
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_stage_leaves_with_143_and_goes_on(tiny_model, tmp_path, monkeypatch, capsys):
    """`python -m tasks.grpo`, stopped in its first of two steps."""
    from tasks.grpo.__main__ import main

    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model, rl=[record(0, path="clip.mp4"), record(1, "image", "still.png")])
    with monkeypatch.context() as patch:
        terminate_once(patch, trainer_module.VideoGRPOTrainer, "_compute_loss", 1)
        assert main() == 143
    assert "stopped after step 1 of 2; a checkpoint is kept" in capsys.readouterr().err
    assert not (tmp_path / "models/grpo").exists()
    assert main() == 0
    assert "resuming from" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "data/grpo/steps.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    [events] = (tmp_path / "reports/tensorboard/grpo").iterdir()
    for name in ("reward", "accuracy"):
        assert scalars(events, name) == {n: pytest.approx(line[name]) for n, line in enumerate(lines, 1)}


def scalars(folder, name):
    """Step -> value of one metric in a run's TensorBoard event files."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {event.step: event.value for event in read.Scalars(f"train/{name}")}


# Data and answers.


def test_a_clip_that_vanishes_mid_run_costs_its_prompt(stage, tmp_path, monkeypatch, scored_by_parity):
    """Read well in the first pass over the prompts, gone from step 3 on: its prompt is left out, the others train."""
    original = stage.clips.get
    gone = {"active": False}

    def get(path, data_type):
        if gone["active"] and path == RECORDS[0].path:
            raise VideoError(path, "no such file")
        return original(path, data_type)

    class Vanish(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            gone["active"] = state.global_step >= 3

    monkeypatch.setattr(stage.clips, "get", get)
    made = trainer_module.VideoGRPOTrainer.__init__
    monkeypatch.setattr(
        trainer_module.VideoGRPOTrainer,
        "__init__",
        lambda self, **kwargs: made(self, **{**kwargs, "callbacks": [*kwargs["callbacks"], Vanish()]}),
    )
    result = stage.train(tmp_path, settings(steps=6, save_steps=6))
    skipped = [entry["skipped"] for entry in entries(result)]
    assert set(skipped[:3]) == {0.0} and 0.5 in skipped[3:] and max(skipped) == 0.5
    assert {path for path, _ in stage.skipped} == {RECORDS[0].path}
    assert all(torch.isfinite(torch.tensor(entry["loss"])) for entry in entries(result))


@pytest.mark.parametrize("text", ["", "</answer><answer>", "<think>" * 9, "\x00￿", "NaN"], ids=repr)
def test_a_step_of_malformed_answers_teaches_nothing_and_says_so(stage, tmp_path, monkeypatch, text):
    made = collect.score_group

    def score(item, answers, *rest):
        return made(item, [answer._replace(text=text) for answer in answers], *rest)

    monkeypatch.setattr(collect, "score_group", score)
    before = weights(stage)
    [entry] = entries(stage.train(tmp_path, settings(steps=1, weight_decay=0.0)))
    assert (entry["unparsed"], entry["format"], entry["no_signal"], entry["loss"]) == (1.0, 0.0, 1.0, 0.0)
    assert all(torch.equal(value, before[name]) for name, value in stage.model.state_dict().items())
    [line] = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert line["letter/none"] == 1.0


# Ways to train.


def test_an_adapter_trains_resumes_exactly_and_is_published_merged(tiny_model, make_clip, tmp_path, scored_by_parity):
    """Literal losses; with the penalty, whose reference is the policy without its adapter."""
    values = settings(lora={"rank": 4, "alpha": 8}, beta=0.04, steps=3, save_steps=1, learning_rate=0.03)
    straight = Stage(tiny_model, make_clip)
    base = weights(straight)
    whole = straight.train(tmp_path / "whole", values)
    seen = [(entry["loss"], entry["grad_norm"]) for entry in entries(whole)]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(LORA), rtol=5e-3, atol=2e-5, msg=str(seen))
    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_at=5).train(tmp_path / "parts", values)
    parts = Stage(tiny_model, make_clip).train(tmp_path / "parts", values)
    for run, result in (("whole", whole), ("parts", parts)):
        publish(result.trainer, tmp_path / run, tmp_path / f"{run}.model", "float32")
    first, second = (load_model(tmp_path / f"{run}.model").state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    moved = {name for name, value in first.items() if not torch.equal(value, base[name])}
    assert moved and all(".visual.blocks." in name or "_proj" in name for name in moved)


def test_beside_an_adapter_weights_are_held_in_half_precision(tiny_model, make_clip, tmp_path, scored_by_parity):
    """Half the memory for what does not train; the adapter, its gradients and log-probabilities stay float32."""
    values = settings(lora={"rank": 4, "alpha": 8}, beta=0.04, steps=2, learning_rate=0.03, dtype="bfloat16")
    assert (values.weights_dtype, settings(dtype="bfloat16").weights_dtype) == ("bfloat16", "float32")
    stage = Stage(tiny_model, make_clip)
    stage.model = load_model(tiny_model, values.weights_dtype, "cpu")
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    trained, kept = set(), set()

    class Seen(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **_):
            trained.update(value.dtype for value in model.parameters() if value.requires_grad)
            kept.update(value.dtype for value in model.parameters() if not value.requires_grad)

    result = stage.train(tmp_path / "work", values, callbacks=[Seen()])
    assert (trained, kept) == ({torch.float32}, {torch.bfloat16})
    assert all(entry["grad_norm"] > 0 for entry in entries(result))
    publish(result.trainer, tmp_path / "work", tmp_path / "model", "bfloat16")
    after = load_model(tmp_path / "model", "auto").state_dict()
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert moved and {value.dtype for value in after.values()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["gradient_checkpointing", "selective_checkpointing"])
@pytest.mark.parametrize("more", [{}, {"lora": {"rank": 2}}], ids=["all weights", "adapter"])
def test_checkpointing_changes_memory_and_not_the_gradient(
    tiny_model, make_clip, tmp_path, scored_by_parity, kind, more
):
    seen = []
    for checkpointing in (False, True):
        stage = Stage(tiny_model, make_clip)
        result = stage.train(tmp_path / str(checkpointing), settings(steps=2, **{kind: checkpointing}, **more))
        seen.append([(entry["loss"], entry["grad_norm"]) for entry in entries(result)])
    torch.testing.assert_close(torch.tensor(seen[0]), torch.tensor(seen[1]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "family", "plugin", "says"),
    [
        ({"lora": {"rank": 4}}, "qwen2_5_vl", "fsdp_plugin", "grpo.lora: merging"),
        ({}, "llava_onevision", "fsdp_plugin", "llava_onevision: its encoder"),
        ({}, "qwen2_5_vl", "deepspeed_plugin", "FSDP2 .* not by DeepSpeed"),
    ],
    ids=["an adapter", "an encoder of several passes", "DeepSpeed"],
)
def test_what_sharded_weights_cannot_do_is_refused(changes, family, plugin, says):
    def accelerator(**plugins):
        return SimpleNamespace(state=SimpleNamespace(**plugins))

    check_sharding(settings(**changes), accelerator(), backbone_of(family))
    with pytest.raises(StageError, match=says):
        check_sharding(settings(**changes), accelerator(**{plugin: True}), backbone_of(family))
    every = {"encode_once": True, "refill": 1, "objective": LOGPROB, "rollout_engine": "vllm", "micro_batch": 4}
    check_sharding(settings(**every), accelerator(fsdp_plugin=True), backbone_of("qwen2_5_vl"))


def test_one_process_with_several_gpus_is_refused():
    """transformers would train by nn.DataParallel."""
    refuse_data_parallel(SimpleNamespace(n_gpu=1), "grpo")
    with pytest.raises(StageError, match="grpo: one process sees 4 GPUs.*torchrun:4"):
        refuse_data_parallel(SimpleNamespace(n_gpu=4), "grpo")


def test_a_lost_row_under_sharding_has_one_picture(stage):
    found = black_picture(stage.processor)
    assert found.kind == 1 and len(found.ids) == 3 and found.grid.tolist() == [[1, 2, 2]]
