"""One sampler for every completion: its distribution, and the same completion wherever it is asked for."""

import pytest
import torch

from tasks.core.engine.open import open_engine
from tasks.core.engine.sampler import GREEDY_BELOW, RowSampler, end_tokens, nucleus
from tasks.core.engine.types import Request
from tasks.core.models.load import load_model, load_processor
from tasks.core.train.features import encode_media
from tasks.core.train.rows import encode_prompt
from tasks.core.train.shared_prefix import use_shared_prefix
from tasks.grpo.engines import TransformersRollouts
from tasks.grpo.rollout import sample
from tasks.params import Sampling


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        pytest.param(1.0, [0, 1, 2, 3], id="all"),
        pytest.param(0.75, [1, 3], id="the token that crosses the bound stays"),
        pytest.param(0.5, [1], id="reached exactly"),
        pytest.param(0.001, [1], id="the best always stays"),
    ],
)
def test_the_nucleus(top_p, kept):
    scores = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    assert nucleus(scores, top_p).isfinite()[0].nonzero()[:, 0].tolist() == kept


@pytest.mark.parametrize(
    ("top_p", "temperature", "shares"),
    [
        pytest.param(1.0, 1.0, [0.5, 0.3, 0.2, 0.0], id="as they are, a banned token never"),
        pytest.param(0.7, 1.0, [0.625, 0.375, 0.0, 0.0], id="within a nucleus"),
        pytest.param(1.0, 0.5, [0.6579, 0.2368, 0.1053, 0.0], id="colder"),
        pytest.param(1.0, GREEDY_BELOW / 2, [1.0, 0.0, 0.0, 0.0], id="greedy"),
    ],
)
def test_frequencies_of_4000_draws(top_p, temperature, shares):
    scores = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).log().expand(4000, -1)
    drawn = RowSampler(range(4000), 1, temperature, top_p, "cpu")(torch.zeros(4000, 1), scores).argmax(-1)
    frequencies = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(frequencies, torch.tensor(shares), atol=0.03, rtol=0)
    assert frequencies[-1] == 0


def test_a_longer_limit_changes_no_earlier_token():
    scores = torch.randn(3, 50, 20, generator=torch.Generator().manual_seed(1))

    def drawn(limit):
        sampler = RowSampler([5, 6, 7], limit, 1.0, 0.9, "cpu")
        return [sampler(None, scores[:, place]).argmax(-1).tolist() for place in range(10)]

    assert drawn(10) == drawn(11) == drawn(50)


@pytest.fixture(scope="module")
def questions(make_clip, chat):
    """Medium, clip, text and seed of some questions."""
    return [
        ("video", make_clip(16, 1.5, 1), "What moves?", 11),
        ("image", make_clip(1, 0, 3), "How many?", 12),
        ("video", make_clip(4, 3.7, 2), "Which way does the red ball move? A. left B. right", 13),
        ("video", make_clip(16, 1.5, 1), "What moves?", 2**31 - 5),
    ]


SAMPLINGS = [
    pytest.param({"temperature": 1.0, "top_p": 1.0}, id="sampled"),
    pytest.param({"temperature": 0.7, "top_p": 0.8}, id="colder, from a nucleus"),
    pytest.param({"temperature": 0.0, "top_p": 1.0}, id="greedy"),
]
COPIES, TOKENS = 3, 16


def by_engine(folder, questions, chat, sampling):
    with open_engine("transformers", folder, max_model_len=512, batch_size=5) as engine:
        requests = [
            Request(text, engine.render(chat(medium, text)), clip, medium, seed)
            for medium, clip, text, seed in questions
        ]
        answered = engine.generate(requests, **sampling, max_tokens=TOKENS, n=COPIES)
    return [[completion.token_ids for completion in copies] for copies in answered]


def by_rollouts(folder, questions, chat, sampling, share_prefix, drop_ended):
    """As RL samples them: features encoded once, prompts read once, seeds of their own."""
    processor = load_processor(folder)
    model = load_model(folder, "float32", "cpu")
    if share_prefix:
        use_shared_prefix(model)
    prompts = []
    for medium, clip, text, _ in questions:
        rendered = processor.apply_chat_template(chat(medium, text), tokenize=False, add_generation_prompt=True)
        prompts.append(encode_prompt(processor, rendered, clip, medium))
    rollouts = TransformersRollouts(
        Sampling(**sampling, max_tokens=TOKENS),
        processor,
        end_tokens(model, processor),
        share_prefix,
        drop_ended,
    )
    seeds = [seed + copy for *_, seed in questions for copy in range(COPIES)]
    sampler = RowSampler(seeds, TOKENS, sampling["temperature"], sampling["top_p"], "cpu")
    with torch.no_grad():
        features = encode_media(model, prompts)
        copies = [COPIES] * len(prompts)
        return sample(model, prompts, features, copies, rollouts._config, share_prefix, sampler, drop_ended=drop_ended)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rollouts_and_the_engine_give_the_same_tokens(tiny_model, questions, chat, sampling):
    expected = by_engine(tiny_model, questions, chat, sampling)
    assert len({tuple(ids) for copies in expected for ids in copies}) >= (3 if sampling["temperature"] == 0 else 11)
    for share_prefix, drop_ended in ((False, False), (True, False), (True, True)):
        assert by_rollouts(tiny_model, questions, chat, sampling, share_prefix, drop_ended) == expected


@pytest.mark.parametrize("sampling", SAMPLINGS[1:])
def test_sampling_settings_of_the_checkpoint_have_no_effect(tiny_model, penalised, questions, chat, sampling):
    expected = by_engine(tiny_model, questions, chat, sampling)
    assert by_engine(penalised, questions, chat, sampling) == expected
    assert by_rollouts(penalised, questions, chat, sampling, False, False) == expected
