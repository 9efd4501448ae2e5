"""All seven public benchmarks through `dvc repro` on official-format trees, with a broken and a missing clip."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.benchmark_trees import SUITES, annotate, render, runs
from tests.support.graph import ROOT
from tests.support.infer_project import make_project

pytestmark = pytest.mark.slow
STAGE = "benchmark@base"


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model) -> Path:
    """The project's code with a tiny model and the trees, everything before the benchmark stage in place."""
    folder = tmp_path_factory.mktemp("public") / "project"
    for name in ("tasks", "dvc.yaml", ".dvcignore"):
        source = ROOT / name
        (folder).mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    shutil.copytree(tiny_model, folder / "models/tiny")
    annotate(folder / "data/benchmarks")
    render(folder / "data/benchmarks", folder / "clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_project(folder, "models/tiny", **sections((16, 32)))
    (folder / "data/verdicts").mkdir()
    (folder / "data/verdicts/records").write_text("pass")
    (folder / "data/ingest/media").mkdir()
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def sections(frames) -> dict:
    named = runs(Path("data/benchmarks"), Path("clips"))
    return {
        "data_root": "data/raw",
        "prompt": {"template": "brief", "system": "You are a helpful assistant."},
        "models": {"base": "models/tiny", "teacher": "models/tiny"},
        "engine": {"backend": "transformers", "max_model_len": 4096, "batch_size": 32},
        "benchmark": {
            "sampling": {"temperature": 0.01, "top_p": 0.001, "max_tokens": 4},
            "rows": 1,
            "views": ["ordered", "no_video"],
            "annotations_root": "data/benchmarks",
            "official_max_tokens": 4,
            "frames": list(frames),
            "suites": named,
        },
    }


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def repro(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--single-item", STAGE],
        cwd=folder,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def numbers(folder: Path) -> dict:
    return json.loads((folder / "reports/benchmark/base.json").read_text())


def edit_frames(folder: Path, frames) -> None:
    path = folder / "params.yaml"
    config = yaml.safe_load(path.read_text())
    config["benchmark"]["frames"] = list(frames)
    path.write_text(yaml.safe_dump(config))


def test_the_stage_scores_the_rest_and_reports_both_faults(project):
    repro(project)
    found = numbers(project)
    asked = {(one["benchmark"], one["protocol"], one["frames"]) for one in found["entries"] if one["view"] == "ordered"}
    public = {(name, protocol, cap) for name in SUITES for protocol in ("official", "video_r1") for cap in (16, 32)}
    assert asked == {("world", "pipeline", 4), *public}
    for one in found["entries"]:
        faults = {"missing file": 2, "unreadable clip": 1} if one["benchmark"] == "vsi_bench" else {}
        assert one["errors"] == faults
        assert one["answered"] == one["rows"] - sum(faults.values())


def test_a_frame_cap_more_asks_for_that_cap_alone(project):
    before = (project / "data/benchmark/base/mmvu.jsonl").read_text().splitlines()
    edit_frames(project, (16, 32, 64))
    output = repro(project)
    after = (project / "data/benchmark/base/mmvu.jsonl").read_text().splitlines()
    assert set(before) <= set(after), "old answers stand, seconds and all"
    # Four questions under `official`, two of them under `video_r1`; without video there is nothing new.
    assert "mmvu: 6 answers to get, the others are in the log" in output


def test_killed_five_times_at_random_equals_undisturbed(project):
    expected = numbers(project)
    shutil.rmtree(project / "data/benchmark")
    (project / "reports/benchmark/base.json").unlink()
    draw = random.Random(0)
    command = [sys.executable, "-m", "tasks.benchmark", "run", "base"]
    total = sum(one["rows"] for one in expected["entries"])
    for number in range(5):
        child = subprocess.Popen(
            command, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        goal = draw.randint(number * total // 6, (number + 1) * total // 6)
        while child.poll() is None and logged(project) <= goal:
            time.sleep(0.1)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not (project / "reports/benchmark/base.json").exists(), "it was killed before its end"
    subprocess.run(command, cwd=project, env=environment(), check=True, stdout=subprocess.DEVNULL)
    assert numbers(project) == expected


def logged(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "data/benchmark/base").glob("*.jsonl"))
