"""Vision features encoded once: orders of whole temporal patches, repeats, and what is kept for how long."""

import pytest
import torch

from measure.speed.grpo.shapes import build
from tasks.core.models.load import load_model, load_processor
from tasks.core.sizing.shapes import SHAPES
from tasks.core.train.features import Content, FeatureStore, encode_media, trains
from tasks.core.train.rows import encode_prompt, text_only
from tasks.core.video import shuffle_clip
from tasks.core.world.model import build_processor
from tests.support.texts import TEXT
from tests.support.vision_passes import count_patches

ORDERED, PATCHES, FRAMES = [0, 1, 2, 3, 4, 5], [4, 5, 0, 1, 2, 3], [3, 0, 5, 1, 4, 2]
SIDE = 140
"""Five tokens a side: windows of four, and remainders."""


@pytest.fixture(scope="module", params=["tiny", "small"])
def shape(request, tiny_model):
    """A model with one full-attention layer, and one with windows of 4 x 4 tokens before it."""
    if request.param == "tiny":
        return load_model(tiny_model, "float32", "cpu"), load_processor(tiny_model)
    processor = build_processor("qwen2_5_vl", TEXT * 4, vocabulary=360)
    return build(SHAPES["small"], processor, "float32", "cpu"), processor


@pytest.fixture
def show(shape, make_clip, chat):
    def shown(order, source="a", seed=0, medium="video"):
        """A prompt on frames of a noise clip; a frame named twice is shown twice."""
        processor = shape[1]
        text = processor.apply_chat_template(chat(medium), tokenize=False, add_generation_prompt=True)
        if medium == "image":
            return encode_prompt(processor, text, make_clip(1, fps=0, seed=seed, side=SIDE), medium, source)
        clip = make_clip(max(order) + 1, seed=seed, side=SIDE)
        if sorted(order) == list(range(len(order))):
            return encode_prompt(processor, text, shuffle_clip(clip, order), medium, source)
        repeated = type(clip)(clip.frames[order], list(order), 2.0, 2.0, len(order) / 2.0)
        return encode_prompt(processor, text, repeated, medium, source)

    return shown


def unknown(prompts):
    """The same prompts, nothing of which is compared: the plain path."""
    return [prompt._replace(source=None) for prompt in prompts]


CASES = [
    pytest.param([(ORDERED, "a", 0), (PATCHES, "a", 0)], 3, id="whole patches in another order: no pass of their own"),
    pytest.param([(PATCHES, "a", 0)], 3, id="a patch shuffle alone"),
    pytest.param([(ORDERED, "a", 0), (FRAMES, "a", 0)], 6, id="single frames shuffled make other patches"),
    pytest.param([(ORDERED, "a", 0), (ORDERED, "b", 1), (PATCHES, "b", 1), (PATCHES, "a", 0)], 6, id="two clips"),
    pytest.param([(ORDERED, "a", 0), (ORDERED, "a", 0)], 3, id="one clip asked twice"),
    pytest.param(
        [([0, 1, 2, 3, 4], "a", 0), ([2, 3, 0, 1, 4], "a", 0)], 3, id="odd: the last frame is paired with itself"
    ),
    pytest.param([([0, 1, 2, 3, 4], "a", 0), ([4, 0, 1, 2, 3], "a", 0)], 6, id="odd: a lone frame in front shifts all"),
    pytest.param([([0, 0, 0, 0, 1, 1], "a", 0)], 2, id="a patch shown twice is encoded once"),
]


@pytest.mark.parametrize("kept", [None, False, True], ids=["no store", "store of a step", "lasting store"])
@pytest.mark.parametrize(("views", "patches"), CASES)
@torch.no_grad()
def test_features_equal_the_plain_path(shape, show, monkeypatch, views, patches, kept):
    """An image and a text go along; what is read from a store equals what was put there."""
    model, _ = shape
    prompts = [*(show(*view) for view in views), show([0], "i", 9, "image"), text_only(0)]
    plain = encode_media(model, unknown(prompts))
    store = None if kept is None else FeatureStore(1.0, lasting=kept)
    seen = count_patches(monkeypatch)
    for _ in range(1 if store is None else 2):
        for found, expected in zip(encode_media(model, prompts, store), plain, strict=True):
            assert (found is None) == (expected is None)
            if found is not None:
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert sum(seen) == patches + 1


@pytest.mark.parametrize(("views", "patches"), CASES)
def test_gradients_of_all_views_are_summed(shape, show, views, patches):
    model, _ = shape
    prompts = [*(show(*view) for view in views), show([0], "i", 9, "image")]

    def gradient(shown):
        model.zero_grad()
        torch.manual_seed(0)
        sum((part * torch.randn_like(part)).sum() for part in encode_media(model, shown)).backward()
        return {name: weight.grad.clone() for name, weight in model.model.visual.named_parameters()}

    plain, found = gradient(unknown(prompts)), gradient(prompts)
    for name, value in plain.items():
        assert float(value.abs().max()) > 0
        assert float((found[name] - value).abs().max()) <= 1e-4 * float(value.abs().max()), name


@torch.no_grad()
def test_kept_features_do_not_depend_on_the_batch_or_order_that_made_them(shape, show):
    """To the bit: a resumed run, whose store is empty, meets its clips in other company."""
    model, _ = shape
    ordered, shuffled, other = show(ORDERED), show(PATCHES), show(ORDERED, "b", 1)
    first, again = FeatureStore(1.0, lasting=True), FeatureStore(1.0, lasting=True)
    encode_media(model, [other, shuffled], first)
    assert torch.equal(encode_media(model, [ordered], first)[0], encode_media(model, [ordered], again)[0])


@torch.no_grad()
def test_other_weights_have_other_features(shape, show):
    """Under another name, or dropped: nothing of the old weights is read."""
    model, _ = shape
    prompts, store = [show(ORDERED)], FeatureStore(1.0, lasting=False)
    (before,) = encode_media(model, prompts, store, "policy")
    weight = model.model.visual.merger.mlp[2].bias
    weight += 1.0
    try:
        (reference,) = encode_media(model, prompts, store, "reference")
        assert torch.equal(encode_media(model, prompts, store, "policy")[0], before)
        store.keep_only(lambda content: content.weights == "reference")
        (after,) = encode_media(model, prompts, store, "policy")
    finally:
        weight -= 1.0
    torch.testing.assert_close(after, before + 1.0)
    assert torch.equal(reference, after)


def content(source, patches=((0, 1), (2, 3))):
    return Content("policy", 2, source, patches)


def test_a_store_forgets_what_was_used_longest_ago():
    store, size = FeatureStore(2.5 * 400 / 2**30, lasting=True), (10, 10)
    for source in "ab":
        store.put(content(source), torch.zeros(size))
    store.put(content("a"), torch.ones(size))
    store.put(content("c"), torch.zeros(size))
    assert store.get(content("b")) is None
    assert torch.equal(store.get(content("a")), torch.ones(size)), "put twice, counted once"
    store.put(content("d"), torch.zeros(300, 10))
    assert all(store.get(content(source)) is None for source in "acd"), "what has no room pushes all out, itself too"


def test_a_store_keeps_a_copy_without_gradient():
    """A part of a batch's features would hold all of them, and their graph."""
    store, whole = FeatureStore(1.0, lasting=True), torch.zeros(100, 4, requires_grad=True)
    store.put(content("a"), (whole * 2)[:5])
    kept = store.get(content("a"))
    assert not kept.requires_grad and kept.untyped_storage().nbytes() == 5 * 4 * 4


@pytest.mark.parametrize(
    ("patches", "whole"),
    [
        (((0, 1), (2, 3)), True),
        (((0, 0),), True),
        (((0, 2), (1, 3)), False),
        (((1, 0), (2, 3)), False),
        (((2, 9), (9, 9)), True),
    ],
    ids=["in order", "an image", "frames mixed", "a pair turned round", "repeated last frame"],
)
def test_whole_tells_orders_that_come_again(patches, whole):
    assert content("a", patches).whole == whole


def test_an_adapter_in_the_encoder_trains_it(tiny_model):
    from peft import get_peft_model

    from tasks.grpo.settings import adapter
    from tasks.params import Lora

    for vision in (False, True):
        model = load_model(tiny_model, "float32", "cpu")
        model.model.visual.requires_grad_(vision)
        assert trains(model) == vision
        wrapped = get_peft_model(model, adapter(Lora(rank=2), model, vision))
        assert trains(wrapped.get_base_model()) == vision
