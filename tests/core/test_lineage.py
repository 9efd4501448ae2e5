"""From weights back to raw rows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.lineage import Sighting, as_json, chain, maker, sources, stage_report, trace
from tasks.lineage import told


def stage(deps, outs, **params):
    return {
        "cmd": "python -m x",
        "deps": [{"path": path, "md5": f"md5 of {path}"} for path in deps],
        "outs": [{"path": path, "md5": f"md5 of {path}"} for path in outs],
        "params": {"params.yaml": params},
    }


LOCK = {
    "stages": {
        "ingest": stage(["data/raw", "tasks/ingest"], ["data/ingest"], seed=3),
        "validate@records": stage(["data/ingest"], ["data/verdicts/records", "reports/validate/records.json"]),
        "sft": stage(["data/ingest/train.parquet", "models/world/base"], ["models/sft"], sft={"epochs": 1}),
        "grpo": stage(["data/verdicts/records", "data/ingest/rl.parquet", "models/sft"], ["models/grpo", "data/grpo"]),
        "benchmark@grpo": stage(["models/grpo"], ["data/benchmark/grpo.jsonl"]),
        "report": stage(["data/benchmark", "reports/sft/metrics.json"], ["reports/index.html"]),
    }
}


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        pytest.param("models/grpo", ["grpo", "ingest", "validate@records", "sft"], id="weights"),
        pytest.param("data/ingest/train.parquet", ["ingest"], id="a file of an output"),
        pytest.param("models/world/base", [], id="an input"),
        pytest.param("models/gr", [], id="the beginning of a name"),
    ],
)
def test_the_chain_of_a_path(folder, expected):
    assert [link.stage for link in chain(folder, LOCK)] == expected


def test_the_maker_is_the_stage_whose_output_holds_the_path():
    assert maker("data/grpo/rollouts.parquet", LOCK) == "grpo"
    assert maker("models", LOCK) is None


def test_what_no_stage_made_is_named_with_its_hash():
    read = sources(chain("models/grpo", LOCK))
    assert read == {path: f"md5 of {path}" for path in ("data/raw", "models/world/base", "tasks/ingest")}


def test_inputs_follow_params_and_dependencies():
    changed = json.loads(json.dumps(LOCK))
    changed["stages"]["sft"]["params"]["params.yaml"]["sft"]["epochs"] = 2
    before, after = ({link.stage: link.inputs for link in chain("models/sft", lock)} for lock in (LOCK, changed))
    assert before["sft"] != after["sft"] and before["ingest"] == after["ingest"]


def test_the_json_holds_hashes_params_counts_and_no_machine(tmp_path):
    (tmp_path / "filter").mkdir()
    (tmp_path / "filter" / "metrics.json").write_text('{"rejected": {"reward": 2}}')
    counts = {"sft": stage_report(tmp_path, "filter"), "grpo": stage_report(tmp_path, "absent@x")}
    written = as_json("models/sft", chain("models/sft", LOCK), "abc", counts)
    assert written["commit"] == "abc" and written["sources"]["models/world/base"]
    assert written["stages"][0]["report"] == {"rejected": {"reward": 2}}
    assert written["stages"][0]["params"] == {"sft": {"epochs": 1}}
    assert json.loads(json.dumps(written)) == written


def test_a_question_is_followed_through_every_table(tmp_path):
    def table(path, rows):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / path)

    table("ingest/rl.parquet", [{"problem_id": 4, "problem": "a"}, {"problem_id": 7, "problem": "b"}])
    table("ingest/manifest.parquet", [{"path": "clip"}])
    table("ingest/quarantine.parquet", [{"problem_id": "7", "reason": "as it was found"}])
    table("sft/steps.parquet", [{"problem_id": 7, "step": 2, "epoch": 0}])
    table("grpo/rollouts.parquet", [{"problem_id": 7, "step": step} for step in (1, 3)])
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark/sft.jsonl").write_text('{"problem_id": 4}\n{"problem_id": 7, "completion": "B"}\n')
    seen = list(trace(7, tmp_path, {"sft": "models/sft", "other": "models/other"}))
    tables = [sighting.table.removeprefix(f"{tmp_path}/") for sighting in seen]
    assert tables == [
        *("ingest/quarantine.parquet", "ingest/rl.parquet"),
        "sft/steps.parquet",
        *["grpo/rollouts.parquet"] * 2,
        "benchmark/sft.jsonl",
    ]
    assert [sighting.row for sighting in seen] == [0, 1, 0, 0, 1, 1]
    assert seen[-1].values["completion"] == "B"
    assert list(trace(99, tmp_path, {})) == []


def test_steps_that_drew_a_question_are_told_with_what_came_of_it():
    def sightings(*rows):
        return [Sighting("table", number, row) for number, row in enumerate(rows)]

    learned = sightings({"step": 4, "epoch": 1}, {"step": 2, "epoch": 0}, {"step": 4, "epoch": 1})
    assert list(told(learned)) == ["seen in step 2", "seen in step 4, 2 times"]
    sampled = sightings(
        *({"step": 3, "accuracy": accuracy, "perturbed": False} for accuracy in (1.0, 0.0)),
        {"step": 3, "accuracy": 0.0, "perturbed": True},
    )
    assert list(told(sampled)) == ["seen in step 3: 3 completions, mean accuracy 0.50"], "of the true order of frames"
