"""The kill script sees what it must see: orphans, locks in the way, outputs that differ. On the toy graph."""

import random
import shutil
import time
from pathlib import Path

import pytest
import yaml

from measure import faults
from measure.smallest.project import differing, outputs
from tasks.core.io.errors import StageError
from tests.support.toy_project import dvc, make_toy


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """The toy graph; its first stage sleeps once, in a process that knows nothing of its parent."""
    monkeypatch.setattr(faults, "EARLIEST_SECONDS", 0.5)
    monkeypatch.setattr(faults, "END_SECONDS", 2.0)
    folder = make_toy(tmp_path / "toy")
    graph = yaml.safe_load((folder / "dvc.yaml").read_text())
    sleep = "test -e slept || (touch slept && sleep 100)"
    graph["stages"]["rows"]["cmd"] = [sleep, graph["stages"]["rows"]["cmd"]]
    (folder / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    return folder


@pytest.fixture
def undisturbed(toy, tmp_path):
    folder = shutil.copytree(toy, tmp_path / "undisturbed")
    (folder / "slept").touch()
    assert dvc(folder, "repro", "-q").returncode == 0
    return outputs(folder)


class Drawn(random.Random):
    """Draws the moment in which the toy's first stage sleeps, and one kind."""

    def __init__(self, kind: str, begun: Path) -> None:
        super().__init__()
        self.kind, self.begun = kind, begun

    def uniform(self, a, b):
        deadline = time.monotonic() + 120
        while not self.begun.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        return a

    def choice(self, seq):
        return self.kind


def disturbed(toy: Path, kind: str, undisturbed):
    draw = Drawn(kind, toy / "slept")
    return faults.disturbed(toy, ["dvc"], 1, 10.0, draw, undisturbed, toy.parent / "prefect")


@pytest.mark.slow
def test_a_killed_tree_leaves_nothing_and_its_rerun_equals_an_undisturbed_run(toy, undisturbed):
    done = disturbed(toy, "tree", undisturbed)
    [kill] = done.kills
    assert (kill.stage, kill.killed > 2, kill.left) == ("rows", True, ())
    assert (done.blocked, done.differs, done.files) == ((), (), len(undisturbed))
    assert faults.failures(done) == []
    table = faults.table([done], seed=7)
    assert "| 1 | dvc | tree | 0.5 | rows |" in table and f"| 1 | 1 | 0 | {len(undisturbed)} | 0 |" in table


@pytest.mark.slow
def test_a_process_that_lives_on_and_an_output_that_differs_are_told(toy, undisturbed):
    done = disturbed(toy, "command", undisturbed | {"model.txt": "of another run"})
    told = faults.failures(done)
    assert "dvc: command in rows: lives on: sleep 100" in told
    assert told[-1] == "model.txt: differs"


@pytest.mark.slow
def test_a_rerun_that_fails_is_told_with_its_last_lines(toy, undisturbed):
    params = yaml.safe_load((toy / "params.yaml").read_text())
    (toy / "params.yaml").write_text(yaml.safe_dump(params | {"fail": "train"}))
    with pytest.raises(StageError, match=r"(?s)dvc: rerun after .*failed to reproduce 'train'"):
        disturbed(toy, "tree", undisturbed)


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        pytest.param({"a": "1"}, {"a": "1"}, [], id="equal"),
        pytest.param({"a": "1"}, {"a": "2"}, ["a: differs"], id="other bytes"),
        pytest.param({"a": "1", "b": "1"}, {"a": "1"}, ["b: in the first run only"], id="missing"),
        pytest.param({"a": "1"}, {"a": "1", "c": "1"}, ["c: in the second run only"], id="one more"),
    ],
)
def test_two_runs_are_compared_file_by_file(first, second, lines):
    assert differing(first, second) == lines


def test_every_file_of_every_output_is_compared(toy, undisturbed):
    assert {"dvc.lock", "data/rows.txt", "data/verdict", "model.txt", "report.txt", "scores/tuned.txt"} < {*undisturbed}


def test_the_order_of_entries_in_the_lock_is_no_difference(tmp_path, undisturbed):
    lock = tmp_path / "undisturbed/dvc.lock"
    entries = yaml.safe_load(lock.read_text())
    stages = dict(reversed(entries["stages"].items()))
    lock.write_text(yaml.safe_dump({"stages": stages, "schema": entries["schema"]}, sort_keys=False))
    assert outputs(tmp_path / "undisturbed") == undisturbed
    next(iter(stages.values()))["cmd"] = "another"
    lock.write_text(yaml.safe_dump({"stages": stages, "schema": entries["schema"]}, sort_keys=False))
    assert differing(undisturbed, outputs(tmp_path / "undisturbed")) == ["dvc.lock: differs"]


def test_outputs_of_a_folder_that_did_not_run_or_lost_some_are_refused(toy, tmp_path, undisturbed):
    with pytest.raises(StageError, match="no stage has run"):
        outputs(toy)
    (tmp_path / "undisturbed/model.txt").unlink()
    with pytest.raises(StageError, match=r"train: model.txt is missing"):
        outputs(tmp_path / "undisturbed")
