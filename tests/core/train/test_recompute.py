"""Norm and MLP in slices against the modules themselves, in float32 on the CPU."""

import pytest
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP, Qwen2_5_VLRMSNorm

from tasks.core.train.swiglu import SLICE, fits, normed_swiglu


def parts(bias=True):
    torch.manual_seed(0)
    config = Qwen2_5_VLVisionConfig(hidden_size=24, intermediate_size=40, hidden_act="silu")
    norm, mlp = Qwen2_5_VLRMSNorm(24), Qwen2_5_VLMLP(config, bias=bias)
    torch.nn.init.normal_(norm.weight)
    return norm, mlp


@pytest.mark.parametrize(
    ("shape", "bias", "frozen"),
    [
        pytest.param((1, 7, 24), False, (), id="less than a slice, as in the language model"),
        pytest.param((2 * SLICE + 5, 24), True, (), id="slices and a rest, biases as in the encoder"),
        pytest.param((2, SLICE, 24), False, (), id="rows of whole slices"),
        pytest.param((3, 24), True, ("gate_proj.weight", "down_proj.bias"), id="weights that do not train"),
    ],
)
def test_slices_equal_the_modules(shape, bias, frozen):
    norm, mlp = parts(bias)
    for name in frozen:
        mlp.get_parameter(name).requires_grad_(False)
    value, weights = torch.randn(shape, requires_grad=True), torch.randn(shape)
    inputs = [p for p in (value, *norm.parameters(), *mlp.parameters()) if p.requires_grad]
    assert fits(norm, mlp, value)
    found, expected = normed_swiglu(norm, mlp, value), mlp(norm(value))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad((out * weights).sum(), inputs) for out in (found, expected)]
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def test_what_slices_cannot_do_is_left_to_the_modules():
    norm, mlp = parts()
    value = torch.randn(3, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert not fits(norm, mlp, value), "autocast"
    assert not fits(norm, mlp, value.bfloat16()), "another type"
    hook = mlp.up_proj.register_forward_pre_hook(lambda *_: None)
    assert not fits(norm, mlp, value), "weights that a hook gathers"
    hook.remove()
    mlp.up_proj = torch.nn.Sequential(mlp.up_proj)
    assert not fits(norm, mlp, value), "an adapter"
