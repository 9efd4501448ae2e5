"""GRPO with weights sharded by FSDP2 over two processes (gloo) computes what one process does with whole weights."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tasks.grpo import collect
from tests.support.graph import ROOT
from tests.support.grpo_stage import parity_score
from tests.support.sharded_grpo import CASES, MIXED, WHOLE_REFERENCE, run

TOLERANCE = {"rtol": 1e-3, "atol": 1e-5}
"""Sums of float32 in another order; the sampled completions are the same ones."""

pytestmark = pytest.mark.slow


def launched(model, work, precision, *cases):
    """Two processes under the shipped configuration; they fail within a minute and never hang."""
    config = ["--config_file", "profiles/accelerate/fsdp_4gpu.yaml", "--num_processes", "2", "--main_process_port", "0"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *config, "--mixed_precision", precision]
    done = subprocess.run(
        [*launch, "tests/support/sharded_grpo.py", str(model), str(work), *cases],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return {path.stem: json.loads(path.read_text()) for path in work.glob("*.json")} | {"told": done.stderr}


@pytest.fixture(scope="module")
def sharded(tiny_model, tmp_path_factory):
    """What two processes wrote, by case."""
    return launched(tiny_model, tmp_path_factory.mktemp("sharded"), "no", *CASES)


@pytest.mark.parametrize("case", CASES)
def test_sharded_weights_equal_whole_ones(tiny_model, tmp_path, monkeypatch, sharded, case):
    monkeypatch.setattr(collect, "score_group", parity_score)
    one, two = run(tiny_model, tmp_path, case, 1), sharded[case]
    torch.testing.assert_close(torch.tensor(two["steps"]), torch.tensor(one["steps"]), **TOLERANCE)
    torch.testing.assert_close(torch.tensor(two["weights"]), torch.tensor(one["weights"]), rtol=1e-4, atol=1e-4)
    assert two["gathers"] > 0 and any(norm > 0 for _, norm, *_ in one["steps"]), "weights were sharded and moved"
    assert two["loads"] == [1, 0], "the first process loads for both, reference model included"
    if case == "lost clip":
        assert {skipped for *_, skipped, _ in one["steps"]} == {0.5}
    if case == "scored":
        assert any(refilled for *_, refilled in one["steps"]), "a second round, which not every process has prompts for"


def test_a_sharded_run_is_resumed_to_the_bit(sharded):
    whole, parts = sharded["penalty"], sharded["resumed"]
    assert parts["weights"] == whole["weights"] and parts["steps"] == whole["steps"]
    assert parts["asked"] < whole["asked"]


def test_an_engine_that_dies_gets_its_weights_from_the_shards_again(sharded):
    assert sharded["told"].count("rollout engine died, started again: RuntimeError: worker lost") == 1


@pytest.fixture(scope="module")
def half(tiny_model, tmp_path_factory):
    """Likewise in mixed precision."""
    return launched(tiny_model, tmp_path_factory.mktemp("half"), "bf16", *MIXED)


def test_half_precision_weights_leave_log_probabilities_and_gradients_whole(half):
    """Log-probabilities that left the model in bfloat16 would end the run; two micro-batches are one of double size."""
    [[_, one, *_]], [[_, two, *_]] = (half[case]["steps"] for case in ("bf16, one micro-batch", "bf16, two"))
    assert two == pytest.approx(one, rel=0.02) and one > 0


def test_a_reference_model_of_half_the_memory_changes_no_bit(half):
    small, whole = half["bf16, reference"], half[WHOLE_REFERENCE]
    assert small["steps"] == whole["steps"] and small["weights"] == whole["weights"]
    assert small["steps"][0][0] == 0.0 < small["steps"][-1][0], "the penalty begins at nought and counts"
    assert small["reference"] == {"kept": ["torch.bfloat16"], "gathered": ["torch.bfloat16"], "left": 0}
    assert "torch.float32" in whole["reference"]["kept"] and whole["reference"]["left"] > 0
