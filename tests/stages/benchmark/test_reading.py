"""Annotation files with faults: a bad line, byte or field costs one record, told with file and line."""

import codecs
import dataclasses
import json
import shutil

import pandas as pd
import pytest

from tasks.benchmark import totals
from tasks.benchmark.base import Sample, SuiteError
from tasks.benchmark.clips import locate
from tasks.benchmark.marking import sample_of, scored
from tasks.benchmark.protocols.official import official_text
from tasks.benchmark.reading import files
from tasks.benchmark.suites import REGISTRY, mmvu, mvbench, tempcompass, video_mme, video_mmmu, vsi_bench
from tests.support.answers import answer_row
from tests.support.benchmark_trees import SAMPLES, annotate, parquet

LINES = (SAMPLES / "videomme.jsonl").read_text().splitlines()


def read_lines(tmp_path, data: bytes):
    (tmp_path / "videomme.jsonl").write_bytes(data)
    return video_mme.read(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        pytest.param(lambda line: line[: len(line) // 2].encode(), "line 2: not JSON", id="a torn line"),
        pytest.param(lambda line: b"[" * 100_000, "line 2: not JSON", id="brackets without end"),
        pytest.param(lambda line: b"null", "line 2: not an object but NoneType", id="null"),
        pytest.param(
            lambda line: (
                line.replace("question", "question", 1).encode().replace(b'"question": "', b'"question": "\xe9')
            ),
            "line 2: question: byte 0xE9 is not UTF-8",
            id="a Latin-1 byte in a text that is read",
        ),
        pytest.param(
            lambda line: line.replace('"question": "', '"question": "\\ud800').encode(),
            "line 2: question: not valid Unicode",
            id="an escaped half of a surrogate",
        ),
    ],
)
def test_a_bad_line_costs_one_record(tmp_path, spoil, fault):
    whole = read_lines(tmp_path, "\n".join(LINES).encode())
    spoilt = [line.encode() for line in LINES]
    spoilt[1] = spoil(LINES[1])
    read = read_lines(tmp_path, b"\n".join(spoilt))
    assert [one.sample_id for one in read.samples] == [
        whole.samples[0].sample_id,
        *(s.sample_id for s in whole.samples[2:]),
    ]
    [told] = read.faults
    assert told.startswith(f"{tmp_path / 'videomme.jsonl'}: {fault}")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(codecs.BOM_UTF8 + "\n".join(LINES).encode(), id="byte order mark"),
        pytest.param("\n".join("\ufeff" + line for line in LINES).encode(), id="byte order marks of joined files"),
        pytest.param("\r\n".join(LINES).encode(), id="line ends of Windows"),
        pytest.param("\n".join(LINES).encode("utf-16"), id="UTF-16"),
        pytest.param(("\n\n".join(LINES) + "\n \n").encode(), id="empty lines"),
    ],
)
def test_what_is_no_fault_costs_nothing(tmp_path, data):
    whole = read_lines(tmp_path, "\n".join(LINES).encode())
    read = read_lines(tmp_path, data)
    assert (read.samples, read.faults) == (whole.samples, [])


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0c"], ids=["U+2028", "U+2029", "U+0085", "form feed"])
def test_signs_that_other_programs_break_lines_at_are_text(tmp_path, sign):
    row = json.loads(LINES[0]) | {"question": f"What{sign} happens?"}
    read = read_lines(tmp_path, "\n".join([json.dumps(row, ensure_ascii=False), *LINES[1:]]).encode())
    assert read.faults == []
    assert read.samples[0].question == f"What{sign} happens?"


def array(rows, **options):
    return json.dumps(rows, **options).encode()


@pytest.mark.parametrize("options", [{}, {"indent": 2}], ids=["one line", "indented"])
def test_a_broken_record_of_an_array_costs_itself(tmp_path, options):
    rows = json.loads((SAMPLES / "mmvu.json").read_text())
    assert len(rows) == 4
    text = array(rows, **options).decode().replace('"id": "' + rows[1]["id"] + '"', '"id" "' + rows[1]["id"] + '"')
    (tmp_path / "validation.json").write_text(text)
    read = mmvu.read(tmp_path)
    assert [one.sample_id for one in read.samples] == [rows[0]["id"], rows[2]["id"], rows[3]["id"]]
    [told] = read.faults
    assert "validation.json: record 1, line " in told and "not JSON" in told


def test_an_array_that_is_cut_off_keeps_its_whole_records(tmp_path):
    text = (SAMPLES / "mmvu.json").read_text()
    (tmp_path / "validation.json").write_text(text[: text.rindex("{") + 5])
    read = mmvu.read(tmp_path)
    assert len(read.samples) == 3 and len(read.faults) == 1


def test_a_file_without_a_usable_record_is_one_line(tmp_path):
    (tmp_path / "validation.json").write_text('{"not": "an array"}')
    with pytest.raises(SuiteError, match="validation.json: a JSON array of records is wanted; none of 1 records"):
        mmvu.read(tmp_path)


def test_one_broken_file_of_several_leaves_the_others(tmp_path):
    annotate(tmp_path)
    (tmp_path / "mvbench/json/action_sequence.json").write_text("{")
    (tmp_path / "tempcompass/questions/yes_no.json").write_text("[]")
    (tmp_path / "video_mmmu/Adaptation/test-00000-of-00001.parquet").write_bytes(b"no parquet")
    for name in ("mvbench", "tempcompass", "video_mmmu"):
        read = REGISTRY[name].read(tmp_path / name, None)
        assert read.samples and len(read.faults) == 1, read.faults


def test_a_json_file_with_a_byte_order_mark_and_a_latin_1_byte(tmp_path):
    rows = json.loads((SAMPLES / "mmvu.json").read_text())
    data = array(rows).replace(rows[2]["question"].encode(), b"caf\xe9?")
    (tmp_path / "validation.json").write_bytes(codecs.BOM_UTF8 + data)
    read = mmvu.read(tmp_path)
    assert len(read.samples) == 3
    assert "record 2, line 1: question: byte 0xE9 is not UTF-8, at character 3" in read.faults[0]


def test_rows_of_names_the_line_of_every_record(tmp_path):
    (tmp_path / "a.json").write_text('[\n  {"a": 1},\n  {"a": 2}\n]\n')
    assert [where for where, _ in files.rows_of(tmp_path / "a.json")] == [
        f"{tmp_path / 'a.json'}: record 0, line 2",
        f"{tmp_path / 'a.json'}: record 1, line 3",
    ]
    (tmp_path / "empty.json").write_text("[ ]")
    assert list(files.rows_of(tmp_path / "empty.json")) == []


# Facts of single benchmarks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", ["inf", "nan", "-1", "0", "1e999", "two"])
def test_a_truth_of_vsi_bench_is_a_finite_positive_number(tmp_path, truth):
    rows = [json.loads(line) for line in (SAMPLES / "vsibench.jsonl").read_text().splitlines()]
    numeric = next(number for number, row in enumerate(rows) if row["question_type"] in vsi_bench.NUMBER)
    rows[numeric]["ground_truth"] = truth
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    [fault] = vsi_bench.read(tmp_path).faults
    assert f"line {numeric + 1}: ground_truth: not a positive number: {truth!r}" in fault


@pytest.mark.parametrize("metadata", [None, {}, {"subject": None}], ids=["null", "empty", "null subject"])
def test_mmvu_takes_the_subject_of_the_clips_folder_where_metadata_are_null(tmp_path, metadata):
    rows = json.loads((SAMPLES / "mmvu.json").read_text())
    whole = rows[0]["metadata"]["subject"].replace(" ", "_")
    rows[0]["metadata"] = metadata
    (tmp_path / "validation.json").write_bytes(array(rows))
    read = mmvu.read(tmp_path)
    assert read.faults == []
    assert read.samples[0].categories["subject"] == whole


def test_the_prompts_of_mmvu_end_as_the_official_templates_do(tmp_path):
    (tmp_path / "validation.json").write_text((SAMPLES / "mmvu.json").read_text())
    ends = {one.options == (): mmvu.word(one).text[-60:] for one in mmvu.read(tmp_path).samples}
    assert ends[False].endswith("options. Think step by\nstep before answering.")
    assert ends[True].endswith("question. Think step by step\nbefore answering.")


def test_an_answer_of_mvbench_that_differs_by_a_space_is_its_candidate(tmp_path):
    row = {
        "video": "v",
        "question": "q?",
        "candidates": ["Hello.", "Bye. "],
        "answer": "Bye.",
        "start": 1.0,
        "end": 3.0,
    }
    twice = row | {"candidates": ["Bye. ", " Bye."]}
    (tmp_path / "json").mkdir()
    (tmp_path / "json/episodic_reasoning.json").write_bytes(array([row, row | {"answer": "Hello. "}, twice]))
    read = mvbench.read(tmp_path)
    assert [one.answer for one in read.samples] == ["B", "A"]
    assert "record 2, line 1: answer: 'Bye.' is several of the candidates" in read.faults[0]


@pytest.mark.parametrize(
    "about",
    [
        *({"eval_dim": None}, None, {"eval_dim": {"action": None}}, {"eval_dim": {"action": {"type": None}}}, "text"),
        {"eval_dim": {"action": {"type": "\ud800"}}},
    ],
    ids=["null dimensions", "null", "null aspect", "null type", "no object", "half a surrogate"],
)
def test_tempcompass_takes_metadata_that_are_null(tmp_path, about):
    annotate(tmp_path)
    [video, *_] = json.loads((tmp_path / "tempcompass/questions/multi-choice.json").read_text())
    (tmp_path / "tempcompass/meta_info.json").write_text(json.dumps({video: about}))
    read = tempcompass.read(tmp_path / "tempcompass")
    assert read.faults == []
    assert all(one.categories["fine_aspect"] == one.categories["aspect"] for one in read.samples)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff{}"], ids=["empty", "torn", "a list", "a byte before it"])
def test_damaged_tempcompass_metadata_cost_the_finer_grouping_alone(tmp_path, data):
    annotate(tmp_path)
    whole = tempcompass.read(tmp_path / "tempcompass").samples
    (tmp_path / "tempcompass/meta_info.json").write_bytes(data)
    read = tempcompass.read(tmp_path / "tempcompass")
    assert len(read.samples) == len(whole) and len(read.faults) == 1
    assert "meta_info.json: " in read.faults[0] and read.faults[0].endswith("no fine-grained aspects")
    assert all(one.categories["fine_aspect"] == one.categories["aspect"] for one in read.samples)


def test_a_truth_of_tempcompass_without_its_letter_is_refused(tmp_path):
    annotate(tmp_path)
    path = tmp_path / "tempcompass/questions/multi-choice.json"
    tree = json.loads(path.read_text())
    [question, *_] = next(iter(next(iter(tree.values())).values()))
    question |= {"question": "Which?\nup\ndown", "answer": "down"}
    path.write_text(json.dumps(tree))
    [fault] = tempcompass.read(tmp_path / "tempcompass").faults
    assert "answer: 'down' does not begin with a letter" in fault


@pytest.mark.parametrize(
    ("suite", "file", "spoil"),
    [
        pytest.param("mmvu", "mmvu/validation.json", ('"subject": "', '"subject": "\\ud800'), id="mmvu subject"),
        pytest.param(
            "tempcompass",
            "tempcompass/questions/multi-choice.json",
            ('"question": "', '"question": "\\ud800'),
            id="tempcompass: the question that a caption is judged by",
        ),
    ],
)
def test_no_sample_holds_what_the_log_cannot(tmp_path, suite, file, spoil):
    annotate(tmp_path)
    whole = REGISTRY[suite].read(tmp_path / suite, None)
    path = tmp_path / file
    path.write_text(path.read_text().replace(*spoil, 1))
    read = REGISTRY[suite].read(tmp_path / suite, None)
    assert len(read.samples) < len(whole.samples)
    assert read.faults and all("not valid Unicode" in fault for fault in read.faults)
    for sample in read.samples:
        json.dumps(dataclasses.asdict(sample), ensure_ascii=False).encode()


def mmmu(tmp_path, *rows, track="Adaptation", subset=None):
    (tmp_path / "videommmu.json").write_text(json.dumps({track: list(rows)}))
    return video_mmmu.read(tmp_path, subset).samples


MMMU = {"id": "validation_Accounting_13", "question": "<image 1> How much?", "options": ["1", "2"], "answer": "B"}


def test_a_question_of_adaptation_without_a_type_is_open(tmp_path):
    [sample] = mmmu(tmp_path, MMMU | {"answer": "12.5"})
    assert (sample.options, sample.lettered, sample.problem_type) == ((), (), "numerical")
    assert "open-ended question" in video_mmmu.word(sample).text
    [sample] = mmmu(tmp_path, MMMU | {"question_type": "multiple-choice"})
    assert sample.options == ("1", "2")
    [sample] = mmmu(tmp_path, MMMU, track="Perception")
    assert sample.options == ("1", "2"), "the repository's files of the other tracks name no type"


def test_an_open_question_gets_no_invented_options(tmp_path):
    [sample] = mmmu(tmp_path, MMMU | {"question_type": "open", "answer": "A"})
    assert (sample.lettered, sample.problem_type) == ((), "free-form"), "Video-R1's protocol does not take it"
    marked = scored(
        answer_row(benchmark="video_mmmu", protocol="official", options=[], answer="A", completion="The answer is A."),
        "robust",
    )
    assert marked["official"] == 1.0, "the official rule reads it"


def test_question_only_is_adaptation_alone_and_without_the_introduction(tmp_path):
    rows = {track: [MMMU | {"question_type": "multiple-choice"}] for track in video_mmmu.TRACKS}
    (tmp_path / "videommmu.json").write_text(json.dumps(rows))
    whole, alone = video_mmmu.read(tmp_path), video_mmmu.read(tmp_path, "question_only")
    assert len(whole.samples) == 3
    [sample] = alone.samples
    assert sample.sample_id == "Adaptation/validation_Accounting_13"
    assert video_mmmu.word(sample).text == "<image 1> How much?\nA. 1\nB. 2"
    assert video_mmmu.SUITE.counts["question_only"] == {"Adaptation": 300}


def test_knowledge_gain_is_over_the_questions_scored_in_both():
    def row(number, subset, score, track="Adaptation"):
        return answer_row(
            benchmark="video_mmmu",
            subset=subset,
            protocol="official",
            sample_id=f"{track}/{number}",
            categories={"track": track},
            official=score,
            official_rule="letter" if score is not None else "empty, left out",
        )

    before = [row(i, "question_only", float(i < 2)) for i in range(8)]
    after = [row(i, "", float(i < 5)) for i in range(7)] + [row(7, "", None), row(9, "", 0.0, "Perception")]
    made = totals.numbers("m", [after, before], [])
    [gain] = made.gains
    assert (gain.n, gain.before, gain.after) == (7, round(2 / 7, 6), round(5 / 7, 6))
    assert gain.gain == pytest.approx((5 - 2) / (7 - 2), abs=1e-5)
    assert totals.numbers("m", [after], []).gains == []


# TempCompass and its judge ------------------------------------------------------------------------------------------

QUESTION = "What happens?\nA. cooking\nB. playing\nC. reading"


def tempcompass_row(task, completion, answer="B. playing", question=QUESTION, **fields):
    return answer_row(
        benchmark="tempcompass",
        protocol="official",
        categories={"task": task, "aspect": "action"},
        question=question,
        answer=answer,
        completion=completion,
        caption_question=QUESTION if task == "captioning" else "",
        caption_answer="B. playing" if task == "captioning" else "",
        **fields,
    )


def asked(row):
    suite = REGISTRY["tempcompass"]
    return suite.judge(sample_of(row), official_text(suite, row))


@pytest.mark.parametrize(
    ("task", "completion", "answer", "question"),
    [
        pytest.param("multi-choice", "The best option is B", "B. playing", QUESTION, id="a sentence"),
        pytest.param("multi-choice", "playing", "B. playing", QUESTION, id="an option's text"),
        pytest.param("yes_no", "The answer is yes", "yes", "Is it?", id="yes behind other words"),
        pytest.param(
            "caption_matching",
            "I choose A",
            "Caption A: x",
            "Which?\nCaption A: x\nCaption B: y",
            id="a caption's name",
        ),
    ],
)
def test_an_answer_that_no_rule_reads_goes_to_the_judge(task, completion, answer, question):
    row = tempcompass_row(task, completion, answer, question)
    alone = scored(row, "robust")
    assert (alone["official"], alone["official_rule"]) == (0.0, "no rule matched"), "official --disable_llm"
    assert completion in asked(row).user
    replies = {"Correct": (1.0, "judge"), '"Incorrect."': (0.0, "judge")}
    replies |= {"It is not incorrect, so correct": (None, tempcompass.UNREADABLE), "B": (None, tempcompass.UNREADABLE)}
    for reply, outcome in replies.items():
        judged = scored(row | {"judge_reply": reply}, "robust")
        assert (judged["official"], judged["official_rule"]) == outcome


@pytest.mark.parametrize("completion", ["B", "B. playing", "C) reading", "<think>A?</think><answer>B</answer>", ""])
def test_what_a_rule_reads_and_an_empty_answer_ask_no_judge(completion):
    row = tempcompass_row("multi-choice", completion)
    assert asked(row) is None
    ruled = scored(row, "robust")
    assert scored(row | {"judge_reply": "Incorrect"}, "robust") == ruled | {"judge_reply": "Incorrect"}


@pytest.mark.parametrize(
    ("reply", "score", "extracted"),
    [
        ("B", 1.0, "B"),
        ("B. playing", 1.0, "B"),
        ("**B**", 1.0, "B"),
        ("B. A person plays", 1.0, "B"),
        ("A", 0.0, "A"),
        ("none", 0.0, "none"),
        ("A, B", 0.0, "A, B"),
        ("B and C", 0.0, "B, C"),
        ("B/C", 0.0, "B, C"),
        ("A. cooking or B. playing", 0.0, "A, B"),
        ("B. playing\nC. reading", 0.0, "B, C"),
        ("maybe", None, ""),
    ],
)
def test_a_caption_is_right_where_the_judge_names_the_one_true_option(reply, score, extracted):
    judged = scored(tempcompass_row("captioning", "They play.", judge_reply=reply), "robust")
    assert (judged["official"], judged["official_extracted"]) == (score, extracted)


@pytest.mark.parametrize(
    ("name", "source", "target", "change", "fault"),
    [
        pytest.param(
            "mmvu",
            "mmvu.json",
            "validation.json",
            {"choices": {"B": "x", "A": "y"}},
            "choices: not an",
            id="mmvu-order",
        ),
        pytest.param("mmvu", "mmvu.json", "validation.json", {"choices": None}, "answer: 'B' is the", id="mmvu-none"),
        pytest.param(
            "mmvu", "mmvu.json", "validation.json", {"question": " "}, "question: empty", id="mmvu-no-question"
        ),
        pytest.param(
            "video_holmes",
            "video_holmes.json",
            "test_Video-Holmes.json",
            {"Question Type": "XX"},
            "Question Type: 'XX'",
            id="holmes-type",
        ),
        pytest.param(
            "mvbench",
            "mvbench/json/action_sequence.json",
            "json/action_sequence.json",
            {"start": True, "end": 5},
            "not an interval",
            id="mvbench-flag-as-a-time",
        ),
        pytest.param(
            "mvbench",
            "mvbench/json/action_sequence.json",
            "json/action_sequence.json",
            {"start": 0, "end": 10**400},
            "not an interval",
            id="mvbench-end-beyond-every-number",
        ),
    ],
)
def test_a_record_that_makes_no_question_costs_itself(tmp_path, name, source, target, change, fault):
    records = json.loads((SAMPLES / source).read_text())
    good = records[-1]
    path = tmp_path / target
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([records[0] | change, good | {"id": "x", "Question ID": 99}]))
    read = REGISTRY[name].read(tmp_path, None)
    assert len(read.samples) == 1
    assert len(read.faults) == 1 and fault in read.faults[0]


def test_mmvu_from_parquet_has_choices_and_subjects(tmp_path):
    records = json.loads((SAMPLES / "mmvu.json").read_text())
    parquet(tmp_path / "validation-00000-of-00001.parquet", records)
    from_parquet = REGISTRY["mmvu"].read(tmp_path, None).samples
    shutil.copy(SAMPLES / "mmvu.json", tmp_path / "validation.json")
    assert from_parquet == REGISTRY["mmvu"].read(tmp_path, None).samples


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "../secret"])
def test_a_clip_whose_name_is_none_is_missing(tmp_path, name):
    sample = Sample("1", "q", (), "a", {}, (f"{name}.mp4",), "c", None, "a")
    assert locate(sample, tmp_path) is None


def test_parquet_with_a_null_column_tells_each_row(tmp_path):
    rows = [json.loads(line) for line in LINES]
    rows[0]["answer"] = None
    (tmp_path / "videomme").mkdir()
    pd.DataFrame(rows).to_parquet(tmp_path / "videomme/test-00000-of-00001.parquet")
    read = video_mme.read(tmp_path)
    assert "record 0: answer: missing" in read.faults[0] and len(read.samples) == len(rows) - 1
