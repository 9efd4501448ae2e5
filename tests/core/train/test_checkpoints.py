"""Only a whole checkpoint is resumed from; one that is not costs the steps since the one before it."""

import json
import re

import pytest

from tasks.core.io.errors import StageError
from tasks.core.train.checkpoints import MARKER, flaw, newest_checkpoint, resume_point, seal


def checkpoint(work, step, sealed=True):
    folder = work / f"checkpoint-{step}"
    (folder / "shards").mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "shards/0.distcp", "shards/.metadata"):
        (folder / name).write_bytes(f"{name} {step}".encode() * 9)
    if sealed:
        seal(folder)
    return folder


def cut(folder):
    file = folder / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:40])


def zero(folder):
    file = folder / "shards/0.distcp"
    file.write_bytes(b"\0" * file.stat().st_size)


DAMAGE = [
    pytest.param(cut, r"optimizer.pt has 40 bytes, \d+ were written", id="a file cut short"),
    pytest.param(zero, "shards/0.distcp has other contents", id="a file of zeros, as a power cut leaves it"),
    pytest.param(lambda f: (f / "shards/.metadata").unlink(), "shards/.metadata is missing", id="a hidden file lost"),
    pytest.param(lambda f: (f / MARKER).unlink(), f"{MARKER} is missing", id="torn by a crash: no marker"),
    pytest.param(lambda f: (f / MARKER).write_text('{"mod'), f"{MARKER} is not JSON", id="a marker cut short"),
    pytest.param(
        lambda f: (f / MARKER).write_text("[]"), f"{MARKER} is no list of files", id="a marker of another kind"
    ),
    pytest.param(lambda f: (f / MARKER).write_text("{}"), f"{MARKER} is no list of files", id="a marker of no file"),
    pytest.param(lambda f: (f / MARKER).write_text('{"a": 3}'), f"{MARKER} is no list of files", id="a size alone"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGE)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_with_a_word(tmp_path, capsys, damage, says):
    before, newest = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert newest_checkpoint(tmp_path) == newest
    damage(newest)
    assert resume_point(tmp_path, "sft", 20) == (before, 9)
    told = capsys.readouterr()
    assert "sft: resuming from" in told.out and "step 9 of 20" in told.out
    assert re.search(f"checkpoint-10: passed over: {says}", told.err), told.err
    assert (tmp_path / "damaged-checkpoint-10").is_dir(), "kept, out of the way of the step done again"
    assert newest_checkpoint(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda path: path.write_text("x"), f"{MARKER} is missing", id="a file"),
        pytest.param(
            lambda path: (path / MARKER).mkdir(parents=True), "cannot be read: Is a directory", id="no marker"
        ),
    ],
)
def test_what_is_no_checkpoint_is_passed_over(tmp_path, capsys, make, says):
    before = checkpoint(tmp_path, 9)
    make(tmp_path / "checkpoint-10")
    assert newest_checkpoint(tmp_path) == before and says in capsys.readouterr().err


def test_when_none_is_whole_the_run_begins_anew(tmp_path):
    checkpoint(tmp_path, 5, sealed=False)
    assert resume_point(tmp_path, "sft", 20) == (None, 0)
    assert resume_point(tmp_path / "absent", "sft", 20) == (None, 0)


def test_a_checkpoint_sealed_again_is_whole(tmp_path):
    folder = checkpoint(tmp_path, 5)
    (folder / "model.safetensors").write_bytes(b"other")
    seal(folder)
    assert flaw(folder) is None
    assert set(json.loads((folder / MARKER).read_text())) == {
        *("model.safetensors", "optimizer.pt", "shards/0.distcp", "shards/.metadata")
    }


def test_fewer_steps_than_are_done_is_refused(tmp_path):
    checkpoint(tmp_path, 60)
    with pytest.raises(StageError, match="60 steps are done, more than the 50 asked for.*tasks.work clear grpo"):
        resume_point(tmp_path, "grpo", 50)
    assert resume_point(tmp_path, "grpo", 60).step == 60
