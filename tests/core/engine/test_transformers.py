"""The transformers engine: seeded sampling that no neighbour disturbs, limits, bans, errors."""

import pytest

from tasks.core.backbones import backbone_of
from tasks.core.engine import sampler
from tasks.core.engine.open import open_engine
from tasks.core.engine.transformers import calls
from tasks.core.engine.types import Request
from tasks.core.models import inputs
from tasks.core.models.load import load_processor
from tasks.core.models.visual_tokens import visual_token_ids

SAMPLED = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}


@pytest.fixture(scope="module")
def engine(tiny_model):
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=3) as engine:
        yield engine


@pytest.fixture(scope="module")
def requests(engine, make_requests):
    return make_requests(engine)


def test_bad_requests_cost_themselves_only(engine, requests):
    results = engine.generate(requests, temperature=0.0, top_p=1.0, max_tokens=4)
    assert [completion.finish_reason == "error" for [completion] in results] == [False] * 8 + [True] * 3
    said = [completion.error for [completion] in results[8:]]
    assert "max_model_len 512" in said[0]
    assert "no medium" in said[1]
    assert "0 video placeholders" in said[2]


@pytest.mark.parametrize("medium", ["video", "image", None])
def test_a_question_that_spells_a_visual_token_costs_itself_at_most(engine, make_clip, chat, medium):
    """It is refused, whatever is shown: no tokenizer tells it from what a template put there."""
    clip = make_clip(1, 0) if medium == "image" else make_clip(4) if medium else None
    texts = ["What?", *(f"What is {token}?" for token in backbone_of("qwen2_5_vl").visual_tokens)]
    prompts = [engine.render(chat(medium, text)) for text in texts]
    asked = [Request(prompt, prompt, clip, medium or "video", 0) for prompt in prompts]
    found = engine.generate(asked, **SAMPLED)
    assert [completion.finish_reason == "error" for [completion] in found] == [False] + [True] * (len(texts) - 1)
    assert found[0][0].text and "<|vision_pad|>, which stands for pixels" in found[3][0].error


def test_an_answer_does_not_depend_on_its_batch(engine, requests):
    together = engine.generate(requests, **SAMPLED)
    backwards = engine.generate(requests[::-1], **SAMPLED)[::-1]
    alone = [engine.generate([request], **SAMPLED)[0] for request in requests]
    assert together == backwards == alone


@pytest.mark.parametrize(
    ("lengths", "size", "grouped", "expected"),
    [
        pytest.param([5, 9, 5, 9], 2, True, [[1, 3], [0, 2]], id="like with like, the longest first"),
        pytest.param([5, 9, 5, 9], 2, False, [[0, 1], [2, 3]], id="as they come"),
        pytest.param([7, 7, 7], 2, True, [[0, 1], [2]], id="equal lengths keep their order, the rest is a short call"),
        pytest.param([], 2, True, [], id="none"),
    ],
)
def test_calls(lengths, size, grouped, expected):
    assert calls(lengths, size, grouped) == expected


def test_grouping_by_length_changes_no_answer_and_no_order(tiny_model, engine, requests):
    """Three copies of requests of mixed length, refused ones between them, over calls of two."""
    asked = [requests[8], *requests[:4], requests[9], *requests[4:8]]
    found, widths = [], []
    for grouped in (True, False):
        with open_engine(
            "transformers", tiny_model, max_model_len=512, batch_size=64, rows_per_call=2, group_by_length=grouped
        ) as other:
            found.append(other.generate(asked, **SAMPLED, n=3))
            seen = [inputs.prompt_tokens(load_processor(tiny_model), r.prompt, r.clip) for r in requests[:8]]
            lengths = [length for length in seen for _ in range(3)]
            widths.append(sum(max(lengths[i] for i in places) * len(places) for places in calls(lengths, 2, grouped)))
    assert found[0] == found[1] == engine.generate(asked, **SAMPLED, n=3)
    assert widths[0] < widths[1], "less is computed"


def test_copies_differ_and_the_first_is_the_single_answer(engine, requests):
    several = engine.generate(requests[:3], **SAMPLED, n=3)
    assert [len(answers) for answers in several] == [3, 3, 3]
    assert all(answers[0].token_ids != answers[1].token_ids for answers in several)
    assert [answers[0] for answers in several] == [answers[0] for answers in engine.generate(requests[:3], **SAMPLED)]


def test_the_model_looks_at_the_picture(engine, requests):
    first, last = engine.generate([requests[0], requests[7]], temperature=0.0, top_p=1.0, max_tokens=8)
    assert requests[0].prompt == requests[7].prompt
    assert first[0].token_ids != last[0].token_ids


def test_answers_stop_at_the_model_length(tiny_model, requests):
    prompts = [inputs.prompt_tokens(load_processor(tiny_model), r.prompt, r.clip) for r in (requests[3], requests[0])]
    with open_engine("transformers", tiny_model, max_model_len=max(prompts) + 5) as engine:
        results = engine.generate([requests[3], requests[0]], temperature=0.0, top_p=1.0, max_tokens=64)
    lengths = [len(completion.token_ids) for [completion] in results]
    assert lengths[1] <= 5
    assert [completion.finish_reason for [completion] in results] == ["length"] * 2
    assert lengths == [min(64, max(prompts) + 5 - length) for length in prompts]


def test_visual_tokens_are_never_sampled(engine, tiny_model, requests, monkeypatch):
    def sampled():
        results = engine.generate(requests[:8], temperature=2.0, top_p=1.0, max_tokens=40)
        return {token for [completion] in results for token in completion.token_ids}

    banned = set(visual_token_ids(load_processor(tiny_model)))
    assert not banned & sampled()
    monkeypatch.setattr(sampler, "visual_token_ids", lambda processor: None)
    assert banned & sampled(), "this model would have said them"
