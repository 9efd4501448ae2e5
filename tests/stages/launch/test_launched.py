"""Training stages under `accelerate launch` with two CPU processes: whole weights, and weights sharded by FSDP2.

Both against one process with the same global batch, from the mini base model, with the settings of the 7B profile.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils.other import get_free_port

from tasks import paths
from tasks.core.io import work as work_module
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import read_table, write_table
from tasks.core.models.load import load_model
from tasks.core.schemas.records import RECORD_SCHEMA, SFT_SCHEMA, record_from_row
from tasks.launch import command
from tasks.machines import Rendezvous
from tests.support.graph import ROOT
from tests.support.training_project import make_project

CONFIGS = sorted((ROOT / "profiles/accelerate").glob("*.yaml"))
BASE = ROOT / "models/world/base"
TOLERANCE = {"rtol": 2e-3, "atol": 2e-5}
"""Sums of float32 in another order; the sampled answers are the same ones."""
SFT = {"epochs": 1.0, "learning_rate": 1e-4, "save_steps": 1, "dtype": "float32"}
GRPO = {
    **{"steps": 3, "group": 4, "learning_rate": 3e-4, "save_steps": 1, "dtype": "float32"},
    **{"sampling": {"temperature": 1.0, "max_tokens": 24}, "frame_cache_gb": 1.0},
    "objective": {"kind": "tgrpo_reward", "completions": 2},
    "reward_variant": "robust",
    **{"rollout_engine": "transformers", "rollout_sleep": None},
}
"""What the 7B profile's values are replaced by, so that a model of a few weights learns in three steps."""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_configuration_and_layers_come_from_the_model(path):
    config = load_config_from_file(str(path))
    assert config.num_processes > 1
    assert bool(config.fsdp_config) == path.stem.startswith("fsdp")
    assert "fsdp_transformer_layer_cls_to_wrap" not in (config.fsdp_config or {})


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A project folder before training: questions and clips of the mini world, and the base model as the SFT model."""
    from tasks.ingest.__main__ import main as ingest

    folder = tmp_path_factory.mktemp("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_project(folder, BASE)
        write_params(2)
        ingest()
        rows = [record_from_row(row) for row in read_table(paths.RL_RECORDS, RECORD_SCHEMA)]
        learn = [dataclasses.asdict(row) | {"process": "<think>so</think>", "reward": 1.0} for row in rows]
        write_table(paths.SFT_ROWS, learn, SFT_SCHEMA)
    return folder


def write_params(rows):
    """Parameters of the working directory; `rows` is how many rows or prompts a process takes in a step."""
    profile = yaml.safe_load((ROOT / "profiles/video_r1_7b.yaml").read_text())
    params = yaml.safe_load((ROOT / "profiles/mini.yaml").read_text()) | {
        "models": {"base": str(BASE)},
        "start": {"at": "teacher", "path": None, "media_root": None},
        "ingest": {"sources": [{"name": "rl", "format": "world", "split": "rl", "rows": 6, "seed": 2}], "workers": 1},
        "sft": {**profile["sft"], **SFT, "gradient_accumulation": rows},
        "grpo": {**profile["grpo"], **GRPO, "prompts_per_step": rows},
    }
    paths.PARAMS.write_text(yaml.safe_dump(params))


def result(folder):
    """Losses, gradient norms and weights of the stages run in a folder."""
    found = {}
    for stage, out in (("sft", paths.SFT_MODEL), ("grpo", paths.GRPO_MODEL)):
        curve = folder / paths.curve(stage)
        if curve.is_file():
            names, *lines = (line.split(",") for line in curve.read_text().splitlines())
            keep = [names.index(name) for name in ("step", "loss", "grad_norm")]
            found[f"{stage} curve"] = torch.tensor([[float(line[i]) for i in keep] for line in lines])
            state = load_model(folder / out).state_dict()
            found[f"{stage} weights"] = torch.tensor([value.double().abs().sum() for value in state.values()])
    steps = read_jsonl(folder / paths.GRPO_STEPS)
    found["grpo metrics"] = torch.tensor([[line[name] for name in ("reward", "accuracy", "length")] for line in steps])
    return found


def launched(folder, command, **environment):
    """Run in a project folder; what it printed."""
    quiet = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **quiet, **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def alone(start, tmp_path_factory):
    """A project folder in which one process did both stages, and what came out."""
    from tasks.grpo.__main__ import main as grpo
    from tasks.sft.__main__ import main as sft

    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(start, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (sft(), grpo()) == (0, 0)
    found = result(folder)
    assert found["sft curve"][:, 2].min() > 0 and found["grpo curve"][:, 2].min() > 0.01, found
    return folder, found


@pytest.fixture
def project(start, tmp_path, monkeypatch):
    """The working directory: `start` with half the rows for each of two processes."""
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_params(1)
    return tmp_path


SRUN = """#!/bin/sh
# Stands for two nodes: the command once as each of them.
while [ "$1" != env ]; do shift; done
export SLURM_STEP_NUM_NODES=2 SLURM_STEP_NUM_TASKS=2 SLURM_JOB_ID=$$ SLURM_STEP_ID=0 SLURM_STEP_NODELIST=127.0.0.1
SLURM_NODEID=1 "$@" & second=$!
SLURM_NODEID=0 "$@" && wait "$second"
"""


def launch_of(kind, folder):
    """VIDEO_R1_LAUNCH, and the PATH under which it works."""
    shipped = ROOT / "profiles/accelerate/cpu_2.yaml"
    if kind == "one machine":
        return {"VIDEO_R1_LAUNCH": f"accelerate:{shipped}"}
    (folder / "srun").write_text(SRUN)
    (folder / "srun").chmod(0o755)
    (folder / "one.yaml").write_text(shipped.read_text().replace("num_processes: 2", "num_processes: 1"))
    return {"VIDEO_R1_LAUNCH": "srun:--nodes=2 -- accelerate:one.yaml", "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one machine", "two nodes of Slurm"])
def test_accelerate_launch_on_two_processes_equals_one(alone, project, kind):
    """The command that users run, with the shipped configuration."""
    folder, expected = alone
    shutil.rmtree(paths.SFT_MODEL)
    shutil.copytree(folder / paths.SFT_MODEL, paths.SFT_MODEL)
    launched(project, ["-m", "tasks.launch", "grpo"], **launch_of(kind, project))
    found = result(project)
    for name in ("grpo curve", "grpo metrics", "grpo weights"):
        torch.testing.assert_close(found[name], expected[name], **TOLERANCE, msg=f"{name}: {found[name]}")


@pytest.mark.slow
def test_sharded_weights_train_save_and_resume_as_whole_ones(alone, project):
    """The shipped FSDP2 configuration; GRPO's second step is its last on one machine, the others are on two."""
    config = ROOT / "profiles/accelerate/fsdp_4gpu.yaml"
    ours = ["--num_processes", "2", "--mixed_precision", "no", "--main_process_port", "0"]
    script = str(ROOT / "tests/support/sharded_stage.py")
    launched(project, ["-m", "accelerate.commands.launch", "--config_file", config, *ours, script, "2", "sft", "grpo"])
    assert not paths.GRPO_MODEL.exists()
    whole = config.read_text().replace("num_processes: 4", "num_processes: 1").replace("bf16", '"no"')
    Path("one.yaml").write_text(whole)
    port = get_free_port()
    first, second = (
        [*command("grpo", [], "accelerate:one.yaml", ["grpo"], Rendezvous(rank, 2, "127.0.0.1", port, ""))[1:-2]]
        for rank in (0, 1)
    )
    with ThreadPoolExecutor() as pool:
        told = [
            task.result()
            for task in [pool.submit(launched, project, [*each, script, "0", "grpo"]) for each in (first, second)]
        ]
    assert "grpo: resuming from" in told[0]
    found = result(project)
    for name, value in alone[1].items():
        torch.testing.assert_close(found[name], value, **TOLERANCE, msg=f"{name}: {found[name]} {value}")


def let_go():
    """What a stage that was cut off does by ending: leave its work to the next one."""
    for number in work_module._CLAIMED.values():
        os.close(number)
    work_module._CLAIMED.clear()


@pytest.mark.slow
def test_sft_of_one_process_goes_on_with_two_by_the_same_rows_or_not_at_all(alone, start, tmp_path, monkeypatch):
    """Cut off at its third step; two processes with as many rows each would leave out what they take for done."""
    from tasks.sft.__main__ import main as sft

    folder, expected = alone
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_params(2)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.sft.__main__.publish", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sft()
    [work] = (path.parent for path in (paths.WORK_MODELS / "sft").glob("*/work.json"))
    let_go()
    shutil.rmtree(work / "checkpoint-3")
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tasks.sft"]
    with pytest.raises(AssertionError, match="trained by 1 processes; 2 processes would change rows_per_step: 2 -> 4"):
        launched(tmp_path, two)
    write_params(1)
    assert "sft: resuming from" in launched(tmp_path, two)
    found = result(tmp_path)
    for name in ("sft curve", "sft weights"):
        torch.testing.assert_close(found[name], expected[name], **TOLERANCE, msg=f"{name}: {found[name]}")
