"""Packed rows against a row for every completion: the same log-probabilities and gradients, in float32 on the CPU."""

import copy

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration
from trl.trainer.utils import add_fused_lm_head

from tasks.core.models.load import load_model, load_processor
from tasks.core.train.packing import Layout, PositionedPrompt, pack
from tasks.core.train.prepare import prepare
from tasks.core.train.recompute import use_selective_checkpointing
from tasks.core.train.rows import encode_prompt, grids, pad_rows, pixels, text_only
from tasks.core.train.shared_prefix import (
    Scores,
    by_prompt,
    in_order,
    packed_rows,
    score_completions,
    use_shared_prefix,
)
from tasks.core.train.split_attention import attend, own_mask
from tasks.core.video import shuffle_clip

LOGPS, GRADIENTS = 1e-5, 1e-4
"""Absolute; relative to the largest entry of each weight's gradient."""


# Integer arithmetic.


def placed(length, first=100):
    return PositionedPrompt(torch.arange(first, first + length), torch.arange(length).expand(3, -1), length + 7)


@pytest.mark.parametrize(
    ("lengths", "ids", "predictors", "positions"),
    [
        pytest.param([[2, 3]], [100, 101, 10, 20, 21], [1, 2, 1, 3, 4], [0, 1, 9, 9, 10], id="last tokens stay out"),
        pytest.param([[1, 1]], [100, 101], [1, 1], [0, 1], id="one token: the prompt alone predicts it"),
        pytest.param([[0, 2]], [100, 101, 20], [1, 2], [0, 1, 9], id="an empty completion leaves no trace"),
        pytest.param([[0, 0]], [100, 101], [], [0, 1], id="nothing to score"),
        pytest.param(
            [[2], [3]], [100, 101, 100, 101, 10, 20, 21], [1, 4, 3, 5, 6], [0, 1, 0, 1, 9, 9, 10], id="prompts first"
        ),
    ],
)
def test_pack(lengths, ids, predictors, positions):
    flat = [length for group in lengths for length in group]
    completions = torch.tensor([[10 * row, 10 * row + 1, 10 * row + 2] for row in range(1, len(flat) + 1)])
    mask = torch.tensor([[int(place < length) for place in range(3)] for length in flat])
    packed = pack([placed(2) for _ in lengths], [len(group) for group in lengths], completions, mask)
    assert packed.ids.tolist() == [ids]
    assert packed.predictors.tolist() == predictors
    assert packed.positions.tolist() == [positions] * 3
    assert packed.targets.tolist() == [[t for row, n in zip(completions.tolist(), flat, strict=True) for t in row[:n]]]


def test_pack_refuses_rows_without_a_prompt():
    with pytest.raises(ValueError, match=r"1 prompts with \[2\] completions for 3 rows"):
        pack([placed(2)], [2], torch.zeros(3, 2).long(), torch.ones(3, 2).long())


@pytest.mark.parametrize(
    ("keys", "prompts", "counts", "order"),
    [
        pytest.param("aabbb", [0, 2], [2, 3], [0, 1, 2, 3, 4], id="in runs"),
        pytest.param("abcab", [0, 1, 2], [2, 2, 1], [0, 3, 1, 4, 2], id="a key that comes again is read once"),
        pytest.param("a", [0], [1], [0], id="one row"),
    ],
)
def test_by_prompt(keys, prompts, counts, order):
    assert by_prompt(keys) == (prompts, counts, order)
    rows = torch.arange(len(keys)).unsqueeze(1)
    assert torch.equal(in_order(Scores(rows[order], None), order).log_probs, rows)


def test_own_mask():
    assert own_mask([2, 1], 2).int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


# Attention.

LAYOUTS = [
    pytest.param(Layout([5], [[3, 3]]), id="equal completions"),
    pytest.param(Layout([5, 2, 9], [[1, 4, 2], [3], [2, 2]]), id="several prompts, uneven completions"),
    pytest.param(Layout([4, 6], [[0, 0], [3, 0, 1]]), id="completions that add nothing to the row"),
    pytest.param(Layout([4, 6], [[0], []]), id="no completions at all"),
    pytest.param(Layout([700], [[90, 130]]), id="longer than a kernel's block"),
]


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "masked"])
@pytest.mark.parametrize("key_heads", [4, 2], ids=["all heads", "grouped heads"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_split_attention_equals_one_dense_mask(layout, key_heads, merge):
    torch.manual_seed(0)
    total = layout.prompt_tokens + layout.completion_tokens
    mask = dense_mask(layout)
    tensors = [torch.randn(1, heads, total, 16, requires_grad=True) for heads in (4, key_heads, key_heads)]
    weights = torch.randn(1, total, 4, 16)

    def dense(query, key, value):
        repeated = [t.repeat_interleave(4 // key_heads, 1) for t in (key, value)]
        scores = (query @ repeated[0].mT / 4).masked_fill(~mask, -torch.inf)
        return (scores.softmax(-1) @ repeated[1]).transpose(1, 2)

    found, expected = attend(*tensors, layout, None, merge), dense(*tensors)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)
    gradients = [torch.autograd.grad((out * weights).sum(), tensors) for out in (found, expected)]
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)


def dense_mask(layout):
    """What sees what, token by token, written out."""
    tokens = [(p, None, i) for p, length in enumerate(layout.prompts) for i in range(length)]
    tokens += [
        (p, a, i) for p, group in enumerate(layout.completions) for a, length in enumerate(group) for i in range(length)
    ]

    def sees(mine, other):
        if mine[0] != other[0]:
            return False
        return other[1] is None and mine[1] is not None or (mine[1] == other[1] and other[2] <= mine[2])

    return torch.tensor([[sees(mine, other) for other in tokens] for mine in tokens])


# The model.


@pytest.fixture
def policy(tiny_model):
    model = load_model(tiny_model, "float32", "cpu")
    with torch.no_grad():  # weights of `tiny_model` are enlarged; at that scale rounding alone passes the tolerances
        for weight in model.parameters():
            if weight.ndim > 1:
                weight /= 4
    add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    return use_shared_prefix(model), load_processor(tiny_model)


def grouped(model):
    """The same weights with two query heads to a key head, as in the released checkpoints."""
    config = copy.deepcopy(model.config)
    config.text_config.num_key_value_heads //= 2
    config.text_config._attn_implementation = "sdpa"
    torch.manual_seed(5)
    made = prepare(Qwen2_5_VLForConditionalGeneration(config).eval())
    add_fused_lm_head(made, temperature=0.7, outputs=("log_probs", "entropy"))
    return use_shared_prefix(made)


def prompts_of(processor, make_clip, chat, kinds):
    orders = {"ordered": [0, 1, 2, 3, 4, 5], "frames": [3, 0, 5, 1, 4, 2], "patches": [4, 5, 0, 1, 2, 3]}
    found = []
    for number, kind in enumerate(kinds):
        question = "Which way?" + " Look well." * number
        medium = {"image": "image", "text": None}.get(kind, "video")
        text = processor.apply_chat_template(chat(medium, question), tokenize=False, add_generation_prompt=True)
        clip = make_clip(frames=1, fps=0, seed=number) if kind == "image" else make_clip(frames=6, seed=number)
        if kind == "text":
            ids = processor.tokenizer(text, return_tensors="pt")["input_ids"][0]
            found.append(text_only(0)._replace(ids=ids, kinds=torch.zeros_like(ids)))
            continue
        shown = shuffle_clip(clip, orders[kind]) if medium == "video" else clip
        found.append(encode_prompt(processor, text, shown, medium))
    return found


def plain_scores(model, prompt, completion):
    """One row of its own: prompt and completion, pixels and all."""
    names = {1: ("pixel_values", "image_grid_thw"), 2: ("pixel_values_videos", "video_grid_thw")}
    media = dict(zip(names[prompt.kind], (prompt.pixels, prompt.grid), strict=True)) if prompt.kind else {}
    logits = model(
        input_ids=torch.cat([prompt.ids, completion])[None],
        mm_token_type_ids=torch.cat([prompt.kinds, torch.zeros_like(completion)])[None],
        second_per_grid_ts=prompt.seconds_per_grid,
        **media,
    ).logits[0, len(prompt.ids) - 1 : -1]
    logps = (logits / 0.7).log_softmax(-1)
    return logps.gather(-1, completion[:, None])[:, 0], -(logps.exp() * logps).sum(-1)


BATCHES = [
    pytest.param(["ordered"], [[4, 4, 4]], id="one video"),
    pytest.param(["ordered", "frames", "patches"], [[5, 1], [3, 6, 2], [4]], id="views of videos, uneven"),
    pytest.param(["image", "ordered", "image", "text"], [[3, 2], [6], [1, 1], [4, 5]], id="mixed media"),
]


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("heads", ["all heads", "grouped heads"])
@pytest.mark.parametrize(("kinds", "lengths"), BATCHES)
def test_packed_rows_equal_rows_of_their_own(policy, make_clip, chat, kinds, lengths, heads, recompute):
    model, processor = policy
    model = grouped(model) if heads == "grouped heads" else model
    prompts = prompts_of(processor, make_clip, chat, kinds)
    torch.manual_seed(1)
    completions = [[torch.randint(20, 300, (n,)) for n in group] for group in lengths]
    flat = [completion for group in completions for completion in group]
    weights = [torch.randn(len(completion)) for completion in flat]
    owners = [owner for owner, group in enumerate(completions) for _ in group]

    alone = [plain_scores(model, prompts[owner], completion) for owner, completion in zip(owners, flat, strict=True)]
    expected = gradients_of(model, sum((row[0] * w).sum() for row, w in zip(alone, weights, strict=True)))

    if recompute:
        use_selective_checkpointing(model)
    mask = pad_rows([torch.ones_like(completion) for completion in flat], 0, "right")
    packed = packed_rows(model, prompts, [len(group) for group in completions], pad_rows(flat, 9, "right"), mask)
    media = {**grids(prompts), **pixels(prompts)}
    scores = score_completions(model, packed, media)
    found = gradients_of(model, (scores.log_probs * pad_rows(weights, 0, "right")).sum())

    for row, (logps, entropy) in enumerate(alone):
        torch.testing.assert_close(scores.log_probs[row, : len(logps)], logps, rtol=0, atol=LOGPS)
        torch.testing.assert_close(scores.entropy[row, : len(entropy)], entropy, rtol=0, atol=LOGPS)
        assert not scores.log_probs[row, len(logps) :].any()
    assert found.keys() == expected.keys() and any("visual" in name for name in found)
    for name, value in expected.items():
        assert float((found[name] - value).abs().max()) <= GRADIENTS * float(value.abs().max()) + 1e-7, name
    with torch.no_grad():
        torch.testing.assert_close(
            score_completions(model, packed, media).log_probs, scores.log_probs, rtol=0, atol=1e-6
        )


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_recomputed_activations_change_nothing(policy, make_clip, chat):
    """Gradient checkpointing calls attention again from the backward pass."""
    model, processor = policy
    prompts = prompts_of(processor, make_clip, chat, ["ordered", "image"])
    completions = torch.randint(20, 300, (4, 5))
    packed = packed_rows(model, prompts, [3, 1], completions, torch.ones_like(completions))
    media = {**grids(prompts), **pixels(prompts)}
    model.train()
    kept = gradients_of(model, score_completions(model, packed, media).log_probs.sum())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for name, value in gradients_of(model, score_completions(model, packed, media).log_probs.sum()).items():
        torch.testing.assert_close(value, kept[name], rtol=1e-5, atol=1e-7, msg=name)


def test_other_forwards_and_the_saved_model_stay_as_they_are(policy, make_clip, chat, tiny_model, tmp_path):
    model, processor = policy
    prompt = prompts_of(processor, make_clip, chat, ["ordered"])[0]
    media = {"pixel_values_videos": prompt.pixels, "video_grid_thw": prompt.grid}
    inputs = {"input_ids": prompt.ids[None], "mm_token_type_ids": prompt.kinds[None], **media}
    with torch.no_grad():
        shared = model(**inputs).logits
        model.model.language_model.config._attn_implementation = "sdpa"
        assert torch.equal(model(**inputs).logits, shared)
    use_selective_checkpointing(use_shared_prefix(model)).save_pretrained(tmp_path)
    written = (tmp_path / "config.json").read_text()
    assert "shared_prefix" not in written and "own_value" not in written
    assert load_model(tmp_path, device="cpu").config.text_config._attn_implementation == "sdpa"


def test_unsuitable_attention_is_refused(tiny_model):
    model = load_model(tiny_model, device="cpu")
    model.model.language_model.config._attn_implementation = "eager"
    with pytest.raises(ValueError, match="SDPA"):
        use_shared_prefix(model)
