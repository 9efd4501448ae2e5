"""Rollouts by a running vLLM server on a processor, weights sent over gloo. It starts once, in about a minute."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch

from tasks.core.engine.types import EngineError
from tasks.core.models.load import load_processor, save_model
from tasks.core.train.features import encode_media
from tasks.grpo import collect
from tasks.params import Sampling
from tests.stages.grpo.test_server import asks as asks
from tests.stages.grpo.test_server import engine_of, greedy_of, moved
from tests.support.grpo_stage import Stage, parity_score, settings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
START_SECONDS = 500
OPTIONS = {
    "--dtype": "float32",
    "--max-model-len": "512",
    "--max-num-seqs": "16",
    "--max-num-batched-tokens": "4096",
    "--kv-cache-memory-bytes": "268435456",
    "--generation-config": "vllm",
    "--mm-processor-kwargs": '{"do_resize": false}',
    "--weight-transfer-config": '{"backend": "gloo"}',
    "--worker-extension-cls": "tasks.grpo.gloo_transfer.Extension",
}
SWITCHES = ("--enforce-eager", "--no-enable-chunked-prefill", "--enable-scale-out", "--no-mm-device-do-normalize")


@pytest.fixture(scope="module")
def served(tiny_model, tmp_path_factory):
    """The server's own weights are others than any that a test sends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_model)]
    command += ["--host", "127.0.0.1", "--port", str(port), *SWITCHES]
    command += [word for option in OPTIONS.items() for word in option]
    environment = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=written, stderr=written, start_new_session=True
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not is_up(url):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(1)
        yield SimpleNamespace(url=url)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def is_up(url):
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def processor(tiny_model):
    return load_processor(tiny_model)


def test_greedy_completions_are_the_policys_own_at_every_version(served, tiny_model, processor, asks):
    engine = engine_of(served, tiny_model, processor)
    engine._sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=6)
    seen = []
    for version in (3, 4):
        policy = moved(tiny_model, version)
        lone = [ask._replace(seeds=ask.seeds[:1]) for ask in asks]  # vLLM samples greedily once alone
        seen.append([[done.ids for done in group] for group in engine.complete(policy, encode_media, lone)])
        assert seen[-1] == [group[:1] for group in greedy_of(policy, asks, processor)]
    assert seen[0] != seen[1] and len({tuple(group[0]) for group in seen[1]}) > 1


LOSSES = [(0.0, 7.05301), (0.0, 4.74816), (0.0, 3.81047)]
"""Loss and gradient norm of each step."""


def test_literal_losses_drift_and_resume(served, tiny_model, make_clip, tmp_path, monkeypatch):
    """The second half is trained by another connection to the same server."""
    monkeypatch.setattr(collect, "score_group", parity_score)
    url = {"url": served.url, "timeout_seconds": 60}
    values = settings(rollout_engine="vllm_server", rollout_server=url, rollout_max_len=512, steps=3, save_steps=1)
    straight = Stage(tiny_model, make_clip)
    whole = straight.train(tmp_path / "whole", values)
    log = [entry for entry in whole.trainer.state.log_history if "loss" in entry]
    seen = [(entry["loss"], entry["grad_norm"]) for entry in log]
    assert all(entry["rollout_drift"] < 2e-3 for entry in log)
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(LOSSES), rtol=1e-2, atol=1e-4, msg=str(seen))
    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_at=5).train(tmp_path / "parts", values)
    resumed = Stage(tiny_model, make_clip)
    resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, straight.model.state_dict()[name], rtol=1e-5, atol=1e-7, msg=name)


def test_a_policy_of_another_shape_is_refused(served, tmp_path, processor, asks, monkeypatch):
    """Also where the server's folder cannot be read here; the server goes on."""
    from tasks.core.world.model import build_model
    from tasks.grpo import server_checks

    narrow = build_model(processor, hidden_size=32, layers=2, heads=2, vision_layers=1, seed=7)
    save_model(narrow, processor, tmp_path / "narrow")
    with pytest.raises(EngineError, match="text.hidden_size 64, not 32"):
        engine_of(served, tmp_path / "narrow", processor)
    monkeypatch.setattr(server_checks, "_check_shape", lambda *_: None)
    engine = engine_of(served, tmp_path / "narrow", processor, seconds=20)
    with pytest.raises(EngineError, match=f"rollout_server: {served.url}: update_weights: 500: .*after a second try"):
        engine.complete(moved(tmp_path / "narrow", 3), encode_media, asks[:1])
