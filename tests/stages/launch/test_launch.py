"""Command lines of `tasks.launch`."""

import re
import sys
from pathlib import Path

import pytest

from tasks import launch
from tasks.machines import Rendezvous, rendezvous

KNOWN = ["annotate", "grpo", "sft"]


@pytest.mark.parametrize(
    ("stage", "how", "expected"),
    [
        pytest.param("sft", "", [sys.executable, "-m", "tasks.sft"], id="nothing set is python"),
        pytest.param("sft", "python", [sys.executable, "-m", "tasks.sft"], id="python"),
        pytest.param(
            "sft",
            "torchrun:4",
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", "-m", "tasks.sft"],
            id="torchrun with processes",
        ),
        pytest.param("annotate", "torchrun:4", [sys.executable, "-m", "tasks.annotate"], id="only training is split"),
        pytest.param(
            "annotate",
            "srun:--gres=gpu:1 --comment='a b'",
            ["srun", "--ntasks=1", "--gres=gpu:1", "--comment=a b", sys.executable, "-m", "tasks.annotate"],
            id="colons and quotes in the options of srun",
        ),
    ],
)
def test_command(stage, how, expected):
    assert launch.command(stage, [], how, KNOWN) == expected


def test_accelerate_takes_a_configuration(tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text("num_processes: 2\n")
    line = launch.command("grpo", ["--x"], f"accelerate:{config}", KNOWN)
    assert line[1:] == ["-m", "accelerate.commands.launch", "--config_file", str(config), "-m", "tasks.grpo", "--x"]


@pytest.mark.parametrize(
    ("stage", "how", "says"),
    [
        pytest.param("sftt", "", "unknown stage 'sftt'; stages: annotate, grpo, sft", id="stage"),
        pytest.param("sft", "mpirun", "unknown launcher 'mpirun'; launchers: python", id="launcher"),
        pytest.param("sft", "torchrun:many", "not 'many'", id="processes are a number"),
        pytest.param("sft", "accelerate:none.yaml", "no such accelerate configuration: none.yaml", id="configuration"),
        pytest.param("sft", "accelerate", "accelerate wants a configuration", id="a configuration that nobody sees"),
        pytest.param("sft", "torchrun:0", "at least 1, not '0'", id="no process"),
        pytest.param("sft", "torchrun:²", "at least 1", id="a digit that is no number"),
        pytest.param("sft", "python:4", "python takes no argument; torchrun:4 starts", id="python starts one process"),
        pytest.param("annotate", "torchrun:0", "at least 1", id="also of a stage that it would not start"),
        pytest.param("sft", "srun:--comment='a", "options of srun: No closing quotation", id="an open quote"),
        pytest.param("sft", "srun:--ntasks=4", "4 tasks would each do the whole stage", id="tasks without a rank"),
        pytest.param("sft", "srun:-n4 --gres=gpu:1", "4 tasks would each", id="likewise, in short"),
        pytest.param("sft", "srun:-N 2 --ntasks-per-node 8", "8 tasks would each", id="likewise, on each node"),
        pytest.param("sft", "srun:-N 2 -- srun:-N 2", "after `--` torchrun:PROCESSES", id="a step within a step"),
        pytest.param("sft", "srun:-N 2 -- python", "after `--` torchrun:PROCESSES", id="processes without a rank"),
        pytest.param("sft", "srun:-N 2 -- torchrun:x", "not 'x'", id="a wrong launcher within a step"),
    ],
)
def test_refuses(stage, how, says):
    with pytest.raises(launch.LaunchError, match=says):
        launch.command(stage, [], how, KNOWN)


TWO = Rendezvous(1, 2, "10.0.0.1", 29500, "7.3")


def test_a_step_of_slurm_starts_this_module_once_on_every_node():
    """Which is told its rank by Slurm, and starts the node's processes."""
    line = launch.command("grpo", ["--x"], "srun:--nodes=2 --time=1 -- torchrun:8", KNOWN)
    assert line[:5] == ["srun", "--nodes=2", "--time=1", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    assert line[5:8] == ["env", "VIDEO_R1_LAUNCH=torchrun:8", "VIDEO_R1_MACHINE=slurm"]
    assert line[8:] == [sys.executable, "-m", "tasks.launch", "grpo", "--x"]
    assert launch.command("annotate", [], "srun:-N 2 -- torchrun:8", KNOWN) == [sys.executable, "-m", "tasks.annotate"]


def test_launchers_are_told_where_machines_meet(tmp_path):
    line = launch.command("grpo", [], "torchrun:8", KNOWN, TWO)
    assert {"--nnodes=2", "--node-rank=1", "--nproc-per-node=8", "--master-addr=10.0.0.1"} < set(line)
    assert "--master-port=29500" in line and "--standalone" not in line
    config = tmp_path / "eight.yaml"
    config.write_text("num_processes: 8\n")
    line = launch.command("grpo", [], f"accelerate:{config}", KNOWN, TWO)
    assert {"--num_machines=2", "--num_processes=16", "--machine_rank=1", "--main_process_ip=10.0.0.1"} < set(line)
    config.write_text("num_processes: 16\nnum_machines: 2\n")
    assert "--num_processes=16" in launch.command("grpo", [], f"accelerate:{config}", KNOWN, TWO)
    config.write_text("num_processes: 12\nnum_machines: 3\n")
    with pytest.raises(launch.LaunchError, match="num_machines: 3, 2 machines meet"):
        launch.command("grpo", [], f"accelerate:{config}", KNOWN, TWO)


IN_STEP = {f"SLURM_{name}": value for name, value in {"NODEID": "1", "STEP_NUM_NODES": "2", "JOB_ID": "7"}.items()} | {
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NODELIST": "gpu[01-02]",
}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        pytest.param("", {}, None, id="not set: alone"),
        pytest.param("1/2@10.0.0.1:29500", {}, (1, 2, "10.0.0.1", 29500), id="by hand"),
        pytest.param("0/2@[fe80::1]:1", {}, (0, 2, "fe80::1", 1), id="a long address"),
        pytest.param("0/1@a:1", {}, None, id="one machine has nobody to meet"),
        pytest.param("slurm", IN_STEP, (1, 2, "gpu01", 20703), id="a step of Slurm"),
        pytest.param("slurm", IN_STEP | {"SLURM_STEP_NODELIST": "a"}, (1, 2, "a", 20703), id="a name that is no list"),
        pytest.param(
            "slurm", IN_STEP | {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"}, None, id="one node"
        ),
    ],
)
def test_where_machines_meet(tmp_path, monkeypatch, text, environment, expected):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\nprintf 'gpu01\\ngpu02\\n'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = rendezvous(text, environment)
    assert (found and found[:4]) == expected


@pytest.mark.parametrize(
    ("text", "environment", "says"),
    [
        pytest.param("2/2@a:1", {}, "ranks are 0 to MACHINES - 1", id="ranks begin at 0"),
        pytest.param("0/2@a:70000", {}, "ports 1 to 65535", id="no such port"),
        pytest.param("1@a:1", {}, "RANK/MACHINES@HOST:PORT is wanted", id="of how many"),
        pytest.param("0/2@a", {}, "RANK/MACHINES@HOST:PORT is wanted", id="no port"),
        pytest.param("slurm", {}, "not in a step of Slurm: 'SLURM_NODEID'", id="outside of Slurm"),
        pytest.param(
            "slurm", IN_STEP | {"SLURM_STEP_NUM_TASKS": "16"}, "16 tasks on 2 nodes; one task a node", id="a task a GPU"
        ),
        pytest.param("slurm", IN_STEP, "scontrol show hostnames", id="no scontrol to ask"),
    ],
)
def test_a_meeting_that_cannot_be_is_refused(monkeypatch, text, environment, says):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(launch.LaunchError, match=re.escape(says)):
        rendezvous(text, environment)


@pytest.mark.parametrize("arguments", [[], ["nonsense"]], ids=["no stage", "unknown stage"])
def test_one_line_and_exit_code(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["launch", *arguments])
    assert launch.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "sft" in said


def test_finds_the_training_stages():
    assert set(launch.TRAINING) <= set(launch.stages(Path(launch.__file__).parent))
