"""The whole graph at its smallest, by the same code and dvc.yaml: it runs, rests, then reruns what an edit touches.

measure/smallest/project.py makes it: a copy of the project with the params.yaml of that folder and two models of a few
hundred thousand weights.
"""

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from measure.faults import disturbed, failures
from measure.smallest.project import digest, environment, make_project, outputs, run
from tests.support.graph import ROOT, covers, stages
from tests.support.small_disk import leave, make_room, mounted

pytestmark = pytest.mark.slow

GATES = {name for name in stages() if name.startswith("validate@")}
ALL = set(stages()) - {"world"}  # frozen


def repro(folder: Path) -> set[str]:
    """Stages that `dvc repro` ran."""
    output = run(folder, sys.executable, "-m", "dvc", "repro")
    return set(re.findall(r"Running stage '(.*?)':", output))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {old}"
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_project(tmp_path_factory.mktemp("smoke") / "project")


@pytest.fixture(scope="module")
def fresh(project, tmp_path_factory) -> Path:
    """The same before anything ran."""
    return shutil.copytree(project, tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="module")
def first_run(project, fresh) -> set[str]:
    return repro(project)


@pytest.fixture(scope="module")
def finished(project, first_run, tmp_path_factory) -> Path:
    """A copy of what the first run left."""
    return shutil.copytree(project, tmp_path_factory.mktemp("finished") / "project")


def test_the_first_run_runs_every_stage_and_leaves_its_report(project, first_run):
    assert first_run == ALL
    for model in ("base", "teacher", "sft", "grpo"):
        numbers = json.loads((project / f"reports/benchmark/{model}.json").read_text())
        assert numbers["model"] == model
        assert [(entry["view"], entry["rows"] > 0, entry["errors"]) for entry in numbers["entries"]] == [
            ("no_video", True, {}),
            ("ordered", True, {}),
            ("shuffled", True, {}),
        ]
    assert "<html" in (project / "reports/index.html").read_text()
    assert "teacher" in (project / "reports/benchmark.md").read_text()


def test_a_run_that_is_killed_three_times_ends_as_an_undisturbed_one(fresh, finished, tmp_path):
    """Byte by byte, weights included; `python -m measure.faults` is the long form, through the flow too."""
    folder, draw = shutil.copytree(fresh, tmp_path / "project"), random.Random(0)
    done = disturbed(folder, ["dvc"], 3, 90.0, draw, outputs(finished), tmp_path / "prefect")
    assert done.kills
    assert failures(done) == []


@pytest.fixture(scope="module")
def small_disk(finished, tmp_path_factory) -> Iterator[Path]:
    """A finished run on a disk of its own, without what stages keep beside their outputs."""
    with mounted(tmp_path_factory.mktemp("disk") / "project", 128 * 2**20) as folder:
        kept_elsewhere = shutil.ignore_patterns(".git", ".dvc", ".cache", ".work")
        shutil.copytree(finished, folder, dirs_exist_ok=True, ignore=kept_elsewhere)
        yield folder


DRAWN = random.Random(0).uniform(0.1, 0.9)
FULL = {
    "ingest": (0, 0.5, DRAWN),
    "validate@records": (0,),
    "annotate": (0, 0.5),
    "filter": (0, 0.5, DRAWN),
    "sft": (DRAWN,),
    "grpo": (DRAWN,),
    "benchmark@grpo": (0, 0.5),
    "validate@predictions": (0,),
    "report": (0, 0.5),
}
"""Stage -> room on the disk, as shares of the bytes of its outputs."""
GROWING = (".jsonl", "curve.csv")
"""Logs of answers and curves of training: whole after every batch or step."""


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_told_by_stage_and_file_and_costs_nothing(small_disk, finished, name):
    """What stands where an output belongs is whole; with room the rerun completes what an undisturbed run leaves."""
    stage = stages()[name]
    outs = {path: sha for path, sha in outputs(finished).items() if any(covers(out, path) for out in stage.outs)}
    command = [sys.executable, *stage.cmd.split()[1:]]
    for out in stage.outs:
        shutil.rmtree(small_disk / out) if (small_disk / out).is_dir() else (small_disk / out).unlink()
    for share in FULL[name]:
        leave(small_disk, int(share * sum((finished / path).stat().st_size for path in outs)))
        temporary = {"TMPDIR": str(small_disk)}
        done = subprocess.run(command, cwd=small_disk, env=environment() | temporary, text=True, capture_output=True)
        assert done.returncode == 2, f"{share}: {done.stderr[-3000:]}"
        [told] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert re.fullmatch(rf"error: {stage.package}: no space left on the disk: \S+; make room, then .*", told), told
        assert "Traceback" not in done.stderr
        present = [path for path in outs if (small_disk / path).is_file() and not path.endswith(GROWING)]
        assert [path for path in present if digest(small_disk / path) != outs[path]] == [], "half-written"
        assert len(present) < len(outs)
    make_room(small_disk)
    run(small_disk, *command)
    assert {path: digest(small_disk / path) for path in outs} == outs


def test_a_clone_pulls_a_finished_run_and_shows_its_report_without_computing_anything(finished, tmp_path):
    """Through a remote in a folder; models/smoke, which the smallest graph starts from, is no output."""
    clone = tmp_path / "clone"
    run(finished, "git", "config", "user.email", "nobody@nowhere")
    run(finished, "git", "config", "user.name", "nobody")
    run(finished, sys.executable, "-m", "dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    run(finished, "git", "add", ".")
    run(finished, "git", "add", "-f", "models/smoke")
    run(finished, "git", "commit", "-qm", "a finished run")
    run(finished, sys.executable, "-m", "dvc", "push", "-q")
    run(tmp_path, "git", "clone", "-q", str(finished), "clone")
    run(clone, sys.executable, "-m", "dvc", "pull", "-q")
    assert outputs(clone) == outputs(finished)
    assert "teacher" in run(clone, sys.executable, "-m", "tasks.report", "show")
    assert repro(clone) == set()


def test_the_second_run_runs_nothing(project, first_run):
    assert repro(project) == set()


def test_an_edited_expectation_reruns_the_gates_and_trains_nothing(project, first_run):
    with (project / "tasks/core/schemas/expectations.py").open("a") as expectations:
        expectations.write("# an edit\n")
    assert repro(project) == GATES


def test_a_filter_rule_reruns_the_filter_and_not_the_teacher(project, first_run):
    replace(project / "params.yaml", "filter: {}", "filter: {max_think_chars: 3999}")
    ran = repro(project)
    assert "filter" in ran
    assert ran <= {"filter", "report"}, "the same rows are kept, so nothing learns anew"


def test_a_grpo_parameter_reruns_grpo_and_what_depends_on_it(project, first_run):
    replace(project / "params.yaml", "grpo:\n", "grpo:\n  beta: 0.0\n")
    ran = repro(project)
    assert ran >= {"grpo", "benchmark@grpo", "report"}
    assert ran <= {"grpo", "benchmark@grpo", "validate@predictions", "report"}, "the gate rests if no answer changed"


def test_metrics_params_and_plots_are_useful_to_dvc(project, first_run):
    shown = json.loads(run(project, sys.executable, "-m", "dvc", "metrics", "show", "--json"))[""]["data"]
    assert {"reports/sft/metrics.json", "reports/grpo/metrics.json", "reports/report/grpo.json"} <= set(shown)
    run(project, sys.executable, "-m", "dvc", "plots", "show", "-o", "plots")
    page = (project / "plots/index.html").read_text()
    assert "reports/sft/curve.csv" in page
    assert "reports/grpo/curve.csv" in page


@pytest.mark.parametrize(
    ("command", "text"),
    [
        pytest.param(["-m", "tasks.launch", "stf"], "unknown stage 'stf'", id="unknown stage"),
        pytest.param(["-m", "tasks.filter", "now"], "unrecognized arguments: now", id="a stage takes no arguments"),
        pytest.param(["-m", "tasks.validate", "rows"], "invalid choice: 'rows'", id="unknown gate"),
        pytest.param(["-m", "tasks.benchmark", "run", "gpro"], "did you mean 'grpo'?", id="unknown model"),
        pytest.param(["-m", "tasks.benchmark", "rnu", "grpo"], "invalid choice: 'rnu'", id="unknown command"),
        pytest.param(["-m", "tasks.benchmark", "compare", "grpo"], "required: second", id="nothing to compare with"),
        pytest.param(["-m", "tasks.report", "shwo"], "invalid choice: 'shwo'", id="unknown word"),
        pytest.param(
            ["-m", "tasks.ask", "x.mp4", "what?", "--model", "models/none"], "models/none", id="no model folder"
        ),
        pytest.param(
            ["-m", "tasks.profile", "maxi"],
            "no profile 'maxi'; profiles: mini,",
            id="unknown profile",
        ),
    ],
)
def test_a_wrong_command_gives_one_line_and_fails(project, command, text):
    done = subprocess.run([sys.executable, *command], cwd=project, text=True, capture_output=True)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def begin_at(project: Path, start: str) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(re.sub(r"(?m)^start: .*$", f"start: {start}", text))


def test_a_file_of_reasoning_goes_to_sft_without_a_teacher(project, first_run):
    shutil.copytree(ROOT / "tests/fixtures/clips", project / "data/media/clips")
    (project / "models/smoke/teacher").rename(project / "models/smoke/away")
    think = "<think>Frame by frame the disc moves to the right.</think>"
    records = json.loads((project / "data/media/clips/records.json").read_text())
    given = [{**record, "process": think} for record in records] + [{**records[0], "problem_id": 99}]
    (project / "data/raw/reasoning.json").write_text(json.dumps(given))
    begin_at(project, "{at: cot, path: data/raw/reasoning.json, media_root: data/media/clips}")
    output = run(project, sys.executable, "-m", "dvc", "repro", "sft")
    ran = re.findall(r"Running stage '(.*?)':", output)
    assert ran == ["ingest", "validate@records", "annotate", "validate@cot", "filter", "validate@sft", "sft"]
    assert f"annotate: skipped, start.at is cot: {len(records)} rows taken from data/raw/reasoning.json" in output
    assert "annotate: annotate.pairs does nothing, no teacher is asked about clips played backwards" in output
    assert "start row 4: record: process: no <think>..</think>" in output
    metrics = json.loads((project / "reports/annotate/metrics.json").read_text())
    assert (metrics["taken_from"], metrics["mean_reward"]) == ("data/raw/reasoning.json", 1.0)
    assert json.loads((project / "reports/filter/metrics.json").read_text())["kept"] == len(records)
    assert json.loads((project / "reports/sft/metrics.json").read_text())["steps"] == 2
    (project / "models/smoke/away").rename(project / "models/smoke/teacher")


def test_a_checkpoint_goes_to_rl_without_sft(project, first_run):
    checkpoint = project / "models/given"
    shutil.copytree(project / "models/smoke/teacher", checkpoint)
    begin_at(project, "{at: sft, path: models/given}")
    output = run(project, sys.executable, "-m", "flows.video_r1", "--targets", "grpo")
    skipped = ("annotate: skipped", "validate cot: skipped", "validate sft: skipped", "sft: skipped, start.at is sft")
    for line in skipped:
        assert line in output
    weights = "model.safetensors"
    assert (project / "models/sft" / weights).read_bytes() == (checkpoint / weights).read_bytes()
    assert json.loads((project / "reports/sft/metrics.json").read_text())["taken_from"] == "models/given"
    assert (project / "data/verdicts/sft").read_text() == "skip\n"
    assert repro(project) >= {"benchmark@sft", "benchmark@grpo", "report"}
    assert repro(project) == set()
