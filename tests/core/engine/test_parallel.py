"""Several engines that share the requests: the same completions as of one, and no waiting for what has died."""

import json
import os
import shutil
import signal

import pytest

from tasks.core.engine.open import open_engine
from tasks.core.engine.parallel import ParallelEngine
from tasks.core.engine.processes import shares
from tasks.core.engine.types import EngineError
from tasks.core.models.errors import ModelError

pytestmark = pytest.mark.slow
SAMPLED = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}


@pytest.fixture(scope="module")
def pair(tiny_model):
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=2, data_parallel=2) as made:
        yield made


@pytest.fixture(scope="module")
def requests(pair, make_requests):
    return make_requests(pair)


def test_two_engines_answer_as_one(pair, requests, tiny_model):
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=2) as alone:
        expected = alone.generate(requests, **SAMPLED)
    assert pair.generate(requests, **SAMPLED) == expected
    assert pair.generate(requests[::-1], **SAMPLED) == expected[::-1], "again, and in any order"
    assert [done.finish_reason == "error" for [done] in expected] == [False] * 8 + [True] * 3


def test_what_was_under_way_in_a_process_that_dies_is_asked_again(tiny_model, requests):
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=2) as alone:
        expected = alone.generate(requests, **SAMPLED)
    with open_engine("transformers", tiny_model, max_model_len=512, batch_size=1, data_parallel=2) as pair:
        stream = pair.stream(iter(requests), **SAMPLED)
        answered = [next(stream)]
        os.kill(pair._workers[1].process.pid, signal.SIGKILL)
        by_key = {request.key: completions for request, completions in [*answered, *stream]}
        assert pair.remarks().startswith("engines lost: 1 (last: engine 2 of 2: died, exit code -9)")
        workers = [worker.process for worker in pair._workers]
    assert [by_key[request.key] for request in requests] == expected
    assert len(workers) == 2 and not any(process.is_alive() for process in workers)


def test_an_engine_that_does_not_start_says_why(tiny_model, tmp_path):
    other_sizes = tmp_path / "other-sizes"
    shutil.copytree(tiny_model, other_sizes)
    config = json.loads((other_sizes / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    (other_sizes / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match="engine 1 of 2: .*other-sizes: .*weights"):
        open_engine("transformers", other_sizes, max_model_len=512, data_parallel=2)


def test_a_folder_that_cannot_be_read_is_told_before_an_engine_starts(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(ParallelEngine, "_start", lambda engine, number: pytest.fail("an engine was started"))
    torn = tmp_path / "torn"
    shutil.copytree(tiny_model, torn)
    (torn / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="torn/model.safetensors: torn, or not safetensors"):
        open_engine("transformers", torn, max_model_len=512, data_parallel=2)


@pytest.mark.parametrize(
    ("gpus", "count", "tensor_parallel", "expected"),
    [
        pytest.param("0123", 2, 2, ["0,1", "2,3"], id="two by two"),
        pytest.param("0123", 4, 1, ["0", "1", "2", "3"], id="one each"),
        pytest.param("5731", 3, 1, ["5", "7", "3"], id="those that are visible, in their order"),
    ],
)
def test_gpus_are_shared_out(gpus, count, tensor_parallel, expected):
    made = shares(list(gpus), count, tensor_parallel)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in made] == expected


def test_too_few_gpus():
    with pytest.raises(EngineError, match="data_parallel 2 x engine.tensor_parallel 3 GPUs; there are 4"):
        shares(list("0123"), 2, 3)
