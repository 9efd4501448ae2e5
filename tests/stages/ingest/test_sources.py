"""Files of every format to rows in the record format; the reason is in the id."""

import io
import json
import tarfile
from typing import get_args

import pytest

from tasks.core.io.rows import RowsError
from tasks.core.schemas.parsing import RecordError, parse_record
from tasks.core.video import archive
from tasks.ingest.parse import Quarantined, parse_rows
from tasks.ingest.root import MediaRoot
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
        ("table", "words"),
        [
            pytest.param(b"k.mp4,caf\xe9?,A,l|r\n", "byte 0xE9 is not UTF-8", id="latin-1"),
            pytest.param(b'k.mp4,"He said "go" now",A,l|r\n', "line 2: not a table", id="quotes-in-quotes"),
            pytest.param(b'k.mp4,"never closed,A,l|r\n', "line 2: not a table", id="a-quote-that-is-never-closed"),
            pytest.param(b"k.mp4,%s,A,l|r\n" % (b"x" * 140_000), "line 2: not a table", id="a-cell-without-end"),
            pytest.param(b"k.mp4,Q?,A,B|A\n", "text of option B and the letter", id="letter-of-one-text-of-another"),
            pytest.param(b"k.mp4,Q?,A,l||r\n", "option 2 is empty", id="an-option-without-a-text"),
            pytest.param(b"k.mp4,Q?,B. left,left|right\n", "none of the 2 options", id="letter-and-another-text"),
        ],
    )
    def test_a_bad_line_costs_itself(self, tmp_path, table, words):
        path = tmp_path / "a.csv"
        path.write_bytes(b"path,question,answer,options\n" + table + b'k.mp4,"Which, way?",B,l|r\n')
        bad, good = FORMATS["table"](path, tmp_path)
        assert parsed(good)[0] == "Which, way?"
        if bad.fault:
            assert words in bad.fault and str(path) in bad.fault
        else:
            with pytest.raises(RecordError, match=words):
                parse_record(bad.value, "here")

    @pytest.mark.parametrize(
        "table",
        [
            pytest.param("path;question;answer;options\nk.mp4;Up, or down?;B;up|down\n", id="semicolons"),
            pytest.param("path\tquestion\tanswer\toptions\nk.mp4\tUp, or down?\tB\tup|down\n", id="tabs-in-a-csv"),
            pytest.param(
                """path,question,answer,options\nk.mp4,"Up, or down?",B,"['up', 'down']"\n""", id="a-list-of-python"
            ),
            pytest.param('path,question,answer,options\nk.mp4,"Up, or down?",B. down,up|down\n', id="letter-and-text"),
            pytest.param('path,question,answer,options\nk.mp4,"Up, or down?",Down,up|down\n', id="text-in-capitals"),
            pytest.param('path,question,answer,options\nk.mp4,"Up, or down?",down,a. up|b. down\n', id="small-labels"),
            pytest.param(
                'path,question,answer,a,b,c,x\nk.mp4,"Up, or down?",B,up,down,,3\n', id="columns-of-no-option"
            ),
            pytest.param('path,question,answer,options\r"k.mp4","Up, or down?",B,up|down\r', id="lines-of-old-macs"),
        ],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_spellings_of_one_line(self, tmp_path, table, encoding):
        path = tmp_path / "a.csv"
        path.write_bytes(table.encode(encoding))
        [row] = FORMATS["table"](path, tmp_path)
        options = ["A. up", "B. down"]
        assert parsed(row) == ("Up, or down?", "video", "multiple choice", options, "<answer>B</answer>", "k.mp4")

    def test_an_empty_column_of_options_does_not_move_the_letters(self, tmp_path):
        [row] = rows_of("table", tmp_path / "a.csv", "path,question,answer,a,b,c\nk.mp4,Q?,B,up,,down\n")
        with pytest.raises(RecordError, match="option 2 is empty"):
            parse_record(row.value, "here")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "no head"),
            ('path,"question\n"a', "line 1: not a table"),
            (b"\xff\xfe\x00", "not text"),
            ("path,question,question\n", "column question comes twice"),
        ],
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
            pytest.param({"image": "a", "conversations": []}, "no question", id="nothing-asked"),
            pytest.param(
                {"image": "a", "conversations": [{"from": "human", "value": ["x"]}, {"from": "gpt", "value": "x"}]},
                "value is not text",
                id="a-list-as-a-question",
            ),
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
        ("reply", "kind", "truth"),
        [
            pytest.param("A man walks", "multiple choice", "B", id="a-text-that-begins-with-an-article"),
            pytest.param("A man walks.", "multiple choice", "B", id="a-text-with-a-full-stop"),
            pytest.param("B. A man walks", "multiple choice", "B", id="letter-and-text"),
            pytest.param("(b)", "multiple choice", "B", id="small-letter"),
            pytest.param("The answer is B.", "multiple choice", "B", id="a-sentence-with-the-letter"),
            pytest.param("A cat sleeps", "free-form", "A cat sleeps", id="no-option"),
            pytest.param("A, B", "free-form", "A, B", id="two-letters"),
            pytest.param(7, "free-form", "7", id="a-number"),
        ],
    )
    def test_the_option_that_a_reply_names(self, tmp_path, reply, kind, truth):
        talk = [{"from": "human", "value": "Which?\nA. A dog\nB. A man walks"}, {"from": "gpt", "value": reply}]
        [row] = rows_of("llava", tmp_path / "a.json", [{"video": "v.mp4", "conversations": talk}])
        assert (parsed(row)[2], parsed(row)[4]) == (kind, f"<answer>{truth}</answer>")

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

    def test_an_option_without_a_text_does_not_move_the_letters(self, tmp_path):
        text = self.HEAD + "11,90,640,480,why,2,6,TN,a,,c,d,e\n" + "11,90,640,480,why,2,6,TN,a,b,c,,\n"
        middle, end = rows_of("next_qa", tmp_path / "train.csv", text)
        with pytest.raises(RecordError, match="option 2 is empty"):
            parse_record(middle.value, "here")
        assert parsed(end)[3:5] == (["A. a", "B. b", "C. c"], "<answer>C</answer>")

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


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param({"answer": 0}, "<answer>0</answer>", id="a-number-that-is-nought"),
        pytest.param({"answer": [1]}, "neither text nor number but list", id="a-list-as-an-answer"),
        pytest.param({"choices": 5}, "not a list of objects", id="a-number-of-choices"),
        pytest.param({"choices": [3, {"choice": "a", "answer": "correct"}]}, "not a list", id="a-choice-that-is-none"),
    ],
)
def test_an_odd_question_of_clevrer_costs_itself(tmp_path, question, expected):
    names = ["video_00001.mp4", "9" * 300 + ".mp4"]
    asked = [{"question": "How many?", **question}]
    scenes = [{"scene_index": 1, "video_filename": name, "questions": asked} for name in names]
    for row, name in zip(rows_of("clevrer", tmp_path / "train.json", scenes), names, strict=True):
        assert expected in row.fault if row.fault else parsed(row)[-2:] == (expected, name)


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
    ("members", "expected"),
    [
        pytest.param({"1.json": "text"}, ["B"], id="the-text-of-an-option"),
        pytest.param({"/abs/1.json": "B", "/abs/1.mp4": ""}, ["B"], id="absolute-names"),
        pytest.param({"./a//1.json": "B", "./a//1.mp4": ""}, ["B"], id="names-with-idle-steps"),
        pytest.param({"1.json": True}, ["neither text nor number"], id="an-answer-that-is-no-text"),
        pytest.param({"1.json": "B", "1.MP4": ""}, ["one .json and one medium"], id="two-media-but-for-capitals"),
        pytest.param({"1.json": "A", "./1.json": "B"}, ["comes again further on", "B"], id="a-sample-twice"),
        pytest.param({"1.json": "B", "2\udce9.mp4": ""}, ["B", "holds 2"], id="a-name-that-is-not-utf-8"),
    ],
)
def test_odd_shards(tmp_path, members, expected):
    files = {
        name: b"clip"
        if answer == ""
        else json.dumps({"question": "Q?", "answer": answer, "options": ["x", "text"]}).encode()
        for name, answer in members.items()
    }
    make_shard(tmp_path / "a.tar", {**({} if any("/1.mp4" in name for name in files) else {"1.mp4": b"clip"}), **files})
    rows = list(FORMATS["webdataset"](tmp_path / "a.tar", tmp_path))
    assert len(rows) == len(expected)
    for row, words in zip(rows, expected, strict=True):
        assert words in row.fault if row.fault else parsed(row)[4] == f"<answer>{words}</answer>"
    for item in parse_rows(rows, source="s", split="train", media_root=MediaRoot(tmp_path)):
        assert item.reason.encode() if isinstance(item, Quarantined) else archive.is_media(item.record.path)


@pytest.mark.parametrize(
    ("given", "process"),
    [
        pytest.param({}, "<think>a</think>\n<answer>A</answer>", id="reasoning-alone"),
        pytest.param({"answer": "B"}, "<think>a</think>\n<answer>B</answer>", id="the-teacher's-own-answer"),
        pytest.param({"answer": 3}, "<think>a</think>\n<answer>3</answer>", id="a-number-as-the-teacher's-answer"),
        pytest.param({"answer": "<answer>B</answer>"}, "<think>a</think>\n<answer>B</answer>", id="answer-in-its-tags"),
        pytest.param({"answer": ["B"]}, "neither text nor number", id="a-list-as-an-answer"),
        pytest.param(
            {"process": "<think>a</think> <answer>B</answer>\n"},
            "<think>a</think> <answer>B</answer>",
            id="answer-behind-the-reasoning",
        ),
        pytest.param(
            {"process": "<think>or <answer>B</answer></think>"},
            "<think>or <answer>B</answer></think>\n<answer>A</answer>",
            id="a-tag-within-the-reasoning",
        ),
        pytest.param({"process": "a"}, "nothing to learn from", id="no-tags"),
    ],
)
def test_reasoning_that_comes_with_its_record(tmp_path, given, process):
    row = {"process": "<think>a</think>", "solution": "<answer>A</answer>", **given}
    [read] = rows_of("video_r1_cot", tmp_path / "a.json", [row])
    assert process in read.fault if read.fault else read.value["process"] == process


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
