import dataclasses

from tasks.core.io.tables import read_table, write_table
from tasks.core.schemas.records import (
    COT_SCHEMA,
    RECORD_SCHEMA,
    CotRow,
    Record,
    cot_from_row,
    record_from_row,
    truth_of,
)


def test_records_survive_parquet(tmp_path):
    record = Record(
        problem_id=7,
        problem="Where to?",
        data_type="video",
        problem_type="multiple choice",
        options=["A. left", "B. right"],
        process="",
        solution="<answer>B</answer>",
        path="a.mp4",
        temporal=False,
    )
    cot = CotRow(
        **dataclasses.asdict(record), completion="<think>x</think>", answer="B", reward=0.5, finish_reason="stop"
    )
    write_table(tmp_path / "a.parquet", [dataclasses.asdict(record)], RECORD_SCHEMA)
    write_table(tmp_path / "b.parquet", [dataclasses.asdict(cot)], COT_SCHEMA)
    assert record_from_row(read_table(tmp_path / "a.parquet", RECORD_SCHEMA)[0]) == record
    assert cot_from_row(read_table(tmp_path / "b.parquet", COT_SCHEMA)[0]) == cot
    assert record_from_row(dataclasses.asdict(cot)) == record


def test_schemas_hold_the_fields_of_their_records():
    assert RECORD_SCHEMA.names == [field.name for field in dataclasses.fields(Record)]
    assert COT_SCHEMA.names == [field.name for field in dataclasses.fields(CotRow)]


def test_truth_of():
    assert truth_of("<answer> B\n</answer>") == "B"
    assert truth_of("B") == ""
