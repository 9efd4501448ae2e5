"""Who reads a checkpoint where weights are sharded, and what the others hold instead."""

from typing import Any

import pytest
import torch

from tasks.core.models.load import empty_model, load_model
from tasks.core.train.sharding import load_policy, policy_copy

SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}


def test_a_model_without_weights_is_otherwise_the_loaded_one(tiny_model):
    loaded: Any = load_model(tiny_model, "float32", "cpu")
    empty: Any = empty_model(tiny_model)
    shapes = [
        {name: (value.shape, value.dtype) for name, value in each.state_dict().items()} for each in (loaded, empty)
    ]
    assert shapes[0] == shapes[1]
    assert all(torch.equal(value, dict(loaded.named_buffers())[name]) for name, value in empty.named_buffers())
    assert empty.get_input_embeddings().weight is empty.get_output_embeddings().weight, "tied as there"
    assert empty.config.name_or_path == loaded.config.name_or_path == str(tiny_model)
    assert empty.generation_config.to_dict() == loaded.generation_config.to_dict()
    places = {value.data_ptr() for value in empty.parameters()}
    assert len(places) == len(list(empty.parameters())), "the optimizer tells parameters apart by their address"
    assert not empty.training and {value.requires_grad for value in empty.parameters()} == {True}


@pytest.mark.parametrize(
    ("environment", "reads"),
    [
        pytest.param({}, True, id="alone"),
        pytest.param({"RANK": "1"}, True, id="plain data parallel"),
        pytest.param({**SHARDED, "RANK": "0"}, True, id="sharded, first"),
        pytest.param({**SHARDED, "RANK": "1"}, False, id="sharded, second"),
        pytest.param(
            {**SHARDED, "FSDP_CPU_RAM_EFFICIENT_LOADING": "false", "RANK": "1"}, True, id="sharded, each for itself"
        ),
    ],
)
def test_one_process_reads_for_all_that_share_weights(tiny_model, monkeypatch, environment, reads):
    for name in (*SHARDED, "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr("tasks.core.train.sharding.load_model", lambda *given: asked.append(given))
    model = load_policy(tiny_model)
    assert (model is None) == bool(asked) == reads


def test_a_copy_without_weights_allocates_nothing_and_shares_nothing(tiny_model):
    policy: Any = empty_model(tiny_model)
    empty: Any = policy_copy(policy, with_weights=False)
    assert {value.device.type for value in empty.parameters()} == {"meta"}
    assert [name for name, _ in empty.named_parameters()] == [name for name, _ in policy.named_parameters()]
    assert empty.get_input_embeddings() is not policy.get_input_embeddings()
    assert {value.device.type for value in policy.parameters()} == {"cpu"}
    whole = policy_copy(load_model(tiny_model, "float32", "cpu"), with_weights=True)
    assert {value.device.type for value in whole.parameters()} == {"cpu"}


@pytest.mark.parametrize("with_weights", [True, False])
def test_a_copy_of_another_type_leaves_buffers_and_the_policy_as_they_are(tiny_model, with_weights):
    policy: Any = load_model(tiny_model, "float32", "cpu")
    copy: Any = policy_copy(policy, with_weights=with_weights, dtype=torch.bfloat16)
    assert {value.dtype for value in copy.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in policy.parameters()} == {torch.float32}
    assert copy.get_input_embeddings().weight is copy.get_output_embeddings().weight, "tied as there"
    theirs = dict(policy.named_buffers())
    assert theirs and all(torch.equal(value, theirs[name]) for name, value in copy.named_buffers())
    if with_weights:
        ours = dict(policy.named_parameters())
        assert all(torch.equal(value, ours[name].to(torch.bfloat16)) for name, value in copy.named_parameters())
