"""An engine that sleeps between rollouts, by a stand-in that refuses what vLLM refuses of one that is not awake."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from tasks.core.models.load import load_processor
from tasks.grpo import vllm_rollouts, vllm_sleep
from tasks.grpo.engines import Policy

MEMORY = {"weights", "kv_cache"}


class StandIn:
    """Has `vllm.LLM`'s calls; its weights are gone or as they were after a sleep, by its level."""

    def __init__(self):
        self.calls, self.asleep = [], set()
        self.version, self.checksum = -1, {}
        self.faults = []
        self.llm_engine = SimpleNamespace(reset_encoder_cache=lambda: None, engine_core=SimpleNamespace())

    def _note(self, text, needs=frozenset()):
        self.calls.append(text)
        if text in self.faults:
            self.faults.remove(text)
            raise RuntimeError(f"lost in {text}")
        assert not needs & self.asleep, f"{text}: {needs & self.asleep} asleep"

    def sleep(self, level):
        self._note(f"sleep {level}", MEMORY - {"kv_cache"})
        self.asleep = set(MEMORY)
        if level == 2:
            self.version, self.checksum = -1, {}

    def wake_up(self, tags):
        self._note(f"wake {'+'.join(tags)}")
        assert set(tags) <= self.asleep, "vLLM wakes nothing of this call"
        self.asleep -= set(tags)

    def collective_rpc(self, name, kwargs):
        self._note("load", {"weights"})
        for _ in kwargs["weights_iterator"]:
            pass
        self.checksum = kwargs["weights_iterator"].checksum

    def apply_model(self, function):
        if function.func is vllm_rollouts.mark:
            self.version = function.keywords["version"]
            return []
        return [(self.version, self.checksum)]

    def reset_prefix_cache(self):
        pass

    def reset_mm_cache(self):
        pass


@pytest.fixture
def policy():
    model = torch.nn.Module()
    model.language_model = torch.nn.Module()
    model.language_model.norm = torch.nn.LayerNorm(4)
    model.device = torch.device("cpu")
    return Policy(model, 1, sharded=False, autocast=nullcontext)


@pytest.fixture
def started(tiny_model, monkeypatch):
    """Makes engines by level; and the stand-ins that were started."""
    engines = []

    def start(folder, **options):
        engines.append((StandIn(), options))
        return engines[-1][0]

    monkeypatch.setattr(vllm_rollouts, "start", start)
    monkeypatch.setattr(vllm_sleep, "refuse_where_impossible", lambda level: None)

    def make(level):
        made = vllm_rollouts.VllmRollouts(
            tiny_model, None, load_processor(tiny_model), [], dtype="float32", max_model_len=64, max_sequences=2,
            gpu_memory_utilization=0.3, kv_cache_gb=1, sleep=level,
        )  # fmt: skip

        def sampled(requests):
            with vllm_rollouts.dying():
                made._sleep.wake(made._llm, "weights", "kv_cache")
                made._llm._note("generate", MEMORY)
            return [["completion"] for _ in requests]

        monkeypatch.setattr(made, "_sampled", sampled)
        monkeypatch.setattr(made, "close", lambda: None)
        return made

    return make, engines


ROUND = ["wake weights", "load", "wake kv_cache", "generate"]


@pytest.mark.parametrize(
    ("level", "first", "again"),
    [
        pytest.param(None, ["load", "generate"], ["generate"], id="awake all the time"),
        pytest.param(1, [*ROUND, "sleep 1"], ["wake weights+kv_cache", "generate", "sleep 1"], id="weights are kept"),
        pytest.param(2, [*ROUND, "sleep 2"], [*ROUND, "sleep 2"], id="weights are dropped and sent anew"),
    ],
)
def test_an_engine_sleeps_before_and_after_a_round_and_is_awake_within(started, policy, level, first, again):
    make, engines = started
    rollouts = make(level)
    [(engine, options)] = engines
    assert engine.asleep == (MEMORY if level else set()), "the policy is loaded next"
    assert options.get("enable_sleep_mode", False) is bool(level)
    for version, expected in ((1, first), (1, again), (2, first)):
        engine.calls.clear()
        assert rollouts.complete(policy._replace(version=version), None, ["request"]) == [["completion"]]
        assert engine.calls == expected
        assert engine.asleep == (MEMORY if level else set())


@pytest.mark.parametrize("fault", ["wake weights", "load", "wake kv_cache", "generate", "sleep 2"])
def test_an_engine_that_dies_of_it_is_started_again(started, policy, fault, capsys):
    make, engines = started
    rollouts = make(2)
    engines[0][0].faults.append(fault)
    assert rollouts.complete(policy, None, ["request"]) == [["completion"]]
    assert f"started again: RuntimeError: lost in {fault}" in capsys.readouterr().err
    assert len(engines) == 2 and engines[1][0].asleep == MEMORY
