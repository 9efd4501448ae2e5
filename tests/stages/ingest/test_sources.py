"""Files of every format to rows in the record format; the reason is in the id."""

import io
import json
import tarfile
from typing import get_args

import pytest

from tasks.core.io.rows import RowsError
from tasks.core.schemas.records import RecordError, parse_record
from tasks.ingest.sources import FORMATS, SourceError
from tasks.ingest.sources.llava import split_options
from tasks.params import Source

KEPT = ("problem", "data_type", "problem_type", "options", "solution", "path")


def rows_of(kind, path, content, root=None):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(FORMATS[kind](path, root or path.parent))


def parsed(row):
    assert not row.fault
    record = parse_record(row.value, "here")
    return tuple(getattr(record, name) for name in KEPT)


def test_params_name_every_format():
    assert {*get_args(Source.model_fields["format"].annotation)} == {"world", *FORMATS}


class TestTable:
    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            pytest.param(
                "path,question,answer,options\nk.mp4,Which way?,B,left|right\n",
                ("Which way?", "video", "multiple choice", ["A. left", "B. right"], "<answer>B</answer>", "k.mp4"),
                id="letter",
            ),
            pytest.param(
                "path,question,answer,options\nk.mp4,Which way?,(b),left|right\n",
                ("Which way?", "video", "multiple choice", ["A. left", "B. right"], "<answer>B</answer>", "k.mp4"),
                id="small-letter-in-brackets",
            ),
            pytest.param(
                "path,question,answer,options\nk.mp4,Which way?,B. right,A. left|B. right\n",
                ("Which way?", "video", "multiple choice", ["A. left", "B. right"], "<answer>B</answer>", "k.mp4"),
                id="whole-option",
            ),
            pytest.param(
                "File,Question,Answer,a,b\nk.mp4,Which way?,right,left,right\n",
                ("Which way?", "video", "multiple choice", ["A. left", "B. right"], "<answer>B</answer>", "k.mp4"),
                id="text-of-an-option-and-a-column-each",
            ),
            pytest.param(
                'path,question,answer,options\nk.mp4,"Which, A or ""B""?",A,"[""A. x|y"", ""B. z""]"\n',
                ('Which, A or "B"?', "video", "multiple choice", ["A. x|y", "B. z"], "<answer>A</answer>", "k.mp4"),
                id="quotes-and-a-json-list",
            ),
            pytest.param(
                "\ufeffimage,problem,solution,type\ni.PNG,How many?,<answer>3</answer>,numerical\n",
                ("How many?", "image", "numerical", [], "<answer>3</answer>", "i.PNG"),
                id="other-names-and-a-byte-order-mark",
            ),
            pytest.param(
                "path,question,answer\nk.mp4,What?,a ball\n",
                ("What?", "video", "free-form", [], "<answer>a ball</answer>", "k.mp4"),
                id="open",
            ),
        ],
    )
    def test_lines(self, tmp_path, table, expected):
        [row] = rows_of("table", tmp_path / "a.csv", table)
        assert parsed(row) == expected

    def test_tabs_ids_and_a_short_line(self, tmp_path):
        text = "id\tpath\tquestion\tanswer\n7\ta.mp4\tQ?\tx\n8\ta.mp4\n\n9\ta.mp4\tQ?\tx\n"
        rows = rows_of("table", tmp_path / "a.tsv", text)
        assert [row.value and row.value["problem_id"] for row in rows] == [7, None, 9]
        assert "line 3: 2 columns where the head has 4" in rows[1].fault

    @pytest.mark.parametrize(
        ("content", "words"), [("", "no head"), ('path,question\n"a', "not a table"), (b"\xff\xfe\x00", "not UTF-8")]
    )
    def test_no_table(self, tmp_path, content, words):
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(RowsError, match=words):
            list(FORMATS["table"](path, tmp_path))


class TestLlava:
    def test_turns_become_questions(self, tmp_path):
        talk = [
            {"from": "human", "value": "<video>\nWhich way?\nA. left\nB. right\nAnswer with the option's letter."},
            {"from": "gpt", "value": "B"},
            {"from": "human", "value": "What is it?"},
            {"from": "gpt", "value": "A ball."},
        ]
        rows = rows_of("llava", tmp_path / "a.json", [{"id": "x", "video": "v.mp4", "conversations": talk}])
        assert [parsed(row) for row in rows] == [
            ("Which way?", "video", "multiple choice", ["A. left", "B. right"], "<answer>B</answer>", "v.mp4"),
            ("What is it?", "video", "free-form", [], "<answer>A ball.</answer>", "v.mp4"),
        ]
        assert [row.value["problem_id"] for row in rows] == [0, 1]

    @pytest.mark.parametrize(
        ("item", "words"),
        [
            pytest.param(3, "not an object", id="no-object"),
            pytest.param({"conversations": []}, "one image or one video", id="text-alone"),
            pytest.param({"image": ["a", "b"], "conversations": []}, "one image or one video", id="two-images"),
            pytest.param({"image": "a", "conversations": "x"}, "not a list of turns", id="no-turns"),
            pytest.param(
                {"image": "a", "conversations": [{"from": "human", "value": "x"}]}, "no reply", id="without-a-reply"
            ),
            pytest.param(
                {"image": "a", "conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "x"}]},
                "do not alternate",
                id="the-model-begins",
            ),
        ],
    )
    def test_faults_cost_their_conversation(self, tmp_path, item, words):
        good = {"image": "i.png", "conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "a"}]}
        rows = rows_of("llava", tmp_path / "a.json", [item, good])
        assert words in rows[0].fault and parsed(rows[-1])[-1] == "i.png"

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            pytest.param("Q?\nA. x\nB. y", ["A. x", "B. y"], id="listed"),
            pytest.param("Q?\n(A) x\n(B) y\nPlease answer with the letter.", ["(A) x", "(B) y"], id="instruction"),
            pytest.param("Q?\nA. x", [], id="one-option"),
            pytest.param("Q?\nB. x\nA. y", [], id="out-of-order"),
            pytest.param("A. Smith met B. Obama", [], id="initials"),
        ],
    )
    def test_split_options(self, text, options):
        assert split_options(text)[1] == options


class TestNextQa:
    HEAD = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"

    def test_multiple_choice(self, tmp_path):
        (tmp_path / "map_vid_vidorID.json").write_text(json.dumps({"11": "1164/11"}))
        line = "11,90,640,480,why did the boy run,2,6,TN,a,b,c,d,e\n"
        [row] = rows_of("next_qa", tmp_path / "train.csv", self.HEAD + line)
        options = ["A. a", "B. b", "C. c", "D. d", "E. e"]
        expected = ("why did the boy run?", "video", "multiple choice", options, "<answer>C</answer>", "1164/11.mp4")
        assert parsed(row) == expected
        assert (row.value["skill"], row.value["temporal"]) == ("TN", True)

    def test_open_ended_and_a_line_without_an_answer(self, tmp_path):
        text = "video,question,answer,qid,type\n11,what is it,toy,0,DO\n12,what,,1,DO\n"
        first, second = rows_of("next_qa", tmp_path / "val.csv", text)
        assert parsed(first) == ("what is it?", "video", "free-form", [], "<answer>toy</answer>", "11.mp4")
        assert "no answer" in second.fault


def test_clevrer(tmp_path):
    (tmp_path / "video_01000-02000").mkdir()
    (tmp_path / "video_01000-02000" / "video_01003.mp4").touch()
    choices = [{"choice": "a", "answer": "wrong"}, {"choice": "b", "answer": "correct"}]
    both = [{**choice, "answer": "correct"} for choice in choices]
    questions = [
        {"question_type": "descriptive", "question": "How many cubes?", "answer": "2"},
        {"question_type": "descriptive", "question": "What colour", "answer": "red"},
        {"question_type": "predictive", "question": "What next?", "choices": choices},
        {"question_type": "explanatory", "question": "Why?", "choices": both},
    ]
    scenes = [{"scene_index": 1003, "video_filename": "video_01003.mp4", "questions": questions}, {"scene_index": "x"}]
    rows = rows_of("clevrer", tmp_path / "train.json", scenes)
    path = "video_01000-02000/video_01003.mp4"
    assert [parsed(row) for row in rows[:3]] == [
        ("How many cubes?", "video", "numerical", [], "<answer>2</answer>", path),
        ("What colour?", "video", "free-form", [], "<answer>red</answer>", path),
        ("What next?", "video", "multiple choice", ["A. a", "B. b"], "<answer>B</answer>", path),
    ]
    assert [row.value["problem_id"] for row in rows[:4]] == [1003000, 1003001, 1003002, 1003003]
    assert "2 of 2 are correct" in rows[3].fault and "no scene_index" in rows[4].fault


def test_a_row_that_a_source_makes_badly_is_refused_by_the_parser(tmp_path):
    [row] = rows_of("table", tmp_path / "a.csv", "path,question,answer,options\nk.mp4,Q?,C,x|y\n")
    with pytest.raises(RecordError, match="none of the 2 options"):
        parse_record(row.value, "here")


def make_shard(path, samples):
    with tarfile.open(path, "w") as file:
        for name, data in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def test_webdataset(tmp_path):
    asked = {"question": "Which way?", "answer": "B", "options": ["left", "right"]}
    record = {"problem_id": 70, "problem": "How many?", "problem_type": "numerical", "solution": "<answer>4</answer>"}
    root = tmp_path / "media"
    (root / "shards").mkdir(parents=True)
    make_shard(
        root / "shards/a.tar",
        {
            "0.mp4": b"clip",
            "0.json": json.dumps(asked).encode(),
            "deep/1.png": b"picture",
            "deep/1.json": json.dumps([record, 7]).encode(),
            "2.mp4": b"clip without a record",
            "3.json": b"{}",
            "4.mp4": b"clip",
            "4.json": b"{not json",
        },
    )
    make_shard(root / "shards/b.tar", {"0.jpeg": b"x", "0.json": json.dumps(record).encode()})
    (root / "shards/b.tar").write_bytes((root / "shards/b.tar").read_bytes()[:1800])
    (root / "shards/c.tar").write_bytes(b"not a tar")
    rows = list(FORMATS["webdataset"](root / "shards", root))
    values = [row.value for row in rows if row.value]
    assert [row.row for row in rows] == list(range(len(rows)))
    assert values == [
        {
            "problem_id": 0,
            "problem": "Which way?",
            "problem_type": "multiple choice",
            "data_type": "video",
            "solution": "<answer>B</answer>",
            "path": "shards/a.tar/0.mp4",
            **asked,
        },
        {**record, "data_type": "image", "path": "shards/a.tar/deep/1.png"},
        {**record, "data_type": "image", "path": "shards/b.tar/0.jpeg"},
    ]
    assert [row.fault.partition(".tar ")[2] or row.fault.partition(".tar: ")[2] for row in rows if row.fault] == [
        "sample deep/1: not an object but int",
        "sample 2: holds 2.mp4; one .json and one medium are wanted",
        "sample 3: holds 3.json; one .json and one medium are wanted",
        "sample 4: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "is damaged: unexpected end of data",
        "not a readable tar archive: truncated header",
    ]


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        pytest.param("media/gone.tar", "no such shard", id="no-shard"),
        pytest.param("media/empty", "no folder of .tar files", id="empty-folder"),
        pytest.param("elsewhere.tar", "not under the media root", id="outside-the-root"),
    ],
)
def test_shards_that_are_none(tmp_path, annotations, words):
    (tmp_path / "media/empty").mkdir(parents=True)
    make_shard(tmp_path / "elsewhere.tar", {})
    with pytest.raises(SourceError, match=words):
        list(FORMATS["webdataset"](tmp_path / annotations, tmp_path / "media"))
