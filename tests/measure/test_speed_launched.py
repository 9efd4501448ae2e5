"""Steps under a profile's launcher: what is counted, what is told, and that they run on one process and on two."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from measure.speed.grpo import launch, launched
from measure.speed.grpo.job import LaunchedJob
from measure.speed.grpo.launched_settings import settings_of
from measure.speed.grpo.launched_table import check, dense_tflops, last_line, memory_line, no_room, step_table
from measure.speed.grpo.shapes import build, build_without_weights
from measure.speed.grpo.work import CORPUS
from tasks.core.io.errors import StageError
from tasks.core.sizing.flops import floor, packed
from tasks.core.sizing.shapes import SHAPES
from tasks.core.world.model import build_processor
from tests.support.graph import ROOT

SMALL = ["--shape", "mini", "--frames", "4", "--side", "56", "--answer", "5", "--group", "4", "--steps", "2"]


def job(**changes):
    base: dict[str, Any] = {"profile": "video_r1_7b", "shape": "mini", "steps": 2, "frames": 4, "side": 56, "answer": 5}
    return LaunchedJob(**{**base, "group": 4, "prompts": None, "host": False, "folder": "", **changes})


def step(seconds, **changes):
    parts = {"rollouts": seconds / 2, "scoring": 0.5, "update": seconds / 4, "optimizer": 0.1, "other": 0.1}
    counts = {"tokens": 40.0, "operations": 1e12, "gpu_gib": 10.0, "loss": 0.0, "grad_norm": 1.0}
    return {"seconds": seconds, **parts, **counts, **changes}


def process(*steps, **changes):
    made = {"loading_seconds": 3.0, "loading_gpu_gib": 5.0, "host_gib": 2.0}
    return {"device": "NVIDIA H200", "steps": list(steps), **made, **changes}


def test_a_step_is_that_of_the_slowest_process_with_the_tokens_of_all():
    [row, _] = table = step_table([process(step(4.0), step(2.0)), process(step(8.0, gpu_gib=30.0), step(4.0))])
    assert (row["step s"], row["rollouts s"], row["peak GPU GiB"], row["tokens"]) == (8.0, 4.0, 30.0, 80)
    assert row["tokens/s"] == 20.0 and row["TFLOP/s"] == 0.5
    assert row["MFU %"] == pytest.approx(100 * 0.5 / 989)
    assert last_line(table) == (
        "launched step: 4 s (rollouts 2 s, scoring 0.5 s, update 1 s), 40 tokens/s, MFU of the update 0 %"
    )


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        pytest.param("NVIDIA H200", 989, id="H200"),
        pytest.param("NVIDIA H100 80GB HBM3", 989, id="H100, by its driver's name"),
        pytest.param("NVIDIA A100-SXM4-40GB", 312, id="A100, either size"),
        pytest.param("NVIDIA RTX A6000", 155, id="A6000"),
        pytest.param("NVIDIA B200", None, id="unknown: no share is told"),
        pytest.param("cpu", None, id="a processor"),
    ],
)
def test_the_rate_of_a_card_is_known_by_its_name(name, rate):
    assert dense_tflops(name) == rate


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        pytest.param([step(1.0, loss=float("nan"))], "step 1: loss is nan", id="a loss that is no number"),
        pytest.param([step(1.0, grad_norm=float("inf"))], "step 1: grad_norm is inf", id="an infinite gradient"),
        pytest.param([step(1.0, grad_norm=0.0)], "no gradient in 1 of 1 steps", id="no gradient at all"),
        pytest.param([], "no gradient in 0 of 1 steps", id="no step"),
    ],
)
def test_steps_that_are_no_training_are_refused(steps, message):
    with pytest.raises(StageError, match=message):
        check([process(*steps)], 1)


def test_what_did_not_fit_is_one_line(tmp_path, monkeypatch):
    """The allocator's first sentence, and how far the process came."""

    def measure(job, device, numbers):
        numbers |= {"steps": [step(1.0)], "loading_seconds": 1.0, "loading_gpu_gib": 1.0}
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..")

    monkeypatch.setattr(launched, "measure", measure)
    monkeypatch.setattr(launched, "allow_cpu", lambda: None)
    monkeypatch.setattr(launched.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launched.torch.cuda, "memory_allocated", lambda: 2**30)
    monkeypatch.setattr(sys, "argv", ["launched", json.dumps(job(folder=str(tmp_path))._asdict())])
    monkeypatch.delenv("RANK", raising=False)
    assert launched.main() == launched.NO_ROOM
    measured = [json.loads(path.read_text()) for path in launch.files(tmp_path)]
    expected = "CUDA out of memory. Tried to allocate 2.00 GiB (held: 1.0 GiB)"
    assert no_room(measured) == f"did not fit, step 2, process 0 (cpu): {expected}"
    assert no_room([process()]) is None
    early = {name: value for name, value in measured[0].items() if not name.startswith("loading")}
    assert str(no_room([early])).startswith("did not fit, loading")
    assert "of all. Making" not in memory_line([early])


def test_settings_are_the_profiles_but_for_what_is_told():
    params, told = settings_of(job(profile="video_r1_7b_ours", steps=3))
    assert len(told) == 1 and told[0].startswith("grpo.rollout_engine: transformers in place of vllm")
    assert params.grpo.objective.kind == "grpo" and params.grpo.dtype == "bfloat16" and params.grpo.beta == 0.0
    assert (params.grpo.prompts_per_step, params.grpo.sampling.max_tokens, params.grpo.steps) == (8, 5, 3)
    assert settings_of(job(profile="video_r1_3b"))[1] == []
    published, _ = settings_of(job())
    assert (published.grpo.rollout_engine, published.grpo.rollout_sleep) == ("transformers", None)


def test_a_model_without_weights_differs_in_nothing_else():
    processor = build_processor("qwen2_5_vl", CORPUS * 4)
    whole, empty = build(SHAPES["mini"], processor, "float32", "cpu"), None
    empty = build_without_weights(SHAPES["mini"], processor, "float32")
    assert [(n, v.shape, v.dtype) for n, v in empty.named_parameters()] == [
        (n, v.shape, v.dtype) for n, v in whole.named_parameters()
    ]
    ours, theirs = dict(empty.named_buffers()), dict(whole.named_buffers())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert empty.generation_config.to_dict() == whole.generation_config.to_dict()


def test_two_steps_of_a_profile_in_one_process(tmp_path, monkeypatch):
    """Whole weights and a reference model; every completion has its full length, and what is counted is by hand."""
    for name in ("RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    numbers: dict[str, Any] = {"device": "cpu", "host_gib": 1.0}
    launched.measure(job(profile="video_r1_7b"), "cpu", numbers)
    check([numbers], 2)
    assert [each["tokens"] for each in numbers["steps"]] == [(4 + 4) * 5] * 2
    for each in numbers["steps"]:
        assert all(each[part] > 0 for part in ("seconds", "rollouts", "scoring", "update", "optimizer"))
        assert sum(each[part] for part in ("rollouts", "scoring", "update", "optimizer", "other")) == pytest.approx(
            each["seconds"]
        )
    prompt = {round(each["operations"]) for each in numbers["steps"]}
    lengths = range(50, 2000)
    assert prompt <= {round(floor(SHAPES["mini"], packed(n, 5, 4, vision=8, frame=4))) for n in lengths}


def told(*arguments, out):
    """What the command prints on two processors at most."""
    done = subprocess.run(
        [sys.executable, "-m", "measure.speed.grpo", "--launched", *SMALL, *arguments, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out.with_suffix(".md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "processes", "weights"),
    [
        pytest.param(launch.FSDP, "1", "sharded by FSDP2", id="FSDP2 on one process"),
        pytest.param(launch.FSDP, "2", "sharded by FSDP2", id="FSDP2 on two: the second begins without weights"),
        pytest.param(
            "profiles/accelerate/cpu_2.yaml", "2", "whole in every process", id="two processes, whole weights"
        ),
    ],
)
def test_steps_run_under_the_launcher(tmp_path, config, processes, weights):
    """A step that has no gradient, or whose loss is not finite, would fail the command."""
    page = told("--config", config, "--processes", processes, out=tmp_path / "table")
    assert page.count("\n| 1 |") == page.count("\n| 2 |") == 1 and weights in page
    assert f"{processes} process(es) on cpu" in page and "launched step: " in page.splitlines()[-1]


def test_a_configuration_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(StageError, match=r"no such accelerate configuration: nowhere\.yaml"):
        launch.main(["--config", "nowhere.yaml", "--out", str(tmp_path / "table")])
