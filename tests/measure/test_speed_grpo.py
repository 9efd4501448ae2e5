"""The speed benchmark: what it counts, whom it compares with, and that every path runs."""

import math
import subprocess
import sys

import pytest
import torch

from measure.speed.grpo import __main__ as command
from measure.speed.grpo.job import CACHED, LEVERS, Job
from measure.speed.grpo.step import measure_steps, with_levers
from measure.speed.grpo.table import Measured, cost_curves, loads, markdown, rows, step_rows, step_verdict, verdict
from measure.speed.grpo.work import measure
from tasks.core.io.errors import StageError
from tasks.core.sizing.flops import Load, alone, floor, operations, packed, recomputed
from tasks.core.sizing.shapes import SHAPES
from tasks.core.train.packing import PositionedPrompt, pack
from tasks.params import Grpo, load
from tests.support.graph import ROOT

TOGETHER = ("encode_once", "share_prefix", "share_prefix_update", "selective_checkpointing")


def job(path="ours", levers=(), micro=2, **changes):
    base = {
        **{
            "family": "qwen2_5_vl",
            "shape": "mini",
            "frames": 4,
            "side": 56,
            "group": 4,
            "shuffled": 2,
            "answer": 3,
            "timed_rows": 2,
        },
        **{"repeats": 1, "whole": False, "dtype": "float32", "device": "cpu"},
    }
    return Job(path=path, levers=levers, micro=micro, **{**base, **changes})


def measured(name, seconds, peak, **changes):
    parts = {"forward": seconds / 2, "backward": seconds / 2}
    return Measured(name, job(**changes), {"wall": parts, "processor": parts, "peak_mb": peak, "prompt": 20})


def test_packed_load_is_what_a_packed_row_holds():
    """Counted from the lengths against a packed row."""
    prompt = PositionedPrompt(torch.zeros(20).long(), torch.zeros(3, 20).long(), 20)
    row = pack([prompt], [4], torch.zeros(4, 3).long(), torch.ones(4, 3).long())
    load = packed(20, 3, 4, vision=8, frame=4)
    assert (load.tokens, load.scored) == (row.ids.shape[1], len(row.predictors))
    assert load.pairs == 20 * 21 // 2 + 4 * (21 + 22)


@pytest.mark.parametrize(
    ("path", "levers", "micro", "expected"),
    [
        pytest.param("ours", (), 2, alone(20, 3, 4, 8, 4, encoded=4, all_scored=True), id="plain: a pass for each row"),
        pytest.param("ours", TOGETHER[:1], 2, alone(20, 3, 4, 8, 4, 2, True), id="encode once: for each micro-batch"),
        pytest.param("trl", (), 2, alone(20, 3, 4, 16, 4, 4, True), id="frames as images: twice the vision tokens"),
        pytest.param("ours", TOGETHER, 4, packed(20, 3, 4, 8, 4), id="a packed row"),
        pytest.param("ours", (*TOGETHER, CACHED), 4, packed(20, 3, 4, 0, 4), id="cached features: no vision pass"),
        pytest.param("ours", TOGETHER, 2, Load(48, 2 * (210 + 2 * 43), 16, 4, 12), id="two packed rows read it twice"),
    ],
)
def test_loads(path, levers, micro, expected):
    found, least = loads(job(path, levers, micro), 20)
    assert found == expected
    assert least.tokens <= found.tokens


def test_operations_of_one_linear_layer_by_hand():
    """No attention, no vision: 2 operations a weight and token, three times over."""
    shape = SHAPES["mini"]._replace(layers=1)
    weights = 128 * (2 * 128 + 2 * 128 + 3 * 384)
    assert operations(shape, Load(10, 0, 0, 4, 0)) == 3 * 2 * weights * 10
    head = 2 * 128 * 600
    assert recomputed(shape, Load(10, 0, 0, 4, 0)) == 2 * 2 * 128 * 384 * 10
    assert operations(shape, Load(0, 0, 0, 4, 1)) == 4 * head > floor(shape, Load(0, 0, 0, 4, 1)) == 3 * head


def test_ratios_are_to_the_fastest_micro_batch():
    table = [
        measured("plain", 8.0, 100.0, micro=1),
        measured("plain", 6.0, 300.0, micro=2),
        measured("all levers", 1.0, 150.0, levers=TOGETHER, micro=4),
        measured("TRL", 12.0, 400.0, path="trl"),
    ]
    assert verdict(table, "wall") == "policy update: 6.0x plain, 12.0x TRL, peak memory 0.50x plain"
    assert verdict(table[:3], "wall") == "policy update: 6.0x plain, peak memory 0.50x plain"
    found = rows(table, "wall")
    assert [row["faster"] for row in found] == [0.75, 1.0, 6.0, 0.5]
    assert [row["video tokens"] for row in found] == [8, 8, 8, 16]
    assert markdown(found).count("\n") == 6


def test_cost_curves_hold_one_thing_fixed():
    """Plain grows with rows, all levers with answers; the fastest micro-batch of plain counts."""
    table = [
        measured(name, seconds, 1.0, frames=frames, group=group, micro=micro)
        for frames, group, plain, ours in ((8, 4, 4.0, 2.0), (16, 4, 8.0, 4.0), (8, 16, 16.0, 3.0), (16, 16, 32.0, 5.0))
        for name, seconds, micro in (("plain", plain, 1), ("plain", 2 * plain, 2), ("all levers", ours, group))
    ]
    text = cost_curves(table, "wall")
    assert [line for line in text.splitlines() if line.startswith("At")] == [
        *("At 8 frames:", "At 16 frames:", "At G 4:", "At G 16:")
    ]
    assert "| 4 | 4 | 2 | 2 |\n| 16 | 16 | 3 | 5.33 |\n| 4.0x | 4.0x | 1.5x |  |\n" in text
    assert "| 8 | 16 | 3 | 5.33 |\n| 16 | 32 | 5 | 6.4 |\n| 2.0x | 2.0x | 1.7x |  |\n" in text
    assert cost_curves(table[:3], "wall") == "", "nothing varies"


def test_a_step_is_compared_by_its_mean():
    found = {
        "plain": {"wall": [4.0, 6.0], "processor": [8.0, 8.0], "length": 20.0},
        "all levers": {"wall": [2.0, 2.0], "processor": [2.0, 6.0], "length": 21.0},
    }
    assert step_verdict(found, "wall") == "grpo step: 2.5x plain"
    assert step_verdict(found, "processor") == "grpo step: 2.0x plain"
    assert step_rows(found)[0] == {"path": "plain", "wall s": 5.0, "processor s": 8.0, "tokens": 20.0}


def test_a_step_without_levers_differs_in_nothing_else():
    settings = Grpo(prompts_per_step=2)
    off = with_levers(settings, on=False, steps=3)
    changed = {name for name, value in off.model_dump().items() if value != settings.model_dump()[name]}
    assert changed - {"steps", "save_steps"} == set(LEVERS) - {"selective_checkpointing"}, "off before too"
    assert with_levers(settings, on=True, steps=3).encode_once


def test_steps_of_a_run_are_timed(tiny_model):
    """The first is not among them."""
    params = load(ROOT / "measure/smallest/params.yaml")
    found = measure_steps(params, tiny_model, on=True, steps=1)
    assert len(found["wall"]) == len(found["processor"]) == 1
    assert found["wall"][0] > 0 and found["length"] > 0


def test_quick_asks_for_every_path_once_or_twice(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["perf", "--quick", "--device", "cpu"])
    asked = list(command.jobs(command._options()))
    assert [name for name, _ in asked] == ["plain", "plain", "share prefix", "all levers", "TRL"]
    assert [command._job(values).micro for _, values in asked] == [1, 2, 8, 8, 1]


@pytest.mark.parametrize(("family", "side"), [("qwen2_5_vl", 308), ("qwen3_vl", 352)])
def test_a_frame_is_as_many_tokens_in_every_family(family, side, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["perf", "--quick", "--device", "cpu", "--family", family])
    options = command._options()
    assert {values["side"] for _, values in command.jobs(options)} == {side}
    assert options.out.endswith("small-quick")


def test_paths_that_are_not_asked_for_are_not_measured(monkeypatch, tmp_path):
    """Curves over frames and G from two paths; ratios without plain are refused."""
    found = {"wall": {"forward": 1.0, "backward": 1.0}, "processor": {}, "peak_mb": 1.0, "prompt": 20}
    run = []
    monkeypatch.setattr(command, "_run", lambda job, threads: run.append(job) or found)
    sizes = ["--frames", "4", "8", "--group", "2", "4", "--micro", "1", "--timed-rows", "1", "--repeats", "1"]
    asked = ["perf", "--device", "cpu", *sizes, "--out", str(tmp_path / "curves"), "--paths", "all levers"]
    monkeypatch.setattr(sys, "argv", [*asked, "plain"])
    assert command.main() == 0
    assert [(job["frames"], job["group"], job["timed_rows"]) for job in run] == [
        (frames, group, rows) for frames in (4, 8) for group in (2, 4) for rows in (1, group)
    ]
    assert (tmp_path / "curves.md").read_text().count("At ") == 4
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(StageError, match="ratios need plain too"):
        command.main()


def test_cached_features_are_not_encoded_in_the_timed_passes():
    found = measure(job(levers=(*TOGETHER, CACHED), micro=2))
    assert found["wall"]["forward"] > 0 and "encode" not in found["wall"]


@pytest.mark.parametrize(
    "case",
    [
        job(),
        job(levers=TOGETHER, micro=4, whole=True),
        job("trl"),
        job(family="qwen3_vl", side=64),
        job(levers=TOGETHER, micro=4, family="qwen3_vl", side=64),
        job("trl", family="qwen3_vl", side=64),
    ],
    ids=["plain", "all levers, whole step", "trl", "Qwen3-VL", "Qwen3-VL, all levers", "Qwen3-VL, trl"],
)
def test_every_path_runs(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = measure(case)
    for part in ("encode", "forward", "backward", *(("decode", "rollout", "optimizer") if case.whole else ())):
        assert found["wall"][part] > 0
    assert math.isfinite(found["peak_mb"]) and found["prompt"] > 8
    assert not list(tmp_path.iterdir()), "nothing is left behind"


BARE = """
import importlib, sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = ("av", "decord", "vllm", "dvc", "great_expectations", "prefect", "qwen_vl_utils", "tensorboard")
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
for module in ("measure.speed.grpo.launch", "measure.speed.grpo.launched", "tasks.sft.train"):
    importlib.import_module(module)
"""


@pytest.mark.slow
def test_an_update_on_frames_in_memory_needs_no_decoder():
    """A machine with a GPU may have torch, transformers and what trains with them alone."""
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
