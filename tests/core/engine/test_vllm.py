"""vLLM against the reference engine on one random model. Starting vLLM takes some 20 seconds: once, for all checks."""

import pytest

from tasks.core.engine.base import open_engine
from tasks.core.models.load import load_processor
from tasks.core.models.visual_tokens import visual_token_ids

pytest.importorskip("vllm", reason="vLLM is not installed; the transformers engine is the way out")
pytestmark = pytest.mark.slow
GREEDY = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 24}
SAMPLED = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}


@pytest.fixture(scope="module")
def engine(tiny_model):
    with open_engine("vllm", tiny_model, max_model_len=512, batch_size=8) as engine:
        yield engine


@pytest.fixture(scope="module")
def requests(engine, make_requests):
    return make_requests(engine)


def test_greedy_answers_and_errors_equal_the_reference(engine, tiny_model, requests):
    found = engine.generate(requests, **GREEDY)
    with open_engine("transformers", tiny_model, max_model_len=512) as reference:
        assert found == reference.generate(requests, **GREEDY)
    assert len({tuple(completion.token_ids) for [completion] in found[:8]}) > 4, "answers too alike to compare anything"


def test_an_answer_does_not_depend_on_its_batch(engine, requests):
    together = engine.generate(requests, **SAMPLED)
    backwards = engine.generate(requests[::-1], **SAMPLED)[::-1]
    assert together == backwards


def test_copies_differ(engine, requests):
    for answers in engine.generate(requests[:3], **SAMPLED, n=2):
        assert answers[0].token_ids != answers[1].token_ids


def test_visual_tokens_are_never_sampled(engine, tiny_model, requests):
    banned = set(visual_token_ids(load_processor(tiny_model)))
    results = engine.generate(requests[:8], temperature=2.0, top_p=1.0, max_tokens=40)
    assert not banned & {token for [completion] in results for token in completion.token_ids}
