"""Engines in actors of a Ray cluster: the same completions as of one engine, losses, and what is left behind."""

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tasks.core.engine import cluster
from tasks.core.engine.cluster import Cluster, Node, share_of
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError

ROOT = Path(__file__).parents[3]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-word-that-the-cluster-of-the-tests-wants"}
CLUSTER = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})  # for this process alone: its cluster does not know the project
from tasks.core.io.lifeline import hold
hold()
import ray
context = ray.init("local", num_cpus=2, include_dashboard=False, logging_level=40)
print("at", context.address_info["gcs_address"], flush=True)
time.sleep(600)
"""
STAGE = """
import sys, time
from tasks.core.engine.open import open_engine
from tasks.core.io.lifeline import hold
hold()
with open_engine("transformers", sys.argv[1], max_model_len=512, data_parallel_backend="ray") as engine:
    print("open", flush=True)
    time.sleep(600)
"""
GREEDY = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 24}
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
def others(ray):
    """Variables that lead to a cluster that somebody else started, and its process."""
    paths = {"PYTHONPATH": str(Path(ray.__file__).parents[1])}  # of Ray alone
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **paths, **TOKEN}
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, cwd="/", env=environment, stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.readline()
        assert told.startswith("at "), told
        yield {"RAY_ADDRESS": told.split()[1], **TOKEN}, psutil.Process(process.pid)
        process.terminate()


@pytest.fixture
def joined(others, monkeypatch):
    """A process of a cluster of others, which engines of this test are in."""
    for name, value in others[0].items():
        monkeypatch.setenv(name, value)
    reread()
    yield others[1]
    monkeypatch.undo()
    reread()
    assert gone(actors(others[1])), "engines end with the one who asked for them"
    assert any("raylet" in each.name() for each in others[1].children()), "the cluster stays"


def reread():
    """Let Ray read the environment as at its import, which another test may have caused before."""
    importlib.import_module("ray._raylet").Config.initialize("")  # its stub leaves the class out


def actors(process):
    """Those with an engine below a process; one that has just ended has no command line."""
    alive = []
    for each in process.children(recursive=True):
        with suppress(psutil.Error):
            if "EngineActor" in " ".join(each.cmdline()):
                alive.append(each)
    return alive


def gone(processes):
    return not psutil.wait_procs(processes, timeout=60)[1]


@pytest.mark.slow
def test_actors_answer_as_one_engine_also_after_a_loss(joined, make_requests, tiny_model):
    settings = {"max_model_len": 512, "batch_size": 2, "data_parallel": 2, "data_parallel_backend": "ray"}
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=2) as alone:
        requests = make_requests(alone)
        expected = alone.generate(requests, **SAMPLED)
    with open_engine("transformers", tiny_model, **settings) as pair:
        assert len(actors(joined)) == 2
        assert pair.generate(requests, **SAMPLED) == expected
        stream = pair.stream(iter(requests), **SAMPLED)
        answered = [next(stream)]
        actors(joined)[0].kill()
        by_key = {request.key: completions for request, completions in [*answered, *stream]}
        assert re.match(r"engines lost: 1 \(last: engine [12] of 2: ", pair.remarks())
    assert [by_key[request.key] for request in requests] == expected


@pytest.mark.slow
def test_vllm_in_an_actor_answers_as_the_reference(joined, make_requests, tiny_model):
    pytest.importorskip("vllm", reason="vLLM is not installed; the transformers engine is the way out")
    with open_engine("transformers", tiny_model, max_model_len=512) as reference:
        requests = make_requests(reference)
        expected = reference.generate(requests, **GREEDY)
    with open_engine("vllm", tiny_model, max_model_len=512, batch_size=8, data_parallel_backend="ray") as engine:
        assert engine.generate(requests, **GREEDY) == expected


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_one_line_within_a_limit(ray, monkeypatch):
    monkeypatch.setattr(cluster, "JOIN_SECONDS", 20.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(EngineError, match=rf"^Ray \({address}\): [^\n]+$"):
            Cluster(1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_joined", "how"),
    [
        pytest.param(False, signal.SIGTERM, id="terminated, its own cluster"),
        pytest.param(False, signal.SIGKILL, id="killed, its own cluster"),
        pytest.param(True, signal.SIGKILL, id="killed, a cluster of others"),
    ],
)
def test_a_stage_that_is_killed_leaves_no_process(request, ray, tiny_model, is_joined, how):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "VIDEO_R1_GRACE_SECONDS": "2"}
    if is_joined:
        variables, above = request.getfixturevalue("others")
        environment |= variables
    command = [sys.executable, "-c", STAGE, str(tiny_model)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as stage:
        try:
            assert stage.stdout.readline() == b"open\n"
            if not is_joined:
                above = psutil.Process(stage.pid)
            assert len(actors(above)) == 1
            processes = actors(above) if is_joined else above.children(recursive=True)
            stage.send_signal(how)
            stage.wait(60)
            assert gone(processes)
        finally:
            stage.kill()
