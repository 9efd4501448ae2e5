"""The contract of a backbone, over all of them with tiny random weights.

`docs/backbones.md` says what works where, and these tests hold it: their outcomes are printed as a table at the end,
and a page that says otherwise fails the run (`tests/support/contract_table.py`). vLLM's points are in
`test_contract_vllm.py`.
"""

import re

import pytest
import torch
from transformers import GenerationConfig
from trl.trainer.utils import add_fused_lm_head

from tasks.core.backbones import VIDEO, backbone_of
from tasks.core.engine.sampler import RowSampler
from tasks.core.engine.transformers import TransformersEngine
from tasks.core.engine.types import Request
from tasks.core.models.inputs import clip_tokens, mismatch, prompt_tokens
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.train.features import encode_media, encoder_outputs
from tasks.core.train.prepare import prepare
from tasks.core.train.rows import pad_rows
from tasks.core.train.shared_prefix import packed_rows, score_completions
from tasks.core.video import shuffle_clip
from tasks.grpo.rollout import sample
from tests.support.families import FAMILIES, ORDERS, batch_inputs, load

TEMPERATURE = 0.7
LOGPS, GRADIENTS = 2e-4, 2e-3


@pytest.fixture(params=FAMILIES, scope="module")
def family(request, family_folder):
    return load(backbone_of(request.param), family_folder(request.param))


@pytest.fixture
def fresh(family, family_folder):
    """As `family`, for tests that change the model."""
    made = load(family.backbone, family_folder(family.backbone.model_types[0]))
    with torch.no_grad():  # at the enlarged scale rounding alone passes the tolerances
        for name, weight in made.model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight /= 4
    return made


MEDIA = [
    pytest.param("video", 6, id="video"),
    pytest.param("video", 5, id="odd frames"),
    pytest.param("image", 1, id="image"),
    pytest.param(None, 0, id="text"),
]


def clip_of(family, medium, frames, seed=0):
    return None if medium is None else family.image(seed) if medium == "image" else family.clip(frames, seed)


@pytest.mark.parametrize(("medium", "frames"), MEDIA)
def test_expansion_counts_the_processors_tokens(family, medium, frames):
    clip = clip_of(family, medium, frames)
    prompt = family.prompt(medium, clip)
    assert prompt_tokens(family.processor, family.text(medium), clip) == len(prompt.ids)
    if medium is not None:
        assert clip_tokens(family.processor, frames, family.side**2, medium) <= len(prompt.ids)
        assert int((prompt.kinds == prompt.kind).sum()) == len(features_of(family, prompt))


@torch.no_grad()
def features_of(family, prompt):
    [features] = encode_media(family.model, [prompt])
    return features


@pytest.mark.parametrize(("medium", "frames"), MEDIA)
@torch.no_grad()
def test_injected_features_equal_pixels(family, medium, frames):
    prompt = family.prompt(medium, clip_of(family, medium, frames))
    answer = torch.tensor([40, 50, 60])
    plain = family.model(**batch_inputs(family, [prompt], [answer])).logits
    row = prompt._replace(ids=torch.cat([prompt.ids, answer]), kinds=torch.cat([prompt.kinds, 0 * answer]))
    inputs = {"input_ids": row.ids[None], "attention_mask": torch.ones_like(row.ids)[None]}
    kinds = {"mm_token_type_ids": row.kinds[None]} if family.backbone.places_by_kind else {}
    outputs = encoder_outputs([prompt], encode_media(family.model, [prompt]))
    given = family.backbone.placing([row])
    injected = family.model(**inputs, **kinds, **given, mm_encoder_outputs=outputs).logits
    assert torch.equal(injected, plain)
    if medium is not None:
        other = family.prompt(medium, clip_of(family, medium, frames, seed=1))
        blind = family.model(**batch_inputs(family, [other], [answer])).logits
        assert float((blind - plain).abs().max()) > 1e-3, "the model looks at the pixels"


@pytest.mark.parametrize("order", ["frames", "patches"])
@torch.no_grad()
def test_permuted_frames_equal_frames_encoded_again(family, order):
    clip = family.clip()
    shown = shuffle_clip(clip, ORDERS[order])
    ordered, again = family.prompt("video", clip, source="a"), family.prompt("video", shown, source="a")
    moved = family.backbone.reordered(ordered, ORDERS[order], shown)
    assert moved.patches == again.patches and torch.equal(moved.ids, again.ids)
    assert torch.equal(moved.pixels, again.pixels)
    alone = features_of(family, again._replace(source=None))
    shared = encode_media(family.model, [ordered, moved])[1]
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_batch_mixes_media_of_any_length(family):
    clips = [family.clip(6), family.image(1), None, family.clip(4, 2)]
    kinds = ["video", "image", None, "video"]
    prompts = [family.prompt(kind, clip) for kind, clip in zip(kinds, clips, strict=True)]
    together = encode_media(family.model, prompts)
    assert together[2] is None
    for prompt, features in zip(prompts, together, strict=True):
        if features is not None:
            torch.testing.assert_close(features, features_of(family, prompt), rtol=0, atol=1e-4)


def scores_alone(family, prompt, answer):
    logits = family.model(**batch_inputs(family, [prompt], [answer])).logits[0, len(prompt.ids) - 1 : -1]
    return (logits / TEMPERATURE).log_softmax(-1).gather(-1, answer[:, None])[:, 0]


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("selective", [False, True], ids=["kept", "recomputed"])
def test_packed_rows_equal_rows_of_their_own(fresh, selective, record_property):
    model = fresh.model
    if (reason := fresh.backbone.unpackable(model)) is not None:
        record_property("refuses", reason)
        with pytest.raises(ValueError, match=re.escape(reason)):
            prepare(model, packed=True)
        return
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    prompts = [fresh.prompt("video", fresh.clip()), fresh.prompt("image", fresh.image(1)), fresh.prompt(None, None)]
    torch.manual_seed(1)
    answers = [[torch.randint(20, 300, (n,)) for n in lengths] for lengths in ([5, 1, 3], [4, 2], [3])]
    flat = [answer for group in answers for answer in group]
    weights = [torch.randn(len(answer)) for answer in flat]
    owners = [owner for owner, group in enumerate(answers) for _ in group]
    alone = [scores_alone(fresh, prompts[owner], answer) for owner, answer in zip(owners, flat, strict=True)]
    expected = gradients_of(model, sum((row * w).sum() for row, w in zip(alone, weights, strict=True)))

    prepare(model, packed=True, selective=selective)
    mask = pad_rows([torch.ones_like(answer) for answer in flat], 0, "right")
    packed = packed_rows(model, prompts, [len(group) for group in answers], pad_rows(flat, 9, "right"), mask)
    outputs = encoder_outputs(prompts, encode_media(model, prompts))
    scores = score_completions(model, packed, {"mm_encoder_outputs": outputs})
    found = gradients_of(model, (scores.log_probs * pad_rows(weights, 0, "right")).sum())

    for row, logps in enumerate(alone):
        torch.testing.assert_close(scores.log_probs[row, : len(logps)], logps, rtol=0, atol=LOGPS)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float((found[name] - value).abs().max()) <= GRADIENTS * float(value.abs().max()) + 1e-6, name
    encoder = {id(weight) for weight in fresh.backbone.encoder_parameters(model)}
    assert any(id(weight) in encoder and found.get(name) is not None for name, weight in model.named_parameters())


def test_recomputed_blocks_give_the_same_gradients(fresh):
    prompts = [fresh.prompt("video", fresh.clip()), fresh.prompt("image", fresh.image(1)), fresh.prompt(None, None)]
    answer = torch.tensor([40, 50, 60])
    kept = gradients_of(fresh.model, sum(scores_alone(fresh, prompt, answer).sum() for prompt in prompts))
    blocks = [*fresh.backbone.decoder(fresh.model).layers, *fresh.backbone.vision_blocks(fresh.model)]
    prepare(fresh.model, selective=True)
    assert any("forward" in vars(block) for block in blocks), "some blocks keep less"
    again = gradients_of(fresh.model, sum(scores_alone(fresh, prompt, answer).sum() for prompt in prompts))
    assert again.keys() == kept.keys()
    for name, value in kept.items():
        assert float((again[name] - value).abs().max()) <= GRADIENTS * float(value.abs().max()) + 1e-6, name


@pytest.mark.parametrize("streams", [None, 1.0], ids=["greedy", "sampled"])
@torch.no_grad()
def test_rollouts_are_the_same_by_every_path(family, streams):
    prompts = [
        family.prompt("video", family.clip()),
        family.prompt("image", family.image(1), "Which?"),
        family.prompt("video", family.clip(4, 2), "Which way does the red ball move? Look well."),
    ]
    copies = [3, 2, 1]
    tokenizer = family.processor.tokenizer
    config = GenerationConfig(
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        suppress_tokens=visual_token_ids(family.processor),
        repetition_penalty=1.0,
    )

    def run(**options):
        drawn = None if streams is None else RowSampler(range(6), 8, streams, 1.0, "cpu")
        features = encode_media(family.model, prompts)
        return sample(family.model, prompts, features, copies, config, sampler=drawn, **options)

    plain = run(share_prefix=False)
    assert run(share_prefix=True) == plain
    if family.backbone.unpackable(family.model) is None:
        prepare(family.model, packed=True)
    assert run(share_prefix=True, drop_ended=True) == plain
    assert len({tuple(ids) for group in plain for ids in group}) > 1, "the completions are not all the same"
    if streams is None:
        for prompt, group in zip(prompts, plain, strict=True):
            row = family.model.generate(**batch_inputs(family, [prompt], [prompt.ids[:0]]), generation_config=config)
            assert row[0, len(prompt.ids) :].tolist()[: len(group[0])] == group[0], "from pixels"


SHOWN = [
    pytest.param("video", 6, id="six frames"),
    pytest.param("video", 4, id="fewer"),
    pytest.param("image", 1, id="image"),
    pytest.param("video", 1, id="one frame"),
    pytest.param(None, 0, id="text"),
    pytest.param("video", 5, id="odd"),
]


def test_an_engine_answers_media_of_any_length_in_one_call(family, family_folder):
    shown = [parameter.values for parameter in SHOWN]
    requests = [
        Request(str(n), family.text(medium), clip_of(family, medium, frames, n), medium or "video", n)
        for n, (medium, frames) in enumerate(shown)
    ]
    folder = family_folder(family.backbone.model_types[0])

    def tokens(rows_per_call):
        engine = TransformersEngine(folder, dtype="float32", max_model_len=512, rows_per_call=rows_per_call)
        answered = engine.generate(requests, temperature=0.0, top_p=1.0, max_tokens=6)
        assert [completion.error for [completion] in answered] == [""] * len(requests)
        return [list(completion.token_ids) for [completion] in answered]

    assert tokens(len(requests)) == tokens(1)


def test_visual_tokens_are_known_and_refused(family):
    vocabulary = family.processor.tokenizer.get_vocab()
    ids = visual_token_ids(family.processor)
    assert len(ids) == len(family.backbone.visual_tokens) > 0
    for token in family.backbone.visual_tokens:
        assert len(family.processor.tokenizer(token)["input_ids"]) == 1 and token in vocabulary
        assert mismatch(family.processor, family.text(None, f"What is {token}?"), None, "video")
        assert mismatch(family.processor, family.text("video", f"What is {token}?"), family.clip(), "video")
    for medium, clip in (("video", family.clip()), ("image", family.image()), (None, None)):
        prompt = family.prompt(medium, clip)
        shown = set(prompt.ids.tolist()) & set(ids)
        assert bool(shown) == (medium is not None), "what a template and a processor write is in the list"
        assert set(prompt.ids[prompt.kinds > 0].tolist()) <= set(ids)


def test_patterns_match_every_projection(family):
    """A pattern that misses a layer trains less than it says."""
    model, backbone = family.model, family.backbone
    names = {module: name for name, module in model.named_modules()}
    for blocks, pattern in (
        (backbone.decoder(model).layers, backbone.names.lora_text),
        (backbone.vision_blocks(model), backbone.names.lora_vision),
    ):
        linear = [names[part] for block in blocks for part in block.modules() if isinstance(part, torch.nn.Linear)]
        assert linear, "blocks hold projections"
        assert [name for name in linear if not re.fullmatch(pattern, name)] == []
    assert len(backbone.layer_classes(model)) == 2


def test_the_encoder_is_all_that_only_pixels_pass_through(fresh):
    prompt = fresh.prompt("video", fresh.clip())
    [features] = encode_media(fresh.model, [prompt])
    features.sum().backward()
    reached = {name for name, weight in fresh.model.named_parameters() if weight.grad is not None}
    own = {id(weight) for weight in fresh.backbone.encoder_parameters(fresh.model)}
    assert reached and all(id(weight) in own for name, weight in fresh.model.named_parameters() if name in reached)
    assert prompt.kind == VIDEO
