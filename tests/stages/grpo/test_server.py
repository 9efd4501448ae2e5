"""Rollouts by a vLLM server: the protocol over gloo, against a server that answers as vLLM does (`rollout_server`)."""

import socket
from contextlib import nullcontext

import pytest
import torch

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model, load_processor, save_model
from tasks.core.train.features import encode_media
from tasks.grpo import collect
from tasks.grpo.engines import Policy, RolloutRequest, TransformersRollouts
from tasks.grpo.rollout import sample
from tasks.grpo.settings import arguments, rollouts
from tasks.params import Lora, Sampling
from tests.support.grpo_stage import Stage, logp_alone, parity_score, settings

pytest.importorskip("vllm", reason="vLLM is not installed; its side of the weight transfer is not there")
from tests.support.rollout_server import GENERATE, UPDATE, rollout_server

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=6)
LIMIT_SECONDS = 1.0
CHECKER = "weight_checker"


@pytest.fixture(scope="module")
def processor(tiny_model):
    return load_processor(tiny_model)


def engine_of(server, folder, processor, seconds=30, **changes):
    """Made as the stage makes it."""
    asked = {"rollout_engine": "vllm_server", "rollout_server": {"url": server.url, "timeout_seconds": seconds}}
    values = settings(**{"rollout_max_len": 512, **asked, **changes})
    return rollouts(processor, [processor.tokenizer.eos_token_id], folder=str(folder), settings=values, rows=8)


def moved(folder, version):
    """A policy far from the folder's weights, so that no completion is the same."""
    model = load_model(folder, "float32", "cpu").eval()
    torch.manual_seed(version)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.5 * weight.std().nan_to_num(0.0) * torch.randn_like(weight) + 1e-2
    return Policy(model, version, sharded=False, autocast=nullcontext)


@pytest.fixture(scope="module")
def asks(tiny_model, make_clip):
    stage = Stage(tiny_model, make_clip)
    asked = []
    for row in (0, 1, 3):
        prompt, opened = stage.prompts[row], stage.views(row)
        for side, view in enumerate([opened.ordered, *opened.perturbed]):
            asked.append(
                RolloutRequest(prompt.text, prompt.record.data_type, view, [10 * row + side, 10 * row + side + 1])
            )
    return asked


@pytest.fixture(scope="module")
def running(tiny_model):
    with rollout_server(tiny_model) as server:
        yield server


@pytest.fixture(scope="module")
def engine(running, tiny_model, processor):
    """The module's engine; made for completions that are sampled, it takes the likeliest tokens."""
    made = engine_of(running, tiny_model, processor)
    made._sampling = GREEDY
    return made


@pytest.fixture(scope="module")
def policies(tiny_model):
    return {seed: moved(tiny_model, seed) for seed in (3, 4)}


@pytest.fixture
def server(running, engine):
    """Free of faults, and with other weights than those that a test sends."""
    engine._server.timeout_seconds = 30
    yield running
    running.faults, running.drops, running.changes = {}, (), {}
    running.restart()


def with_faults(server, engine, faults):
    server.faults = {route: list(names) for route, names in faults.items()}
    engine._server.timeout_seconds = LIMIT_SECONDS if "hang" in str(faults) else 30


def greedy_of(policy, asks, processor):
    own = TransformersRollouts(GREEDY, processor, [processor.tokenizer.eos_token_id], True)
    encoded = [ask.view.encoded for ask in asks]
    with torch.no_grad():
        return sample(policy.model, encoded, encode_media(policy.model, encoded), [2] * len(asks), own._config)


def test_completions_are_the_policys_own_at_every_version(server, engine, policies, processor, asks):
    seen = []
    before = server.asked.copy()
    for policy in policies.values():
        groups = engine.complete(policy, encode_media, asks)
        seen.append([[done.ids for done in group] for group in groups])
        assert seen[-1] == greedy_of(policy, asks, processor)
        for ask, group in zip(asks, groups, strict=True):
            if ask.data_type == "video":
                alone = logp_alone(policy.model, ask.view.encoded, torch.tensor(group[0].ids))
                assert sum(group[0].log_probs) == pytest.approx(alone, abs=1e-3)
    assert seen[0] != seen[1] and len({tuple(group[0]) for group in seen[1]}) > 1
    assert engine.complete(policy, encode_media, asks[:1])[0][0].ids == seen[1][0][0]
    assert engine.complete(policy, encode_media, []) == []
    asked = server.asked - before
    assert asked[UPDATE] == 2, "a server of the policy's version keeps its weights"
    assert asked["init_weight_transfer_engine"] == asked[CHECKER] == 1, "the connection is kept"


RECOVERS = {
    "no reply to completions": {GENERATE: ["hang"]},
    "completions cut off": {GENERATE: ["closed"]},
    "a server error": {GENERATE: ["500"]},
    "a damaged reply": {GENERATE: ["other json"]},
    "a completion short": {GENERATE: ["cut"]},
    "no JSON": {GENERATE: ["not json"]},
    "completions of other weights": {GENERATE: ["stale"]},
    "started again with other weights": {GENERATE: ["restart"]},
    "a transfer that fails": {UPDATE: ["500"]},
    "workers that do not come": {"init_weight_transfer_engine": ["500"]},
    "down for a moment": {"weight_info": ["closed"]},
    "not up yet": {"health": ["503", "closed"]},
}


@pytest.mark.parametrize("faults", RECOVERS.values(), ids=RECOVERS)
def test_what_a_server_loses_is_asked_once_more(server, engine, policies, processor, asks, faults):
    with_faults(server, engine, faults)
    [group] = engine.complete(policies[3], encode_media, asks[1:2])
    assert [[done.ids for done in group]] == greedy_of(policies[3], asks[1:2], processor)
    assert not any(server.faults.values())


ENDS = {
    "never a reply": ({GENERATE: ["hang"] * 2}, r"inference/v1/generate: no reply within 1 s \(after a second try\)"),
    "never any weights": (
        {UPDATE: ["hang"] * 2},
        "no reply within 1 s|weights: not done within 1 s|weights: .*Timed out",
    ),
    "fails again": ({GENERATE: ["500"] * 2}, r"generate: 500: .*so it is.* \(after a second try\)"),
    "other weights again": ({GENERATE: ["stale"] * 2}, "weights default answered, the trainer sent"),
    "a request refused": ({GENERATE: ["400"]}, "generate: 400: .*so it is"),
    "another prompt": ({GENERATE: ["other prompt"]}, "it read another prompt than the trainer's"),
    "an old vLLM": ({"weight_info": ["404"]}, "weight_info: 404; the server lacks this route: start it as docs"),
    "something else": ({"weight_info": ["other json"]}, "weight_info: no weight_version in the answer; is it vLLM"),
    "no checksums": ({CHECKER: ["other json"]}, "weight_checker: no checksums in the answer"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("faults", "says"), ENDS.values(), ids=ENDS)
def test_a_server_that_does_not_serve_ends_the_run_in_one_line(server, engine, policies, asks, faults, says):
    with_faults(server, engine, faults)
    engine._transfer = None
    with pytest.raises(EngineError, match=says) as caught:
        engine.complete(policies[3], encode_media, asks[1:2])
    assert server.url in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_did_not_arrive_are_an_error(server, engine, policies, asks):
    server.drops, engine._transfer = ("model.language_model.layers.1.input_layernorm.weight",), None
    with pytest.raises(EngineError, match="weights are not those sent, layers.1.input_layernorm.weight first"):
        engine.complete(policies[3], encode_media, asks[1:2])


def test_no_server_at_all(tiny_model, processor):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    values = settings(rollout_engine="vllm_server", rollout_server={"url": url, "timeout_seconds": 0.6})
    with pytest.raises(StageError, match=rf"rollout_server: {url}: health: cannot be reached: .*; start it as docs/"):
        rollouts(processor, [], folder=str(tiny_model), settings=values, rows=1)


UNFIT = {
    "too short": ({"model_config.max_model_len": 256}, r"--max-model-len 256 is below grpo.rollout_max_len \(512\)"),
    "another transfer": ({"weight_transfer_config.backend": "ipc"}, "names ipc, the trainer sends by gloo"),
    "another type": ({"model_config.dtype": "torch.bfloat16"}, "--dtype bfloat16, grpo.dtype is float32"),
    "pixels scaled twice": (
        {"model_config.multimodal_config": {"mm_device_do_normalize": True}},
        "--no-mm-device-do-n",
    ),
    "prompts cut on processors": ({"scheduler_config.enable_chunked_prefill": True}, "--no-enable-chunked-prefill"),
    "other log-probabilities": ({"model_config.logprobs_mode": "processed_logprobs"}, "--logprobs-mode processed_logp"),
}


@pytest.mark.parametrize(("changes", "says"), UNFIT.values(), ids=UNFIT)
def test_a_server_that_does_not_fit_is_refused_at_the_start(server, tiny_model, processor, changes, says):
    server.changes = changes
    with pytest.raises(EngineError, match=says):
        engine_of(server, tiny_model, processor)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        pytest.param({"layers": 3}, "another shape than the policy .*text.num_hidden_layers 3, not 2", id="deeper"),
        pytest.param({"hidden_size": 32}, "text.hidden_size 32, not 64", id="narrower"),
        pytest.param({"vocabulary": 340}, "text.vocab_size 340, not 360", id="fewer tokens"),
    ],
)
def test_a_server_of_another_model_is_refused_at_the_start(tiny_model, processor, tmp_path, sizes, says):
    from tasks.core.world.model import build_model, build_processor
    from tests.support.texts import TEXT

    other = build_processor("qwen2_5_vl", TEXT * 4, vocabulary=sizes.get("vocabulary", 360))
    size = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_layers": 1, "seed": 7}
    model = build_model(other, **(size | {k: v for k, v in sizes.items() if k in size}))
    save_model(model, other, tmp_path / "other")
    with rollout_server(tmp_path / "other") as server, pytest.raises(EngineError, match=says):
        engine_of(server, tiny_model, processor)


def test_a_deeper_model_that_cannot_be_read_here_is_told_by_the_first_transfer(
    tiny_model, processor, policies, asks, tmp_path
):
    from tasks.core.world.model import build_model

    model = build_model(processor, hidden_size=64, layers=3, heads=2, vision_layers=1, seed=7)
    save_model(model, processor, tmp_path / "deeper")
    with rollout_server(tmp_path / "deeper") as server:
        server.changes = {"model_config.model": "/nowhere/deeper"}
        engine = engine_of(server, tiny_model, processor)
        with pytest.raises(EngineError, match=r"not those sent, layers.2.* first; does it serve the policy's model\?"):
            engine.complete(policies[3], encode_media, asks[1:2])


LOSSES = [(0.0, 5.97799), (0.0, 6.89225), (0.0, 5.08159)]
"""Loss and gradient norm of each step."""


def test_literal_losses_and_resume(tiny_model, make_clip, tmp_path, monkeypatch):
    """The second half is trained by another connection to the same server."""
    monkeypatch.setattr(collect, "score_group", parity_score)
    with rollout_server(tiny_model) as server:
        url = {"url": server.url, "timeout_seconds": 60}
        values = settings(rollout_engine="vllm_server", rollout_server=url, rollout_max_len=512, steps=3, save_steps=1)
        straight = Stage(tiny_model, make_clip)
        whole = straight.train(tmp_path / "whole", values)
        log = [entry for entry in whole.trainer.state.log_history if "loss" in entry]
        seen = [(entry["loss"], entry["grad_norm"]) for entry in log]
        assert all(entry["rollout_drift"] < 1e-3 for entry in log)
        torch.testing.assert_close(torch.tensor(seen), torch.tensor(LOSSES), rtol=1e-2, atol=1e-4, msg=str(seen))
        with pytest.raises(KeyboardInterrupt):
            Stage(tiny_model, make_clip, stop_at=5).train(tmp_path / "parts", values)
        resumed = Stage(tiny_model, make_clip)
        resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, straight.model.state_dict()[name], rtol=1e-5, atol=1e-7, msg=name)


def test_where_a_server_is_changes_no_weight():
    here = settings(rollout_engine="vllm_server", rollout_server={"url": "http://a:1"})
    there = settings(rollout_engine="vllm_server", rollout_server={"url": "http://b:2", "timeout_seconds": 9})
    assert here.deciding() == there.deciding() != settings().deciding()


def test_an_adapter_is_refused(tmp_path):
    values = settings(rollout_engine="vllm_server", rollout_server={"url": "http://a:1"}, lora=Lora(rank=2))
    with pytest.raises(StageError, match="grpo.rollout_engine: vllm_server takes whole weights"):
        arguments(values, 0, tmp_path)
