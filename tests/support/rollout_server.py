"""A rollout server for tests: vLLM's routes as vLLM 0.32 answers them, a tiny model behind them, faults in front.

with rollout_server(folder, {"inference/v1/generate": ["ok", "hang"]}) as server:    the second call hangs
    server.url, server.asked, server.holds

Its worker is the project's own gloo worker; transformers stands in for vLLM's model and sampler.
"""

import json
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import torch

from tasks.core.models.load import load_model, load_processor
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.grpo.gloo_transfer import GlooWorker
from tasks.grpo.server_transfer import digest_of

GENERATE, UPDATE = "inference/v1/generate", "update_weights"


class Worker(GlooWorker):
    """Puts each weight straight into the model; vLLM's own packs it first."""

    def __init__(self, server):
        config = SimpleNamespace(
            parallel_config=SimpleNamespace(data_parallel_index=0, world_size=1, rank=0), model_config=None
        )
        super().__init__(None, config, torch.device("cpu"), server)

    def start_weight_update(self):
        pass

    def finish_weight_update(self):
        pass


class Server:
    """What it holds and was asked; `faults` of a route go to its calls, in the order in which they come."""

    def __init__(self, folder, faults):
        self.folder, self.faults = str(folder), {route: list(names) for route, names in (faults or {}).items()}
        self.processor, self.model = load_processor(folder), load_model(folder, "float32", "cpu").eval()
        self.banned = visual_token_ids(self.processor)
        self.lock, self.gone, self.asked = threading.Lock(), threading.Event(), Counter()
        self.url, self.drops, self.changes = "", (), {}
        self.prompts = []
        self.restart()

    def restart(self):
        """As after a crash: other weights, no connection, no mark."""
        self.worker, self.holds, self.paused = Worker(self), "default", False
        with torch.no_grad():
            for weight in self.model.parameters():
                weight.zero_()

    def load_weights(self, pairs):
        held = self.model.state_dict()
        for name, value in pairs:
            if name not in self.drops:
                held[name].copy_(value)

    def answer(self, route, body):
        """What vLLM's route says."""
        match route:
            case "health" | "start_weight_update":
                return None
            case "server_info":
                return {"vllm_config": self.config()}
            case "tokenize":
                ids = self.processor.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]
                return {"tokens": list(ids)}
            case "weight_info":
                return {"weight_version": self.holds}
            case "get_world_size":
                return {"world_size": 1}
            case "weight_checker":
                named = self.model.named_parameters()
                return {"checksums": {f"dp0:tp0:{name}": digest_of(value) for name, value in named}}
            case "pause" | "resume":
                self.paused = route == "pause"
            case "init_weight_transfer_engine":
                info = body["init_info"]
                self.worker.init_transfer_engine(self.worker.init_info_cls(**info))
            case "shutdown_weight_transfer_engine":
                self.worker.shutdown()
            case "update_weights":
                assert self.paused, "weights change while completions are made"
                self.worker.update_weights(body["update_info"])
            case "finish_weight_update":
                self.holds = body["weight_version"]
            case "inference/v1/generate":
                return self.generate(body)
            case _:
                raise LookupError(route)
        return {"status": "ok"}

    def config(self):
        model = {"model": self.folder, "dtype": "torch.float32", "max_model_len": 512, "logprobs_mode": "raw_logprobs"}
        config: dict[str, dict[str, Any]] = {"model_config": model, "weight_transfer_config": {"backend": "gloo"}}
        config |= {"scheduler_config": {"enable_chunked_prefill": False}, "device_config": {"device": "cpu"}}
        for place, value in self.changes.items():
            section, _, name = place.partition(".")
            config[section][name] = value
        return config

    @torch.no_grad()
    def generate(self, body):
        sampling = body["sampling_params"]
        with self.lock:
            self.prompts.append(body["token_ids"])
            sampled = [self.sample(body, sampling, sampling["seed"] + copy) for copy in range(sampling["n"])]
        choices = [
            {
                "index": index,
                "token_ids": ids,
                "logprobs": {"content": [{"logprob": value} for value in values]},
                "weight_versions": [{"version": self.holds}],
            }
            for index, (ids, values) in enumerate(sampled)
        ]
        return {"prompt_token_ids": body["token_ids"], "choices": choices[::-1]}

    def sample(self, body, sampling, seed):
        generator = torch.Generator().manual_seed(seed)
        prompt = torch.tensor(body["token_ids"])
        kinds = torch.zeros_like(prompt)
        media = {}
        for number, name in ((1, "image"), (2, "video")):
            for place in body.get("features", {}).get("mm_placeholders", {}).get(name, ()):
                kinds[place["offset"] : place["offset"] + place["length"]] = number
                media = medium_of(body["features"]["kwargs_data"][name][0])
        ids, values = [], []
        while len(ids) < sampling["max_tokens"] and (not ids or ids[-1] not in sampling["stop_token_ids"]):
            row = torch.cat([prompt, torch.tensor(ids, dtype=prompt.dtype)])
            types = torch.cat([kinds, torch.zeros(len(ids), dtype=kinds.dtype)])
            logits = self.model(input_ids=row[None], mm_token_type_ids=types[None], **media).logits[0, -1]
            allowed = logits.clone()
            allowed[self.banned] = -torch.inf
            if sampling["temperature"] == 0:
                token = int(allowed.argmax())
            else:
                chances = (allowed / sampling["temperature"]).softmax(-1)
                token = int(torch.multinomial(chances, 1, generator=generator))
            ids.append(token)
            values.append(float(logits.log_softmax(-1)[token]))
        return ids, values


def medium_of(text):
    from vllm.entrypoints.scale_out.token_in_token_out.mm_serde import decode_mm_kwargs_item

    data = decode_mm_kwargs_item(text).get_data()
    return {key: value[None] if key.endswith(("grid_thw", "grid_ts")) else value for key, value in data.items()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rollouts: Server

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        server = self.rollouts
        route = self.path.strip("/").partition("?")[0]
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with server.lock:
            server.asked[route] += 1
            names = server.faults.get(route)
            fault = names.pop(0) if names else "ok"
        with suppress(BrokenPipeError, ConnectionResetError):
            self.reply(server, route, json.loads(text) if text else None, fault)

    def reply(self, server, route, body, fault):
        if fault == "hang":
            server.gone.wait(30)
            self.close_connection = True
        elif fault == "closed":
            self.close_connection = True
        elif fault == "not json":
            self.give(200, b"<html>busy</html>")
        elif fault == "other json":
            self.give(200, b'{"choices": [{"message": "what?"}]}')
        elif fault.isdigit():
            self.give(int(fault), b'{"detail": "so it is"}')
        else:
            if fault == "restart":
                server.restart()
            try:
                answer = server.answer(route, body)
            except LookupError:
                return self.give(404, b'{"detail": "Not Found"}')
            except Exception as error:
                return self.give(500, json.dumps({"detail": f"{type(error).__name__}: {error}"}).encode())
            if fault == "stale":
                answer["choices"][0]["weight_versions"] = [{"version": "default"}]
            elif fault == "cut":
                answer["choices"].pop()
            elif fault == "other prompt":
                answer["prompt_token_ids"] = [1, *body["token_ids"]]
            self.give(200, b"" if answer is None else json.dumps(answer).encode())

    def give(self, status, data):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def rollout_server(folder, faults=None):
    """A running server."""
    made = Server(folder, faults)
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"rollouts": made}))
    http.daemon_threads = True
    made.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield made
    finally:
        made.gone.set()
        http.shutdown()
        http.server_close()
