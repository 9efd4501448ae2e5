"""A chain of stages as OpenLineage events, held against the rules of its specification 2-0-2, written down here."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from tasks import lineage
from tasks.core.io.errors import StageError
from tasks.core.lineage import chain
from tasks.core.openlineage import events
from tests.core.test_lineage import LOCK

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
READER = {"packages": {"torch": "2.13.0"}, "machine": {"cores": "2"}}
COUNTS = {"sft": {"loss": 1.25, "skipped": None, "rejected": [None, {}]}}

NAMED = {"type": "string", "minLength": 1}
URI = {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"}
FACETS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": URI, "_schemaURL": URI},
    },
}


def facets_with(**required: list[str]) -> dict[str, Any]:
    """Facets of which these have required fields."""
    properties = {
        name: {"allOf": [FACETS["additionalProperties"], {"required": keys}]} for name, keys in required.items()
    }
    return FACETS | {"properties": properties}


def dataset(own_facets: str) -> dict[str, Any]:
    facets = facets_with(version=["datasetVersion"])
    named = {"namespace": NAMED, "name": NAMED, "facets": facets, own_facets: FACETS}
    return {"type": "object", "required": ["namespace", "name"], "properties": named}


SCHEMA = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventTime": {"type": "string", "format": "date-time", "pattern": "T.*(Z|[+-][0-9]{2}:[0-9]{2})$"},
        "producer": URI,
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": facets_with(tags=["tags"])},
        },
        "job": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {
                "namespace": NAMED,
                "name": NAMED,
                "facets": facets_with(jobType=["processingType", "integration"], sourceCode=["language", "sourceCode"]),
            },
        },
        "inputs": {"type": "array", "items": dataset("inputFacets")},
        "outputs": {"type": "array", "items": dataset("outputFacets")},
    },
}
VALID = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def told(folder: str = "models/grpo", lock: dict[str, Any] = LOCK) -> list[dict[str, Any]]:
    return events(chain(folder, lock), "abc", COUNTS, READER, AT, "video-r1")


def completed(stage: str) -> dict[str, Any]:
    [event] = [each for each in told() if each["job"]["name"] == stage and each["eventType"] == "COMPLETE"]
    return event


def test_every_event_keeps_the_rules():
    for event in told():
        VALID.validate(json.loads(json.dumps(event)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("run", "runId"), "grpo", id="a run id that is no uuid"),
        pytest.param(("eventTime",), "2026-11-01", id="a day without a time"),
        pytest.param(("job", "facets", "jobType"), {}, id="a facet without its source"),
        pytest.param(("outputs", 0, "name"), "", id="a dataset without a name"),
    ],
)
def test_the_schema_refuses_what_breaks_them(path, value):
    event: Any = completed("grpo")
    *above, last = path
    place = event
    for key in above:
        place = place[key]
    place[last] = value
    with pytest.raises(ValidationError):
        VALID.validate(event)


def test_each_stage_begins_and_completes_after_what_it_read():
    order = [(event["job"]["name"], event["eventType"]) for event in told()]
    stages = [name for name, kind in order if kind == "COMPLETE"]
    assert order == [(name, kind) for name in stages for kind in ("START", "COMPLETE")]
    assert stages[0] == "ingest" and stages[-1] == "grpo" and set(stages[1:3]) == {"validate@records", "sft"}


def test_what_was_read_out_of_a_folder_is_the_folder_that_another_stage_made():
    made = {output["name"]: output for event in told() for output in event.get("outputs", [])}
    read = {each["name"]: each for each in completed("grpo")["inputs"]}
    assert set(read) == {"data/verdicts/records", "data/ingest", "models/sft"} <= set(made)
    assert read["data/ingest"]["facets"]["version"]["datasetVersion"] == "md5 of data/ingest"
    assert read["data/ingest"]["inputFacets"]["videoR1_parts"]["parts"] == {
        "data/ingest/rl.parquet": "md5 of data/ingest/rl.parquet"
    }


def test_a_folder_that_holds_outputs_is_told_as_them():
    report = next(each for each in reversed(told("reports/index.html")) if each["job"]["name"] == "report")
    assert {each["name"] for each in report["inputs"]} == {"data/benchmark/grpo.jsonl", "reports/sft/metrics.json"}


def test_parameters_commit_and_figures_are_those_of_the_run():
    facets = completed("sft")["run"]["facets"]
    assert facets["executionParameters"]["parameters"] == [{"key": "sft", "value": '{"epochs": 1}'}]
    assert [(tag["key"], tag["value"]) for tag in facets["tags"]["tags"]] == [("git_commit", "abc")]
    assert facets["videoR1_report"]["figures"] == COUNTS["sft"], "null is kept"
    assert "videoR1_report" not in completed("ingest")["run"]["facets"]


def test_the_same_chain_has_the_same_run_ids_and_another_one_others():
    changed = json.loads(json.dumps(LOCK))
    changed["stages"]["sft"]["params"]["params.yaml"]["sft"]["epochs"] = 2
    before, after = (
        {each["job"]["name"]: each["run"]["runId"] for each in told(lock=lock)} for lock in (LOCK, changed)
    )
    assert before == {each["job"]["name"]: each["run"]["runId"] for each in told()}
    assert before["sft"] != after["sft"] and before["ingest"] == after["ingest"]


def test_the_command_prints_an_event_a_line(tmp_path, monkeypatch, capsys):
    import yaml

    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(LOCK))
    assert lineage.main(["models/grpo/", "--format", "openlineage", "--namespace", "ours"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == 8 and {event["job"]["namespace"] for event in printed} == {"ours"}
    for event in printed:
        VALID.validate(event)


def test_a_question_has_no_openlineage_form():
    with pytest.raises(StageError, match="--row has no OpenLineage form"):
        lineage.main(["--row", "7", "--format", "openlineage"])
