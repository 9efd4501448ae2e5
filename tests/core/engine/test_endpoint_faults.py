"""An endpoint that fails now and then: every request is answered in the end, or says why not, in limited time."""

import json

import pytest

from tasks.core.engine import openai as engine_module
from tasks.core.engine.endpoint import Endpoint, read_endpoint
from tasks.core.engine.openai import DamagedReplyError, OpenAIEngine, completions_of, pause
from tasks.core.engine.types import EngineError, Request
from tests.support.served import FAULTS, reply_to, served

SAMPLED = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 9}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(engine_module, "FIRST_PAUSE_SECONDS", 0.01)


def endpoint(server, **changes):
    settings = {"concurrency": 3, "timeout_seconds": 1.0, "retries": 4, **changes}
    return Endpoint(server.base_url, "some-model", **settings)


def questions(count, n=1):
    turns = [[{"role": "user", "content": [{"type": "text", "text": f"question {number}"}]}] for number in range(count)]
    return [Request(str(i), json.dumps(turn), None, "video", 100 + i, n) for i, turn in enumerate(turns)]


def texts(answered):
    return [[completion.text for completion in copies] for copies in answered]


def expected(requests):
    bodies = [{"messages": json.loads(request.prompt), "seed": request.seed, "n": request.n} for request in requests]
    return [[choice["message"]["content"] for choice in reply_to(body)["choices"]] for body in bodies]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again(fault):
    requests = questions(5)
    with served([fault, "ok", fault]) as server, OpenAIEngine(endpoint(server)) as engine:
        assert texts(engine.generate(requests, **SAMPLED)) == expected(requests)
        assert len(server.asked) == 7
        assert "5 requests" in engine.remarks() and "2 of them tried again" in engine.remarks()


def test_all_faults_at_once():
    requests = questions(12)
    with served(FAULTS) as server, OpenAIEngine(endpoint(server, retries=9)) as engine:
        assert texts(engine.generate(requests, **SAMPLED)) == expected(requests)


@pytest.mark.parametrize("fault", ["503", "hang", "not json"])
def test_what_does_not_pass_costs_its_request_alone(fault):
    """The request that holds the only bad place is given up; those beside it are answered."""
    requests = questions(4)
    with served() as server, OpenAIEngine(endpoint(server, retries=1, timeout_seconds=0.4)) as engine:
        original = server.next_fault
        server.next_fault = lambda body: fault if "question 2" in str(original(body)) + str(body) else "ok"
        answered = engine.generate(requests, **SAMPLED)
    assert [done.finish_reason == "error" for [done] in answered] == [False, False, True, False]
    assert "2 tries, the last: " in answered[2][0].error


@pytest.mark.parametrize("fault", ["400", "422", "413"])
def test_a_refusal_is_not_tried_again(fault):
    with served([fault]) as server, OpenAIEngine(endpoint(server, concurrency=1)) as engine:
        [[refused], [fine]] = engine.generate(questions(2), **SAMPLED)
        assert len(server.asked) == 2
    assert refused.error.startswith(f"refused: {fault}") and "so it is" in refused.error
    assert fine.finish_reason == "stop"


@pytest.mark.parametrize("fault", ["401", "403", "404"])
def test_an_endpoint_that_may_not_be_used_ends_the_run(fault):
    with (
        served([fault] * 9) as server,
        OpenAIEngine(endpoint(server)) as engine,
        pytest.raises(EngineError, match=f"127.0.0.1.*{fault}.*so it is"),
    ):
        engine.generate(questions(3), **SAMPLED)


@pytest.mark.parametrize(("fault", "count"), [("503", 8), ("hang", 1), ("closed", 1)])
def test_an_endpoint_that_answers_nothing_ends_the_run(fault, count):
    with (
        served([fault] * 99) as server,
        OpenAIEngine(endpoint(server, retries=1, timeout_seconds=0.3)) as engine,
        pytest.raises(EngineError, match="answers nothing; 2 tries"),
    ):
        engine.generate(questions(count), **SAMPLED)


def test_one_bad_request_alone_is_no_reason_to_end():
    with served(["503"] * 99) as server, OpenAIEngine(endpoint(server, retries=1)) as engine:
        [[lost]] = engine.generate(questions(1), **SAMPLED)
    assert "no answer in 2 tries, the last: 503" in lost.error


@pytest.mark.parametrize("ignores_n", [False, True], ids=["at once", "one by one"])
def test_several_samples(ignores_n):
    requests = questions(2, n=3)
    with served(ignores_n=ignores_n) as server, OpenAIEngine(endpoint(server)) as engine:
        answered = engine.generate(requests, **SAMPLED)
        assert texts(answered) == expected(requests)
        assert len(server.asked) == (6 if ignores_n else 2)
    assert [len(done.token_ids) for copies in answered for done in copies] == [4] * 6


def test_no_more_requests_at_once_than_allowed_and_none_waits_for_a_batch():
    with served(["slow"] * 20) as server, OpenAIEngine(endpoint(server, concurrency=4)) as engine:
        stream = engine.stream(iter(questions(20)), **SAMPLED)
        next(stream)
        assert len(server.asked) < 20, "the first is here before the last is asked"
        assert len(list(stream)) == 19
    assert server.most_at_once == 4


def test_a_stream_that_is_left_asks_no_more():
    with served(["slow"] * 50) as server, OpenAIEngine(endpoint(server, concurrency=2)) as engine:
        stream = engine.stream(iter(questions(50)), **SAMPLED)
        next(stream)
        stream.close()
        asked = len(server.asked)
        assert texts(engine.generate(questions(1), **SAMPLED)) == expected(questions(1))
        assert len(server.asked) <= asked + 4


def test_reasoning_apart_from_the_answer_is_put_back():
    with served(["reasoning"]) as server, OpenAIEngine(endpoint(server)) as engine:
        [[done]] = engine.generate(questions(1), **SAMPLED)
    assert done.text == "<think>It goes right.</think><answer>B</answer>"


@pytest.mark.parametrize(
    ("message", "ending", "text"),
    [
        pytest.param({"content": "B", "reasoning": "right"}, "stop", "<think>right</think>B", id="as-vllm-names-it"),
        pytest.param({"content": "B", "reasoning_content": "right"}, "stop", "<think>right</think>B", id="older-name"),
        pytest.param({"content": None, "reasoning": "righ"}, "length", "<think>righ", id="cut-off-while-reasoning"),
        pytest.param(
            {"content": "<think>a</think>B", "reasoning": "a"}, "stop", "<think>a</think>B", id="there-already"
        ),
        pytest.param({"content": "B", "reasoning": None}, "stop", "B", id="none"),
    ],
)
def test_reasoning_under_the_names_that_servers_give_it(message, ending, text):
    [done] = completions_of(json.dumps({"choices": [{"finish_reason": ending, "message": message}]}))
    assert (done.text, done.finish_reason) == (text, ending)


CHOICE = {"finish_reason": "stop", "message": {"content": "B"}}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("[" * 100_000, id="100,000-brackets"),
        pytest.param(
            json.dumps({"choices": [CHOICE], "usage": {"completion_tokens": float("inf")}}), id="endless-tokens"
        ),
        pytest.param(json.dumps({"choices": [CHOICE], "usage": {"completion_tokens": 10**12}}), id="too-many-tokens"),
        pytest.param(json.dumps({"choices": [CHOICE], "usage": {"prompt_tokens": -1}}), id="less-than-no-tokens"),
        pytest.param(json.dumps({"choices": [{"message": {"content": "half \ud83d"}}]}), id="half-a-character"),
        pytest.param(
            json.dumps({"choices": [{"message": {"content": "B", "reasoning": ["x"]}}]}), id="reasoning-in-a-list"
        ),
        pytest.param(json.dumps({"choices": {"message": {"content": "B"}}}), id="choices-that-are-no-list"),
    ],
)
def test_a_reply_that_cannot_be_is_damaged(body):
    with pytest.raises(DamagedReplyError):
        completions_of(body)


def test_a_filtered_answer_is_an_error():
    [done] = completions_of('{"choices": [{"finish_reason": "content_filter", "message": {"content": "x"}}]}')
    assert (done.finish_reason, done.error) == ("error", "refused: content_filter")


@pytest.mark.parametrize(
    ("attempt", "asked", "low", "high"),
    [
        pytest.param(0, None, 0.005, 0.01, id="the first"),
        pytest.param(3, None, 0.04, 0.08, id="twice as long each time"),
        pytest.param(40, None, 30.0, 60.0, id="at most a minute"),
        pytest.param(0, "7", 7.0, 7.0, id="as the server asks"),
        pytest.param(0, "86400", 60.0, 60.0, id="but not a day"),
        pytest.param(0, "²", 0.005, 0.01, id="a digit that is no number"),
        pytest.param(0, "Fri, 27 Nov", 0.005, 0.01, id="a date is not read"),
    ],
)
def test_pauses(attempt, asked, low, high):
    assert low <= pause(attempt, asked) <= high


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("concurrency: 0", "concurrency must be at least 1", id="no requests"),
        pytest.param("timeout_seconds: soon", "timeout_seconds: Input should be a valid number", id="not a number"),
        pytest.param("retry: 3", "and may have api_key_env, concurrency", id="unknown field"),
    ],
)
def test_a_bad_field_is_named(tmp_path, line, reason):
    path = tmp_path / "e.yaml"
    path.write_text(f"base_url: u\nmodel: m\n{line}\n")
    with pytest.raises(EngineError, match=reason):
        read_endpoint(path)


def test_price():
    priced = Endpoint("u", "m", usd_per_million_prompt_tokens=2.0, usd_per_million_completion_tokens=10.0)
    assert priced.usd(500_000, 100_000) == pytest.approx(2.0)
