"""The audit on a stand-in engine that sees only what its view shows, and resumes where it was stopped."""

import dataclasses
import json

import numpy as np
import pytest

from tasks.audit import __main__ as audit
from tasks.audit.ask import Sampling, ask_all, key_of, latest
from tasks.audit.summary import lines, summary, tagged
from tasks.core.engine.types import Completion
from tasks.core.io.errors import StageError
from tasks.core.schemas.records import Record
from tasks.core.video import Clip, VideoError

LETTERS = ["A. up", "B. down"]


def record(number, **changes):
    base = Record(number, "Which way?", "video", "multiple choice", LETTERS, "", "<answer>A</answer>", f"{number}.mp4")
    return dataclasses.replace(base, **{"temporal": True} | changes)


class Watcher:
    """Answers A where the levels of the frames ascend, B where they do not; without a clip B."""

    def __init__(self):
        self.asked = []

    def render(self, messages):
        return "?"

    def generate(self, requests, **_):
        self.asked += [request.key for request in requests]
        return [[Completion(f"<think>..</think><answer>{self._letter(request.clip)}</answer>")] for request in requests]

    def _letter(self, clip):
        if clip is None:
            return "B"
        levels = clip.frames[:, 0, 0, 0].astype(int)
        return "A" if (np.diff(levels) > 0).all() else "B"


def ramp(path, data_type):
    if path == "3.mp4":
        raise VideoError(path, "no decoder")
    frames = 1 if data_type == "image" else 8
    pixels = np.tile(np.arange(frames, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 3))
    return Clip(pixels, list(range(frames)), 8.0, 2.0, 4.0)


def run(engine, records, done=(), **changes):
    settings = {
        "done": set(done),
        "sampling": Sampling(2, 1.0, 1.0, 8),
        "prompt": {"template": "brief", "system": ""},
        "seed": 0,
        "batch_size": 12,
        "decode_workers": 0,
        "variant": "robust",
    } | changes
    return [row for rows in ask_all(engine, records, ramp, **settings) for row in rows]


def test_a_model_that_reads_time_finds_what_needs_order():
    records = [record(1), record(2, solution="<answer>B</answer>", temporal=False), record(3)]
    table = tagged(records, run(Watcher(), records), 2)
    assert [row["evidence"] for row in table] == ["order", "unknown", "error"]
    assert table[0]["right_forward"] == 1.0 and table[0]["right_frozen"] == 0.0
    assert table[2]["error"] == "3.mp4: no decoder"
    numbers = summary(table)
    assert numbers["errors"] == {"3.mp4: no decoder": 1}
    assert numbers["order_tag"]["precision"] == 1.0 and numbers["order_tag"]["recall"] == 1.0
    assert "precision 100.0 %, recall 100.0 %" in "\n".join(lines("toy", numbers))


def test_an_image_is_asked_with_and_without_it():
    rows = run(Watcher(), [record(1, data_type="image", path="1.png")])
    assert {row["view"] for row in rows} == {"forward", "text"}


def test_what_is_done_is_not_asked_again():
    records = [record(1), record(2)]
    whole = run(Watcher(), records)
    engine = Watcher()
    rest = run(engine, records, done=[key_of(row) for row in whole[:15]])
    assert len(engine.asked) == len(whole) - 15
    assert whole[:15] + rest == whole


def test_what_failed_and_was_asked_again_counts_once():
    broken = record(3)
    failed = run(Watcher(), [broken])
    mended = run(Watcher(), [dataclasses.replace(broken, path="4.mp4")])
    assert tagged([broken], latest(failed).values(), 2)[0]["evidence"] == "error"
    assert tagged([broken], latest(failed + mended).values(), 2)[0] == tagged([broken], mended, 2)[0]


GOOD = {"problem_id": 1, "problem": "?", "data_type": "image", "problem_type": "numerical", "options": []}
GOOD |= {"process": "", "solution": "<answer>1</answer>", "path": "a.png"}


def write_rows(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_records_of_a_file_are_read_and_bad_ones_counted(tmp_path, capsys):
    path = write_rows(tmp_path / "records.jsonl", GOOD, GOOD | {"solution": "1"}, GOOD | {"problem_id": 2})
    records, refused = audit.read(path, tmp_path, 1)
    assert [each.path for each in records] == [str(tmp_path / "a.png")]
    assert list(refused.values()) == [1]
    assert "solution" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(GOOD, "problem_id: taken by an earlier row", id="completions of both would be pooled"),
        pytest.param(GOOD | {"problem_id": -2}, "problem_id: below 0", id="its clip would be played backwards"),
    ],
)
def test_an_id_that_stands_for_something_else_is_refused(tmp_path, row, reason):
    records, refused = audit.read(write_rows(tmp_path / "records.jsonl", GOOD, row), None, None)
    assert [each.problem_id for each in records] == [1]
    assert [(told.startswith(reason), count) for told, count in refused.items()] == [(True, 1)]


def test_a_record_with_a_field_named_source_is_no_table_of_ingest(tmp_path):
    records, _ = audit.read(write_rows(tmp_path / "records.jsonl", GOOD | {"source": "mine"}), tmp_path, None)
    assert records[0].path == str(tmp_path / "a.png"), "it starts from the media root"


def test_an_endpoint_stands_where_a_checkpoint_would(tmp_path):
    endpoint = tmp_path / "served.yaml"
    with pytest.raises(StageError, match="no such endpoint file"):
        audit.model_digest(endpoint)
    endpoint.write_text("base_url: http://localhost/v1\nmodel: m\n")
    assert len(audit.model_digest(endpoint)) == 64


def test_a_file_without_records_is_refused(tmp_path):
    (tmp_path / "records.jsonl").write_text("[]\n")
    with pytest.raises(Exception, match="no record to audit"):
        audit.read(tmp_path / "records.jsonl", None, None)
