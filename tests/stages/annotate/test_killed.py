"""annotate as a process that is killed at random: what it leaves in the end is what an undisturbed run leaves."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks import paths
from tasks.annotate import __main__ as stage
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import read_table, write_table
from tasks.core.schemas.records import COT_SCHEMA, RECORD_SCHEMA
from tests.support.infer_project import RECORDS, make_project, record, write_manifest, write_params
from tests.support.served import FAULTS, served

ROOT = Path(__file__).parents[3]
KILLS = 5
QUESTIONS = 40


@pytest.fixture
def project(tmp_path, tiny_model, monkeypatch):
    """Forty questions about the clips of the usual project, one of them broken."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    sound = [row for row in RECORDS if "broken" not in row.path]
    rows = [
        dataclasses.replace(sound[number % len(sound)], problem_id=100 + number, problem=f"Question {number}: where?")
        for number in range(QUESTIONS)
    ]
    rows.insert(7, record(99, path="media/broken.mp4"))
    write_table(paths.TRAIN_RECORDS, [dataclasses.asdict(row) for row in rows], RECORD_SCHEMA)
    write_manifest()
    return tmp_path


def start():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.annotate"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish():
    process = start()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def logged():
    """Rows of all logs of completions, torn last lines left out."""
    return [row for path in Path(paths.WORK_DATA).rglob("rows.jsonl") for row in read_jsonl(path)]


def outputs():
    return read_table(paths.COT, COT_SCHEMA), json.loads(paths.metrics("annotate").read_text())


def kill_at_random(chance):
    """Kill a run after some of its completions; returns how many there were then."""
    before = len(logged())
    goal = before + chance.randint(1, QUESTIONS // KILLS)
    process = start()
    limit = time.monotonic() + 300
    while len(logged()) < goal and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(logged())


def check_against_undisturbed(counts):
    rows, numbers = outputs()
    names = [(row["key"], row["sample"]) for row in logged()]
    assert len(names) == len(set(names)) == QUESTIONS * 2, "no completion twice"
    assert counts == sorted(counts) and counts[0] > 0, "what was done stayed done"
    ids = [(row["problem_id"], row["sample"]) for row in rows]
    assert len(ids) == len(set(ids)) == (QUESTIONS + 1) * 2
    for path in (paths.COT, *Path(paths.WORK_DATA).rglob("rows.jsonl")):
        path.unlink()
    finish()
    assert outputs() == (rows, numbers)


def sampling(**changes):
    return {"sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 8}, "samples": 2, "keep": "all", **changes}


def write_endpoint(base_url, **changes):
    settings = {"concurrency": 4, "timeout_seconds": 2, "retries": 12, **changes}
    lines = [f"base_url: {base_url}", "model: m", *(f"{name}: {value}" for name, value in settings.items())]
    Path("teacher.yaml").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_against_an_endpoint_behind_faults(project):
    chance = random.Random(5)
    with served() as server:
        original = server.next_fault

        def faulty(body):
            original(body)
            return chance.choice([*FAULTS, *["slow"] * 12])

        server.next_fault = faulty
        write_endpoint(server.base_url)
        write_params("unused", models={"base": "teacher.yaml", "teacher": "teacher.yaml"}, annotate=sampling())
        counts = [kill_at_random(chance) for _ in range(KILLS)]
        finish()
        server.next_fault = original
        check_against_undisturbed(counts)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["transformers", "vllm"])
def test_against_an_engine(project, tiny_model, backend):
    if backend == "vllm":
        pytest.importorskip("vllm")
    engine = {"backend": backend, "max_model_len": 512, "batch_size": 3, "rows_per_call": 2}
    write_params(tiny_model, engine=engine, annotate=sampling())
    chance = random.Random(6)
    counts = [kill_at_random(chance) for _ in range(KILLS)]
    finish()
    check_against_undisturbed(counts)


def test_one_more_row_is_one_more_request_to_an_endpoint(project):
    with served() as server:
        write_endpoint(server.base_url, usd_per_million_completion_tokens=1000.0)
        write_params("unused", models={"base": "teacher.yaml", "teacher": "teacher.yaml"})
        stage.main()
        assert len(server.asked) == QUESTIONS
        assert outputs()[1]["usd"] == pytest.approx(QUESTIONS * 4 / 1000)
        rows = read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)
        rows.insert(0, rows[-1] | {"problem_id": 7, "problem": "One more?"})
        write_table(paths.TRAIN_RECORDS, rows, RECORD_SCHEMA)
        stage.main()
        assert len(server.asked) == QUESTIONS + 1
