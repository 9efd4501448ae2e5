import math

import pytest

from tasks.core.schemas.parsing import RecordError, parse_record

RAW = {
    "problem_id": 7,
    "problem": "Which way?",
    "data_type": "video",
    "problem_type": "multiple choice",
    "options": ["A. left", "B. right"],
    "process": "",
    "solution": "<answer>B</answer>",
    "path": "./clip.mp4",
    "data_source": "",
}
OPEN = {"problem_type": "numerical", "options": [], "solution": "<answer>3</answer>"}


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        pytest.param({}, "problem_id", 7, id="the-published-format"),
        pytest.param({"original_question_type": "mc"}, "skill", "", id="unknown-keys-are-left-out"),
        pytest.param({"problem_id": 7.0}, "problem_id", 7, id="parquet-from-pandas-has-float-ids"),
        pytest.param({"process": None, "data_source": None}, "process", "", id="null-text-is-empty"),
        pytest.param({**OPEN, "options": None}, "options", [], id="eval-files-have-null-options"),
        pytest.param({"temporal": True, "skill": "direction"}, "temporal", True, id="own-fields"),
        pytest.param({"options": ["left", "right"]}, "options", ["A. left", "B. right"], id="options-get-letters"),
        pytest.param({}, "temporal", None, id="temporal-is-unknown-unless-said"),
        pytest.param(
            {"solution": " <answer> B </answer>\n"}, "solution", "<answer> B </answer>", id="outer-space-goes"
        ),
    ],
)
def test_parse_record(change, field, expected):
    assert getattr(parse_record({**RAW, **change}, "here"), field) == expected


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        pytest.param({"problem_id": None}, "problem_id", "missing", id="no-id"),
        pytest.param({"problem_id": True}, "problem_id", "not an integer", id="bool-is-an-int-to-python"),
        pytest.param({"problem_id": "7"}, "problem_id", "not an integer", id="text-id"),
        pytest.param({"problem_id": 7.5}, "problem_id", "not an integer", id="fractional-id"),
        pytest.param({"problem_id": math.nan}, "problem_id", "not an integer", id="nan-id"),
        pytest.param({"problem_id": math.inf}, "problem_id", "not an integer", id="infinite-id"),
        pytest.param({"problem_id": 2**63}, "problem_id", "64 bits", id="id-beyond-parquet"),
        pytest.param({"problem": "  "}, "problem", "empty", id="blank-problem"),
        pytest.param({"problem": "\u200b"}, "problem", "empty", id="problem-that-nobody-sees"),
        pytest.param({"problem": ["q"]}, "problem", "not text but list", id="problem-is-a-list"),
        pytest.param({"problem": "\ud800"}, "problem", "not valid Unicode", id="half-surrogate-cannot-be-written"),
        pytest.param({"options": ["A. \udc00", "B. x"]}, "options", "not valid Unicode", id="half-surrogate-in-option"),
        pytest.param({"data_type": "Video"}, "data_type", "unknown 'Video'", id="case-matters"),
        pytest.param({"problem_type": "ocr"}, "problem_type", "one of multiple choice", id="ocr-is-OCR"),
        pytest.param({"options": "A. left"}, "options", "not a list", id="options-are-text"),
        pytest.param({"options": ["A. left"]}, "options", "with 1 options", id="one-option-is-no-choice"),
        pytest.param({"options": None}, "options", "with 0 options", id="choice-without-options"),
        pytest.param({"solution": "B"}, "solution", "not <answer>..</answer>: 'B'", id="bare-truth"),
        pytest.param({"solution": "<answer> </answer>"}, "solution", "empty answer", id="empty-truth"),
        pytest.param(
            {"problem_type": "free-form", "options": [], "solution": "<answer>left</answer><answer>up</answer>"},
            "solution",
            "</answer> within the answer",
            id="two-truths",
        ),
        pytest.param(
            {"problem_type": "free-form", "options": [], "solution": "<answer><answer>left</answer></answer>"},
            "solution",
            "<answer> within the answer",
            id="nested-truth",
        ),
        pytest.param(
            {"solution": "<answer>C</answer>"}, "solution", "none of the 2 options", id="letter-beyond-options"
        ),
        pytest.param(
            {"solution": "<answer>left</answer>"}, "solution", "none of the 2 options", id="truth-is-the-text"
        ),
        pytest.param({"path": ""}, "path", "empty", id="no-path"),
        pytest.param(
            {"problem": "Is <|video_pad|> red?"}, "problem", "spells <|video_pad|>", id="a-question-of-pixels"
        ),
        pytest.param(
            {"options": ["A. left", "B. <|image_pad|>"]}, "options", "spells <|image_pad|>", id="option-of-pixels"
        ),
        pytest.param({"process": "<|vision_end|>"}, "process", "spells <|vision_end|>", id="reasoning-of-pixels"),
        pytest.param(
            {**OPEN, "solution": "<answer><|vision_pad|></answer>"},
            "solution",
            "spells <|vision_pad|>",
            id="true-pixels",
        ),
        pytest.param({"problem": "Which? <|im_end|>"}, "problem", "spells <|im_end|>", id="end-of-a-turn"),
        pytest.param({"options": ["A. left", "A. right"]}, "options", "labels A, A", id="one-label-twice"),
        pytest.param(
            {"options": ["A. left", "B. left"]}, "options", "options B and A read the same", id="one-text-twice"
        ),
        pytest.param({"options": ["A. left", ""]}, "options", "option 2 is empty", id="empty-option"),
        pytest.param({"temporal": "yes"}, "temporal", "'yes'", id="temporal-is-text"),
    ],
)
def test_parse_record_refuses(change, field, reason):
    with pytest.raises(RecordError) as caught:
        parse_record({**RAW, **change}, "file.json row 3")
    assert caught.value.field == field
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"file.json row 3: {field}: ")


@pytest.mark.parametrize("value", [None, [], "row", 3])
def test_a_row_that_is_no_object_is_one_bad_row(value):
    with pytest.raises(RecordError, match="not an object"):
        parse_record(value, "here")
