"""A chat server for tests, with faults in front of it: answers follow from the question and the seed alone.

with served(["ok", "503", "hang"]) as server:     the first request is answered, the second refused, ..
    server.base_url, server.asked
"""

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("503", "429", "hang", "cut", "trickle", "not json", "other json", "no choices", "closed")
"""What may stand between a client and the server."""


class Served:
    """What the server was asked, and by which faults it goes on."""

    def __init__(self, faults):
        self.faults, self.asked, self.answered, self.lock = list(faults), [], [], threading.Lock()
        self.most_at_once = self.now = 0
        self.gone = threading.Event()

    def next_fault(self, body):
        with self.lock:
            self.asked.append(body)
            return self.faults.pop(0) if self.faults else "ok"


def reply_to(body, ignores_n=False):
    """A chat reply; its letter hangs on the text of the question and the seed of the sample."""
    texts = [part["text"] for turn in body["messages"] for part in turn["content"] if part["type"] == "text"]
    choices = []
    for copy in range(1 if ignores_n else body.get("n", 1)):
        digest = hashlib.sha256(json.dumps([texts, body["seed"] + copy]).encode()).hexdigest()
        text = f"<think>{digest}</think><answer>{'AB'[int(digest, 16) % 2]}</answer>"
        choices.append({"index": copy, "finish_reason": "stop", "message": {"role": "assistant", "content": text}})
    usage = {"prompt_tokens": 10, "completion_tokens": 4 * len(choices), "total_tokens": 0}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        served = self.server.served
        with served.lock:
            served.now += 1
            served.most_at_once = max(served.most_at_once, served.now)
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(served, body, served.next_fault(body))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with served.lock:
                served.now -= 1

    def answer(self, served, body, fault):
        data = json.dumps(reply_to(body, served.ignores_n)).encode()
        if fault == "hang":
            served.gone.wait(30)
            self.close_connection = True
        elif fault == "closed":
            self.close_connection = True
        elif fault == "cut":
            self.give(200, data[: len(data) // 2], length=len(data))
            self.close_connection = True
        elif fault == "trickle":  # a byte now and then: no read takes long, the whole never ends
            self.give(200, b"", length=len(data))
            for place in range(len(data)):
                self.wfile.write(data[place : place + 1])
                if served.gone.wait(0.1):
                    break
            self.close_connection = True
        elif fault == "not json":
            self.give(200, b"<html>busy</html>")
        elif fault == "other json":
            self.give(200, b'{"choices": [{"message": "what?"}]}')
        elif fault == "no choices":
            self.give(200, b'{"choices": []}')
        elif fault == "reasoning":
            reply = reply_to(body)
            reply["choices"][0]["message"] = {"content": "<answer>B</answer>", "reasoning_content": "It goes right."}
            self.give(200, json.dumps(reply).encode())
        elif fault == "slow":
            time.sleep(0.05)
            self.give(200, data)
        elif fault == "429":
            self.give(429, b'{"error": {"message": "too many"}}', headers={"Retry-After": "0.01"})
        elif fault.isdigit():
            self.give(int(fault), b'{"error": {"message": "so it is"}}')
        else:
            with served.lock:
                served.answered.append(body)
            self.give(200, data)

    def give(self, status, data, length=None, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *args):
        pass


@contextmanager
def served(faults=(), ignores_n=False):
    """A running server; `faults` of the first requests, in the order in which they come."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.served = Served(faults)
    server.served.ignores_n = ignores_n
    server.served.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.served
    finally:
        server.served.gone.set()
        server.shutdown()
        server.server_close()
