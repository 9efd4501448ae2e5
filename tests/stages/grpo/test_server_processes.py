"""Rollouts by one server for two processes (gloo): what one process gets, with whole or sharded weights; one error."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tasks.grpo import collect
from tests.support.graph import ROOT
from tests.support.grpo_stage import parity_score

pytest.importorskip("vllm", reason="vLLM is not installed; its side of the weight transfer is not there")
from tests.support.rollout_server import GENERATE, UPDATE, rollout_server
from tests.support.server_process import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tiny_model, tmp_path_factory):
    """What two processes wrote, by file; they fail within minutes and never hang."""
    work = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "profiles/accelerate/cpu_2.yaml"]
    faults = {GENERATE: ["ok"] * 8 + ["500"] * 100}
    with rollout_server(tiny_model) as server, rollout_server(tiny_model, faults) as bad:
        done = subprocess.run(
            [*launch, "tests/support/server_process.py", str(tiny_model), str(work), server.url, bad.url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr[-6000:]
        written = {path.stem: json.loads(path.read_text()) for path in work.glob("*.json")}
        return written | {"asked": server.asked, "bad": bad.url}


def test_two_processes_equal_one(tiny_model, tmp_path, monkeypatch, two):
    monkeypatch.setattr(collect, "score_group", parity_score)
    with rollout_server(tiny_model) as server:
        one = run(tiny_model, tmp_path, server.url, 1)
    assert any(loss for loss, *_ in one["steps"]) and any(refilled for *_, refilled in one["steps"])
    torch.testing.assert_close(torch.tensor(two["run"]["steps"]), torch.tensor(one["steps"]), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(torch.tensor(two["run"]["weights"]), torch.tensor(one["weights"]), rtol=1e-4, atol=1e-4)


def test_sharded_weights_reach_the_server_whole(two):
    """The second process asks nothing, and has its half of the weights to give."""
    first, second = two["completions-0"], two["completions-1"]
    assert first["sharded"] == first["whole"] and first["whole"][0] != first["whole"][1]
    assert second == {"whole": [[], []], "sharded": [[], []]}
    assert two["asked"][UPDATE] == 3 + 2 + 2, "a transfer for each step, and for each version of both"


def test_a_server_that_fails_ends_all_processes_with_one_error(two):
    assert two["error-0"] == two["error-1"]
    assert two["error-0"].startswith(f"grpo.rollout_server: {two['bad']}: {GENERATE}: 500")
