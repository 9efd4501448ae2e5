"""One bad request costs one result: isolation, checked without a model."""

import pytest

from tasks.core.engine.admit import answer_admitted, answer_isolated
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import Completion, EngineError, Request
from tasks.core.models import inputs
from tasks.core.models.load import load_processor


def request(key):
    return Request(key, "", None, "video", 0)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(set(), id="none"),
        pytest.param({0}, id="first"),
        pytest.param({4}, id="last"),
        pytest.param({1, 2}, id="neighbours"),
        pytest.param({0, 1, 2, 3, 4}, id="all"),
    ],
)
@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError])
def test_only_the_culprits_fail(bad, kind):
    def answer(batch):
        for one in batch:
            if int(one.key) in bad:
                raise kind(f"cannot take {one.key}\nlong story")
        return [[Completion(one.key)] for one in batch]

    results = answer_isolated(answer, [request(str(i)) for i in range(5)])
    for i, [completion] in enumerate(results):
        if i in bad:
            assert completion.finish_reason == "error"
            assert f"cannot take {i}" in completion.error
            assert "\n" not in completion.error
        else:
            assert completion.text == str(i)


def test_a_failing_engine_is_not_a_bad_request():
    def answer(batch):
        raise EngineError("gone")

    with pytest.raises(EngineError, match="gone"):
        answer_isolated(answer, [request("0"), request("1")])


def test_unknown_backend_is_named(tmp_path):
    with pytest.raises(EngineError, match="'tgi'.*vllm, transformers"):
        open_engine("tgi", tmp_path)


def test_a_completion_is_read_behind_the_tag_that_its_prompt_opened(tiny_model, chat):
    processor = load_processor(tiny_model)
    endings = ("", "<think>\n", "<think>\n\n</think>\n")
    asked = [inputs.prompt_text(processor, chat(None)) + opened for opened in endings]
    requests = [Request(prompt, prompt, None, "video", 0) for prompt in asked]

    def answer(batch):
        return [[Completion("a</think><answer>B</answer>")] for _ in batch]

    answered = answer_admitted(processor, requests, 512, answer)
    assert [completion.text.startswith("<think>a") for [completion] in answered] == [False, True, False]
