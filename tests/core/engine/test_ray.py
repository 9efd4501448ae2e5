"""Engines in actors of a Ray cluster: the same completions as of one engine, losses, and what is left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks.core.engine import cluster
from tasks.core.engine.cluster import Cluster, Node, share_of
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError

ROOT = Path(__file__).parents[3]
SAMPLED = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}


@pytest.mark.parametrize(
    ("nodes", "count", "tensor_parallel", "expected"),
    [
        pytest.param([(8, 64), (8, 64)], 4, 4, Node(4, 1), id="two engines a node"),
        pytest.param([(0, 2), (8, 64)], 2, 4, Node(4, 1), id="a head without GPUs takes no engine"),
        pytest.param([(0, 3), (0, 5)], 2, 1, Node(0, 3), id="CPUs: the most that two nodes both have"),
        pytest.param([(0, 5), (0, 5)], 3, 1, Node(0, 2), id="CPUs: two engines on one of the nodes"),
    ],
)
def test_shares_of_a_cluster(nodes, count, tensor_parallel, expected):
    assert share_of([Node(*node) for node in nodes], count, tensor_parallel) == expected


@pytest.mark.parametrize(
    ("nodes", "count", "tensor_parallel", "text"),
    [
        pytest.param([(6, 64), (2, 64)], 2, 4, "room for 1 engines of engine.tensor_parallel 4", id="GPUs in pieces"),
        pytest.param([(0, 2)], 3, 1, "the cluster has 2 CPUs", id="too few CPUs"),
        pytest.param([], 1, 1, "the cluster has 0 CPUs", id="no node"),
    ],
)
def test_a_cluster_that_is_too_small(nodes, count, tensor_parallel, text):
    with pytest.raises(EngineError, match=text):
        share_of([Node(*node) for node in nodes], count, tensor_parallel)


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip("ray", reason="Ray is not installed; `make setup` does it")


@pytest.fixture(scope="module")
def pair(ray, tiny_model):
    settings = {"max_model_len": 512, "batch_size": 2, "data_parallel": 2, "data_parallel_backend": "ray"}
    with open_engine("transformers", tiny_model, **settings) as made:
        yield made


@pytest.mark.slow
def test_actors_answer_as_one_engine_also_after_a_loss(pair, make_requests, tiny_model):
    requests = make_requests(pair)
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=2) as alone:
        expected = alone.generate(requests, **SAMPLED)
    assert pair.generate(requests, **SAMPLED) == expected
    stream = pair.stream(iter(requests), **SAMPLED)
    answered = [next(stream)]
    pair._launcher._ray.kill(pair._workers[0].actor)
    by_key = {request.key: completions for request, completions in [*answered, *stream]}
    assert [by_key[request.key] for request in requests] == expected
    assert pair.remarks().startswith("engines lost: 1 (last: engine 1 of 2: ")


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_one_line_within_a_limit(ray, monkeypatch):
    monkeypatch.setattr(cluster, "JOIN_SECONDS", 20.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EngineError, match=rf"^Ray \({address}\): [^\n]+$"):
            Cluster(1, 1)


LEFT = """
import sys, time
from tasks.core.engine.open import open_engine
from tasks.core.io.lifeline import hold
hold()
with open_engine("transformers", sys.argv[1], max_model_len=512, data_parallel_backend="ray") as engine:
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_process_leaves_no_ray(ray, tiny_model, how):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen([sys.executable, "-c", LEFT, str(tiny_model)], env=environment, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"open\n"
    below = psutil.Process(process.pid).children(recursive=True)
    assert any("raylet" in each.name() for each in below)
    process.send_signal(how)
    process.wait(60)
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive
