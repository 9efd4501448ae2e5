"""Two processes (gloo) compute what one does with the same global batch: whole groups, and a group over both."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tasks.grpo import collect
from tests.support.graph import ROOT
from tests.support.grpo_process import LAYOUTS, run
from tests.support.grpo_stage import parity_score

TOLERANCE = {"rtol": 1e-3, "atol": 1e-5}
"""Sums of float32 in another order; the sampled answers are the same ones. Entropy is not compared: it is that of the
rows in the forward, and a process without a gradient fills up with others."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_processes(tiny_model, tmp_path_factory):
    """What two processes wrote, by layout."""
    work = tmp_path_factory.mktemp("two")
    config = "profiles/accelerate/cpu_2.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    done = subprocess.run(
        [*launch, "tests/support/grpo_process.py", str(tiny_model), str(work)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {path.stem: json.loads(path.read_text()) for path in work.glob("*.json")} | {"told": done.stderr}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_equal_one(tiny_model, tmp_path, monkeypatch, two_processes, layout):
    monkeypatch.setattr(collect, "score_group", parity_score)
    one, two = run(tiny_model, tmp_path, layout, 1), two_processes[layout]
    assert any(loss for loss, *_ in one["losses"]), "something is learned"
    torch.testing.assert_close(torch.tensor(two["losses"]), torch.tensor(one["losses"]), **TOLERANCE)
    torch.testing.assert_close(torch.tensor(two["weights"]), torch.tensor(one["weights"]), rtol=1e-4, atol=1e-4)


def test_an_engine_that_dies_in_one_process_is_started_again_there(two_processes):
    """The other process keeps its engine and waits; the run is the one in which nothing died."""
    assert two_processes["told"].count("rollout engine died, started again: RuntimeError: worker lost") == 1
    for name, values in two_processes["dying"].items():
        torch.testing.assert_close(torch.tensor(values), torch.tensor(two_processes["whole, vllm"][name]), **TOLERANCE)


@pytest.mark.parametrize("rank", [0, 1])
def test_sharded_weights_sample_what_whole_ones_do(two_processes, rank):
    """FSDP2 on the CPU; the processes differ in medium and in how many tokens they want."""
    found = two_processes[f"answers-{rank}"]
    assert found["sharded"] == found["whole"]
    lengths = [len(ids) for one in (0, 1) for ids in two_processes[f"answers-{one}"]["whole"]]
    assert len(set(lengths)) > 1
