"""The engine and the judge over OpenAI's chat interface, against a small server in this process."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.benchmark.judging import judge_rows, unjudged
from tasks.benchmark.marking import scored
from tasks.core.engine.endpoint import read_endpoint
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError, Request
from tests.support.answers import answer_row


@pytest.fixture
def served():
    """(base URL, the bodies it was sent); answers "B", or refuses a question that says so."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            text = json.dumps(body["messages"])
            refuse = "too long" in text
            said = '{"extracted_answer": "dolly zoom", "correct": true}' if "grade answers" in text else "B"
            reply = (
                {"error": {"message": "context length"}}
                if refuse
                else {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
                    ],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
                }
            )
            data = json.dumps(reply).encode()
            self.send_response(400 if refuse else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(served, tmp_path):
    path = tmp_path / "served.yaml"
    path.write_text(f"base_url: {served[0]}\nmodel: some-model\n")
    return path


def ask(engine, text, clip=None):
    chat = [{"role": "user", "content": [{"type": "video"}] * (clip is not None) + [{"type": "text", "text": text}]}]
    return Request("k", engine.render(chat), clip, "video", 7)


def test_frames_go_as_pictures_before_the_text(endpoint, served, make_clip):
    with open_engine("vllm", endpoint) as engine:
        [[done]] = engine.generate([ask(engine, "which?", make_clip(4))], temperature=0.1, top_p=0.5, max_tokens=9)
    assert (done.text, done.finish_reason, len(done.token_ids)) == ("B", "stop", 2)
    body = served[1][0]
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url"] * 4 + ["text"]
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("some-model", 0.1, 9, 7)


def test_a_refused_request_costs_itself_alone(endpoint):
    with open_engine("vllm", endpoint) as engine:
        requests = [ask(engine, "too long"), ask(engine, "fine")]
        [[refused], [fine]] = engine.generate(requests, temperature=0.0, top_p=1.0, max_tokens=9)
    assert refused.finish_reason == "error"
    assert "refused" in refused.error
    assert fine.text == "B"


def test_a_server_that_is_not_there_is_an_engine_error(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.core.engine.endpoint.RETRIES", 0)
    path = tmp_path / "gone.yaml"
    path.write_text("base_url: http://127.0.0.1:9/v1\nmodel: m\n")
    with open_engine("vllm", path) as engine, pytest.raises(EngineError, match="127.0.0.1:9"):
        engine.generate([ask(engine, "hm")], temperature=0.0, top_p=1.0, max_tokens=9)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("model: m", id="no address"),
        pytest.param("{base_url: u, model: m, key: s}", id="a secret in the file"),
    ],
)
def test_a_bad_endpoint_file_is_told(tmp_path, text):
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(EngineError, match="base_url and model"):
        read_endpoint(path)


def test_a_judge_scores_what_no_rule_can(served):
    row = answer_row(
        benchmark="mmvu",
        protocol="official",
        sample_id="validation_1",
        question="Which camera move?",
        options=[],
        lettered=[],
        answer="Dolly zoom",
        categories={"question_type": "open-ended"},
        problem_type=None,
        solution="Dolly zoom",
        completion="It is a dolly zoom.",
    )
    assert scored(row, "robust")["official"] is None
    [[judged]] = judge_rows(unjudged([row], "grader"), base_url=served[0], model="grader", max_tokens=64)
    done = scored(judged, "robust")
    assert (done["official"], done["official_extracted"], done["official_rule"]) == (1.0, "dolly zoom", "judge")
    assert unjudged([judged], "grader") == []
    assert unjudged([judged], "another") == [judged], "another judge judges anew"
    unreadable = scored(judged | {"judge_reply": "well.."}, "robust")
    assert (unreadable["official"], unreadable["official_rule"]) == (None, "not scored: unreadable judgement")
