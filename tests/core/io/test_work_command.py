"""`python -m tasks.work` lists and clears what stages left."""

import os
import subprocess
import sys
import time

import pytest

from tasks import work
from tasks.core.io.errors import StageError
from tasks.core.io.work import LOCK, begin_work, claim, find_work


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Works of three stages, the oldest first."""
    monkeypatch.chdir(tmp_path)
    made = {}
    for age, (root, stage) in enumerate((("data", "annotate"), ("models", "sft"), ("models", "grpo"))):
        folder = tmp_path / root / ".work" / stage
        work_of_stage = find_work(folder, stage, {"seed": 0, "stage": stage})
        work_of_stage.folder.mkdir(parents=True)
        (work_of_stage.folder / "work.json").write_text(f'{{"stage": "{stage}", "inputs": {{}}, "facts": {{}}}}')
        made[stage] = work_of_stage.folder
        (made[stage] / f"checkpoint-{age + 4}").mkdir()
        (made[stage] / f"checkpoint-{age + 4}" / "model").write_bytes(b"x" * 5000)
        then = time.time() - (10 - 4 * age) * 86400
        for path in sorted(made[stage].rglob("*"), reverse=True):
            os.utime(path, (then, then))
        os.utime(made[stage], (then, then))
    return made


def test_the_list_tells_what_how_large_and_how_old(folders, capsys):
    assert work.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("3 in all, 15.")
    grpo = next(line for line in lines if line.startswith("grpo"))
    assert "5.0 kB" in grpo and "2.0 days old" in grpo and "step 6, 1 checkpoints" in grpo


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param(["sft"], ["annotate", "grpo"], id="a stage"),
        pytest.param(["sft", "grpo"], ["annotate"], id="stages"),
        pytest.param(["--older-than", "5"], ["grpo"], id="by age"),
        pytest.param(["grpo", "--older-than", "5"], ["annotate", "sft", "grpo"], id="a stage's old work: none"),
        pytest.param(["--all"], [], id="all"),
    ],
)
def test_clear_removes_what_was_asked_for(folders, capsys, arguments, left):
    assert work.main(["clear", *arguments]) == 0
    assert [stage for stage, folder in folders.items() if folder.exists()] == left
    assert capsys.readouterr().out.count("removed") == 3 - len(left)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "clear what?"),
        (["srt"], "srt has no work in progress; stages that have: annotate, grpo, sft"),
        (["--key", "zzz"], "no work whose key begins with zzz"),
    ],
)
def test_a_wrong_request_removes_nothing(folders, arguments, says):
    with pytest.raises(StageError, match=says):
        work.main(["clear", *arguments])
    assert all(folder.exists() for folder in folders.values())


def test_a_running_stage_keeps_its_work(folders, capsys):
    code = f"import fcntl, time; f = open({str(folders['sft'] / LOCK)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1)"
    holder = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline()
        assert work.main(["clear", "--all"]) == 1
        assert [stage for stage, folder in folders.items() if folder.exists()] == ["sft"]
        assert "sft is running; kept" in capsys.readouterr().err
        with pytest.raises(StageError, match="sft: process .* works in .*; end it first"):
            claim(folders["sft"], "sft", wait_seconds=0.1)
    finally:
        holder.kill()
        holder.wait()
    claim(folders["sft"], "sft", wait_seconds=5)


def test_a_process_claims_its_own_work_twice(tmp_path):
    begun = find_work(tmp_path, "sft", {"seed": 0})
    assert begin_work(begun) == begin_work(begun)
