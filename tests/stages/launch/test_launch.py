"""Command lines of `tasks.launch`."""

import sys
from pathlib import Path

import pytest

from tasks import launch

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
            ["srun", "--gres=gpu:1", "--comment=a b", sys.executable, "-m", "tasks.annotate"],
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
    ],
)
def test_refuses(stage, how, says):
    with pytest.raises(launch.LaunchError, match=says):
        launch.command(stage, [], how, KNOWN)


@pytest.mark.parametrize("arguments", [[], ["nonsense"]], ids=["no stage", "unknown stage"])
def test_one_line_and_exit_code(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["launch", *arguments])
    assert launch.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "sft" in said


def test_finds_the_training_stages():
    assert set(launch.TRAINING) <= set(launch.stages(Path(launch.__file__).parent))
