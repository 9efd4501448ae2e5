"""Variable-length attention: calls merged by log-sum-exp equal one dense mask; on a GPU by FlashAttention itself."""

import pytest
import torch

from tasks.core.train.packing import Layout
from tasks.core.train.prepare import prepare
from tasks.core.train.split_attention import attend
from tasks.core.train.varlen_attention import (
    ENCODER,
    Kernel,
    attend_varlen,
    bounds,
    runs_on,
    use_varlen_encoder,
    windowed_attention,
)
from tests.core.train.test_shared_prefix import LAYOUTS


def scores_of(query, key, asked, seen, causal, scale):
    """(heads, T, K) scores of stretch i of the queries against stretch i of the keys, all else -inf."""
    owners = [torch.bucketize(torch.arange(len(t)), s.bounds[1:], right=True) for t, s in ((query, asked), (key, seen))]
    visible = owners[0].unsqueeze(1) == owners[1].unsqueeze(0)
    if causal:
        visible = visible.tril()
    repeated = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = torch.einsum("thd,khd->htk", query, repeated) * (scale or query.shape[-1] ** -0.5)
    return scores.masked_fill(~visible, -torch.inf)


def forward(query, key, value, asked, seen, causal, scale):
    scores = scores_of(query, key, asked, seen, causal, scale)
    lse = scores.logsumexp(-1)
    repeated = value.repeat_interleave(query.shape[1] // key.shape[1], 1)
    return torch.einsum("htk,khd->thd", (scores - lse.unsqueeze(-1)).exp().nan_to_num(), repeated), lse


def backward(grad, query, key, value, out, lse, asked, seen, causal, scale):
    """FlashAttention's backward written out: probabilities from the given log-sum-exp, not from the scores' own."""
    size = scale or query.shape[-1] ** -0.5
    copies = query.shape[1] // key.shape[1]
    repeated = [t.repeat_interleave(copies, 1) for t in (key, value)]
    shares = (scores_of(query, key, asked, seen, causal, scale) - lse.unsqueeze(-1)).exp()
    to_scores = shares * (torch.einsum("thd,khd->htk", grad, repeated[1]) - (grad * out).sum(-1).T.unsqueeze(-1))
    grads = (
        torch.einsum("htk,thd->khd", to_scores, query) * size,
        torch.einsum("htk,thd->khd", shares, grad),
    )
    summed = (g.unflatten(1, (key.shape[1], copies)).sum(2) for g in grads)
    return torch.einsum("htk,khd->thd", to_scores, repeated[0]) * size, *summed


WRITTEN_OUT = Kernel(forward, backward)


@pytest.mark.parametrize("key_heads", [4, 2], ids=["all heads", "grouped heads"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_calls_merged_equal_the_split_on_a_processor(layout, key_heads):
    torch.manual_seed(0)
    total = layout.prompt_tokens + layout.completion_tokens
    tensors = [torch.randn(1, heads, total, 16, requires_grad=True) for heads in (4, key_heads, key_heads)]
    weights = torch.randn(1, total, 4, 16)
    results = attend_varlen(*tensors, layout, None, WRITTEN_OUT), attend(*tensors, layout, None, merge=True)
    torch.testing.assert_close(*results, rtol=1e-4, atol=2e-6)
    gradients = [torch.autograd.grad((out * weights).sum(), tensors) for out in results]
    for ours, split in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, split, rtol=1e-3, atol=1e-5)


def test_bounds_are_made_once_for_all_layers():
    layout = Layout([5, 2], [[1, 0], []])
    where = bounds(layout, torch.device("cpu"))
    assert [each.bounds.tolist() for each in where] == [[0, 5, 7], [0, 1, 1], [0, 1, 1]]
    assert [each.longest for each in where] == [5, 1, 1]
    assert bounds(Layout([5, 2], [[1, 0], []]), torch.device("cpu")) is where


def test_a_processor_has_no_such_kernel():
    assert not runs_on(torch.zeros(1, 16, dtype=torch.bfloat16))


def test_windows_on_a_processor_attend_to_themselves():
    torch.manual_seed(0)
    parts = [torch.randn(1, 2, 7, 8) for _ in range(3)]
    found, _ = windowed_attention(torch.nn.Identity(), *parts, None, torch.tensor([0, 3, 7]), 4)
    cut = [
        torch.nn.functional.scaled_dot_product_attention(*(t[:, :, a:b] for t in parts)) for a, b in ((0, 3), (3, 7))
    ]
    torch.testing.assert_close(found, torch.cat(cut, 2).transpose(1, 2))


def test_encoder_values_stay_the_same(tiny_vl):
    """Windows told to the attention function are those that the encoder cuts itself."""
    torch.manual_seed(0)
    visual = tiny_vl.model.visual
    grid = torch.tensor([[2, 8, 8]])
    pixels = torch.randn(128, visual.patch_embed.proj.weight[0].numel())
    with torch.no_grad():
        before = visual(pixels, grid_thw=grid).pooler_output
        use_varlen_encoder(visual)
        assert visual.config._attn_implementation == ENCODER
        after = visual(pixels, grid_thw=grid).pooler_output
    torch.testing.assert_close(after, before)


@pytest.fixture
def tiny_vl():
    from transformers import Qwen2_5_VLForConditionalGeneration

    from tasks.core.models.load import load_model

    model = load_model("models/world/base", "float32", "cpu")
    assert isinstance(model, Qwen2_5_VLForConditionalGeneration)
    return model


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("key_heads", [4, 2], ids=["all heads", "grouped heads"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flash_equals_the_masked_form_on_a_gpu(layout, key_heads):
    torch.manual_seed(0)
    total = layout.prompt_tokens + layout.completion_tokens
    kind = {"device": "cuda", "dtype": torch.bfloat16}
    tensors = [torch.randn(1, heads, total, 64, **kind, requires_grad=True) for heads in (4, key_heads, key_heads)]
    weights = torch.randn(1, total, 4, 64, **kind)
    results = attend_varlen(*tensors, layout, None), attend(*tensors, layout, None, merge=False)
    torch.testing.assert_close(*results, rtol=2e-2, atol=2e-2)
    gradients = [torch.autograd.grad((out * weights).sum(), tensors) for out in results]
    for ours, masked in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, masked, rtol=5e-2, atol=5e-2)


def test_a_model_that_a_trainer_moves_later_has_the_encoder_s_windows(tiny_vl, monkeypatch):
    """Sharded weights lie in main memory when the model is prepared."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert next(tiny_vl.parameters()).device.type == "cpu"
    assert prepare(tiny_vl, packed=True).model.visual.config._attn_implementation == ENCODER
