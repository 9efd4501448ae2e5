"""vLLM against the reference engine on one random model. Starting vLLM takes some 20 seconds: once, for all checks."""

import subprocess
import sys

import pytest

from tasks.core.engine.open import open_engine
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


def test_sampling_settings_of_the_checkpoint_have_no_effect(engine, penalised, requests):
    expected = [engine.generate(requests[:8], **how) for how in (GREEDY, SAMPLED)]
    with open_engine("vllm", penalised, max_model_len=512, batch_size=8) as other:
        assert [other.generate(requests[:8], **how) for how in (GREEDY, SAMPLED)] == expected


@pytest.mark.parametrize("workers", [1, 2], ids=["in this process", "in processes of its own"])
def test_an_engine_that_does_not_start_says_why_in_one_line(tiny_model, capfd, workers):
    """The model has fewer positions than are asked for; vLLM's message begins "1 validation error for ModelConfig"."""
    script = (
        "import sys; from tasks.core.engine.open import open_engine\n"
        "from tasks.core.io.cli import run_stage\n"
        "run_stage(lambda: open_engine('vllm', sys.argv[1], max_model_len=10**6, tensor_parallel=int(sys.argv[2])))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tiny_model), str(workers)], capture_output=True, text=True)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2
    assert "max_model_len (1000000) is greater than" in line and "validation error" not in line
