"""A prompt that the rollout engine has no room for costs its row, before training."""

import dataclasses

import pytest

from tasks.core.models.load import load_processor
from tasks.core.train.clips import ClipStore
from tasks.core.video import VideoError
from tasks.grpo.admit import too_long
from tasks.grpo.data import render
from tests.support.grpo_stage import record

LONG = dataclasses.replace(record(7), problem="Which way does the red ball move? " * 100)


@pytest.fixture
def check(tiny_model, make_clip):
    """`check(records, **limits)`: (indices left out with reasons, paths opened)."""
    processor = load_processor(tiny_model)

    def run(records, **limits):
        opened = []

        def read(path, data_type):
            opened.append(path)
            if path == "broken":
                raise VideoError(path, "torn")
            return make_clip(frames=1, fps=0) if data_type == "image" else make_clip(frames=4)

        prompts = render(records, processor, template="brief", system="You are a helpful assistant.")
        lengths = [len(processor.tokenizer(prompt.text)["input_ids"]) - 1 for prompt in prompts]
        asked = {"max_len": 10_000, "max_tokens": 8, "frames": 4, "max_pixels": 56 * 56, **limits}
        if callable(asked["max_len"]):
            asked["max_len"] = asked["max_len"](lengths)
        return too_long(prompts, processor, ClipStore(read, 1.0), **asked), opened

    return run


BOTH = ["clip 0", "clip 7"]
VIDEO, ANSWER = 8, 8
"""Tokens of four frames of 56 x 56, and of an answer."""


@pytest.mark.parametrize(
    ("records", "limits", "left_out", "opened"),
    [
        pytest.param([record(0), LONG], {}, [], [], id="room for all: no clip is opened"),
        pytest.param(
            [record(0), LONG], {"max_len": lambda n: n[0] + VIDEO + ANSWER}, [1], BOTH, id="one of many words"
        ),
        pytest.param([record(0)], {"max_len": lambda n: n[0] + VIDEO + ANSWER}, [], ["clip 0"], id="fits to the token"),
        pytest.param(
            [record(0)], {"max_len": lambda n: n[0] + VIDEO + ANSWER - 1}, [0], ["clip 0"], id="a token too many"
        ),
        pytest.param(
            [record(0)], {"max_len": lambda n: n[0] + 99, "frames": 768}, [], ["clip 0"], id="a short clip is looked at"
        ),
        pytest.param([record(0, path="broken")], {"max_len": 9}, [], ["broken"], id="what does not open is not judged"),
        pytest.param(
            [record(1, "image")], {"max_len": lambda n: n[0] + 4 + ANSWER}, [], ["clip 1"], id="an image is smaller"
        ),
        pytest.param([], {}, [], [], id="no prompts"),
    ],
)
def test_prompts_without_room_for_an_answer(check, records, limits, left_out, opened):
    reasons, seen = check(records, **limits)
    assert (sorted(reasons), seen) == (left_out, opened)
    assert all("grpo.rollout_max_len" in reason and "sampling.max_tokens 8" in reason for reason in reasons.values())
