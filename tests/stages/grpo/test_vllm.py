"""Rollouts by vLLM on the trainer's weights, against the policy itself. One engine start (about 20 s) for all tests."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from tasks.core.engine import vllm as vllm_engine
from tasks.core.engine.types import EngineError, Request
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model, load_processor
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.train.features import encode_media
from tasks.grpo import collect
from tasks.grpo.engines import Policy, RolloutRequest, TransformersRollouts
from tasks.grpo.settings import arguments, rollouts
from tasks.params import Lora, Sampling
from tests.support.grpo_stage import (
    Stage,
    logp_alone,
    parity_score,
    settings,
)

pytest.importorskip("vllm", reason="vLLM is not installed; the transformers engine is the way out")
from tasks.grpo import vllm_rollouts

pytestmark = pytest.mark.slow
TOLERANCE = 2e-3
"""Nats between the engine's log-probability of a token and the trainer's, both in float32."""
LOSSES = [(0.0, 6.6967), (0.0, 7.07977), (0.0, 8.23405)]
"""Loss and gradient norm of each step."""


@pytest.fixture(scope="module")
def processor(tiny_model):
    return load_processor(tiny_model)


@pytest.fixture(scope="module")
def engine(tiny_model, processor):
    """The module's engine, and its start and close made free for every other user."""
    made = rollouts(
        processor,
        [processor.tokenizer.eos_token_id],
        folder=str(tiny_model),
        settings=settings(rollout_engine="vllm", rollout_max_len=512),
        rows=8,
    )
    llm = made._llm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_rollouts, "start", lambda folder, **options: llm)
        close = vllm_rollouts.VllmRollouts.close
        patch.setattr(vllm_rollouts.VllmRollouts, "close", lambda self: None)
        yield made
        patch.undo()
        close(made)


@pytest.fixture
def policy(tiny_model, engine):
    """A model with other weights than the folder's, at step 3; the engine holds others before each test."""
    engine._version = None
    model = load_model(tiny_model, "float32", "cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.02 * weight.std().nan_to_num(0.0) * torch.randn_like(weight) + 1e-4
    return Policy(model, 3, sharded=False, autocast=nullcontext)


@pytest.fixture
def asks(tiny_model, make_clip):
    stage = Stage(tiny_model, make_clip)
    found = []
    for row in (0, 1, 3):
        prompt = stage.prompts[row]
        opened = stage.views(row)
        views = [opened.ordered, *opened.perturbed]
        found += [
            RolloutRequest(prompt.text, prompt.record.data_type, view, [10 * row + side, 7])
            for side, view in enumerate(views)
        ]
    return found


def test_answers_follow_the_trainers_weights_and_carry_its_log_probabilities(engine, policy, asks, tiny_model):
    first = engine.complete(policy, encode_media, asks)
    for ask, group in zip(asks, first, strict=True):
        for answer in group:
            assert len(answer.log_probs) == len(answer.ids)
            if ask.data_type == "video":
                alone = logp_alone(policy.model, ask.view.encoded, torch.tensor(answer.ids))
                assert sum(answer.log_probs) == pytest.approx(alone, abs=TOLERANCE * len(answer.ids))
    assert engine.complete(policy, encode_media, asks) == first, "the same seeds, the same answers"
    other = policy._replace(model=load_model(tiny_model, "float32", "cpu"), version=4)
    assert engine.complete(other, encode_media, asks) != first, "neither weights nor cached prefixes are the old ones"


def test_greedy_answers_equal_the_policys_own(engine, processor, policy, asks, monkeypatch):
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=6)
    monkeypatch.setattr(engine, "_sampling", greedy)
    found = [[answer.ids for answer in group] for group in engine.complete(policy, encode_media, asks)]
    own = TransformersRollouts(greedy, processor, engine._ends, True)
    encoded = [ask.view.encoded for ask in asks]
    with torch.no_grad():
        from tasks.grpo.rollout import sample

        features = encode_media(policy.model, encoded)
        assert found == sample(policy.model, encoded, features, [2] * len(asks), own._config)
    assert len({tuple(group[0]) for group in found}) > 1, "the answers compared are not all the same"


def test_rollouts_and_the_engine_give_the_same_tokens(engine, policy, asks, tiny_model, monkeypatch):
    """The same engine, seeds, prompts and weights, asked by RL and by annotate."""
    monkeypatch.setattr(engine, "_sampling", Sampling(temperature=0.9, top_p=0.95, max_tokens=12))
    tuples = [[tuple(answer.ids) for answer in group] for group in engine.complete(policy, encode_media, asks)]
    monkeypatch.setattr(vllm_engine, "start", lambda *_, **__: engine._llm)
    other = vllm_engine.VllmEngine(
        tiny_model,
        dtype="float32",
        max_model_len=512,
        gpu_memory_utilization=0.8,
        kv_cache_gb=1,
        tensor_parallel=1,
        batch_size=8,
    )
    requests = [Request(str(seed), ask.text, ask.view.clip, ask.data_type, seed) for ask in asks for seed in ask.seeds]
    answered = other.generate(requests, temperature=0.9, top_p=0.95, max_tokens=12)
    assert [tuple(done.token_ids) for [done] in answered] == [ids for group in tuples for ids in group]
    assert len({ids for group in tuples for ids in group}) > 4


def test_visual_tokens_are_never_sampled(engine, processor, policy, asks, monkeypatch):
    monkeypatch.setattr(engine, "_sampling", Sampling(temperature=2.0, top_p=1.0, max_tokens=60))
    drawn = {token for group in engine.complete(policy, encode_media, asks) for answer in group for token in answer.ids}
    assert drawn.isdisjoint(visual_token_ids(processor)) and len(drawn) > 50


@pytest.mark.parametrize("fault", ["weights", "version"])
def test_an_engine_with_other_weights_is_an_error(engine, policy, asks, monkeypatch, fault):
    if fault == "weights":
        monkeypatch.setattr(
            engine,
            "_load",
            lambda stream, version: engine._llm.apply_model(partial(vllm_rollouts.mark, version=version)),
        )
        policy.model.model.language_model.norm.weight.data += 0.01
    else:
        monkeypatch.setattr(vllm_rollouts, "mark", lambda model, version: None)
    policy = policy._replace(version={"weights": 98, "version": 99}[fault])  # the engine keeps the mark of the first
    with pytest.raises(vllm_rollouts.StaleEngineError, match="differ from the trainer's|of version"):
        engine.complete(policy, encode_media, asks)


@pytest.mark.parametrize("deaths", [1, 2])
def test_an_engine_that_dies_is_started_again_once(engine, policy, asks, monkeypatch, capsys, deaths):
    expected = engine.complete(policy, encode_media, asks)
    original, calls = engine._generate, []

    def generate(some):
        calls.append(1)
        if len(calls) <= deaths:
            raise RuntimeError("worker lost")
        return original(some)

    monkeypatch.setattr(engine, "_generate", generate)
    if deaths == 2:
        with pytest.raises(EngineError, match="died again after a restart.*worker lost"):
            engine.complete(policy, encode_media, asks)
    else:
        assert engine.complete(policy, encode_media, asks) == expected
        assert "started again: RuntimeError: worker lost" in capsys.readouterr().err


def test_literal_losses_drift_and_resume(engine, tiny_model, make_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "score_group", parity_score)
    values = settings(rollout_engine="vllm", rollout_max_len=512, steps=3, save_steps=1)
    straight = Stage(tiny_model, make_clip)
    whole = straight.train(tmp_path / "whole", values)
    log = [entry for entry in whole.trainer.state.log_history if "loss" in entry]
    seen = [(entry["loss"], entry["grad_norm"]) for entry in log]
    assert all(entry["rollout_drift"] < TOLERANCE for entry in log)
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(LOSSES), rtol=1e-2, atol=1e-4, msg=str(seen))
    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_at=5).train(tmp_path / "parts", values)
    resumed = Stage(tiny_model, make_clip)
    resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, straight.model.state_dict()[name], rtol=1e-5, atol=1e-7, msg=name)


def test_an_engine_of_the_policys_version_keeps_its_weights(engine, policy, asks, monkeypatch):
    """As in a step's second round, which replaces prompts without signal."""
    expected = engine.complete(policy, encode_media, asks)
    monkeypatch.setattr(engine, "_load", lambda *_: pytest.fail("loaded again"))
    assert engine.complete(policy, encode_media, asks) == expected


def test_sleep_is_refused_where_vllm_cannot(processor, tiny_model):
    values = settings(rollout_engine="vllm", rollout_sleep=2)
    with pytest.raises(StageError, match=r"grpo.rollout_sleep: 2; vLLM on cpu cannot sleep, only on a GPU"):
        rollouts(processor, [], folder=str(tiny_model), settings=values, rows=1)


def test_sleep_is_refused_of_the_policy_itself(tmp_path):
    with pytest.raises(StageError, match="grpo.rollout_sleep: 1; only an engine beside the policy sleeps"):
        arguments(settings(rollout_sleep=1), 0, tmp_path)


def test_a_nucleus_is_refused_beside_importance_weights(tmp_path):
    values = settings(rollout_engine="vllm", sampling={"temperature": 1.0, "top_p": 0.9, "max_tokens": 6})
    with pytest.raises(StageError, match="grpo.sampling.top_p: 0.9"):
        arguments(values, 0, tmp_path)
    assert arguments(values.model_copy(update={"importance_cap": None}), 0, tmp_path).top_p == 0.9


def test_an_adapter_is_refused(processor):
    with pytest.raises(StageError, match="grpo.rollout_engine: vllm takes whole weights"):
        rollouts(processor, [], folder="", settings=settings(rollout_engine="vllm", lora=Lora(rank=2)), rows=1)
