"""Answers taken out of the batch as they end: the same tokens as by transformers' `generate`, in any company."""

import pyarrow.parquet as pq
import pytest
import torch

from tasks.core.engine.sampler import RowSampler
from tasks.core.train.completion_cache import CompletionCache
from tasks.core.train.features import encode_media
from tasks.core.train.rows import text_only
from tasks.core.train.shared_prefix import use_shared_prefix
from tasks.grpo import collect
from tasks.grpo import decode as decode_module
from tasks.grpo import rollout as rollout_module
from tasks.grpo.decode import decode
from tasks.grpo.engines import TransformersRollouts
from tasks.grpo.rollout import sample
from tasks.grpo.trainer import VideoGRPOTrainer
from tests.support.grpo_stage import (
    LOGPROB,
    Stage,
    generation,
    parity_score,
    settings,
    some_views,
)

LOGPS = 1e-5
ENDS = list(range(0, 360, 6))
"""So many that answers end at once, later and never."""


@pytest.fixture
def stage(tiny_model, make_clip):
    made = Stage(tiny_model, make_clip)
    use_shared_prefix(made.model)
    return made


def asked(stage):
    """Two videos and an image, ordered and shuffled, and a prompt without a medium."""
    views = some_views(stage)
    views.append(text_only(views[0].ids[0])._replace(ids=views[0].ids[:3], kinds=torch.zeros(3, dtype=torch.long)))
    return views, encode_media(stage.model, views)


def config(stage, ends, **changes):
    found = generation(stage, **changes)
    found.max_new_tokens, found.eos_token_id = 12, ends
    return found


CASES = {
    "greedy": (None, {}, [2, 1, 3, 1, 2, 2]),
    "sampled": ((1.0, 1.0), {}, [4, 2, 3, 5, 2, 1]),
    "colder, from a nucleus": ((0.7, 0.8), {}, [4, 2, 3, 5, 2, 1]),
    "no answer ends at once": ((1.0, 1.0), {"min_new_tokens": 4}, [4, 2, 3, 5, 2, 1]),
    "prompts without answers": ((1.0, 1.0), {}, [0, 3, 0, 2, 0, 1]),
}


@pytest.mark.parametrize("ended", [0.0, 1 / 8, 1.0], ids=["one by one", "by shares", "never taken out"])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_tokens_are_those_of_generate(stage, monkeypatch, case, ended):
    drawing, changes, copies = CASES[case]
    views, features = asked(stage)
    settings = config(stage, ENDS, **changes)
    monkeypatch.setattr(decode_module, "ENDED", ended)

    def answers(drop_ended):
        sampler = drawing and RowSampler(range(sum(copies)), 12, *drawing, "cpu")
        return sample(stage.model, views, features, copies, settings, True, sampler, drop_ended=drop_ended)

    plain = answers(False)
    assert answers(True) == plain
    lengths = {len(ids) for group in plain for ids in group}
    assert len(lengths) > 2 or drawing is None


@torch.no_grad()
def test_scores_are_those_of_a_forward_over_prompt_and_answer(tiny_model, make_clip):
    """Log-probabilities of every token sampled, after others have left the batch; weights as trained, not enlarged."""
    stage = Stage(tiny_model, make_clip)
    for weight in stage.model.parameters():
        if weight.ndim > 1:
            weight /= 4
    views = some_views(stage)
    features = encode_media(stage.model, views)
    copies, owners = [3, 1, 4, 2, 2], [0] * 3 + [1] + [2] * 4 + [3] * 2 + [4] * 2
    sampler, seen = RowSampler(range(12), 12, 1.0, 1.0, "cpu"), {}

    def choose(scores, place, rows):
        seen.update({(int(row), place): values for row, values in zip(rows, scores.log_softmax(-1), strict=True)})
        return sampler.choose(scores, place, rows)

    use_shared_prefix(stage.model)
    settings = config(stage, ENDS)
    settings.suppress_tokens = []
    found = decode(stage.model, views, features, copies, settings, choose)
    assert len({len(ids) for ids in found}) > 2, "they end one after the other"
    for row, (owner, ids) in enumerate(zip(owners, found, strict=True)):
        view = views[owner]
        names = {1: ("pixel_values", "image_grid_thw"), 2: ("pixel_values_videos", "video_grid_thw")}[view.kind]
        answer = torch.tensor(ids)
        expected = stage.model(
            input_ids=torch.cat([view.ids, answer])[None],
            mm_token_type_ids=torch.cat([view.kinds, torch.zeros_like(answer)])[None],
            second_per_grid_ts=view.seconds_per_grid,
            **dict(zip(names, (view.pixels, view.grid), strict=True)),
        ).logits[0, len(view.ids) - 1 : -1]
        for place, values in enumerate(expected.log_softmax(-1)):
            torch.testing.assert_close(seen[row, place], values, rtol=0, atol=LOGPS)


@pytest.mark.parametrize("drop_ended", [False, True])
@torch.no_grad()
def test_a_penalty_in_the_checkpoint_changes_no_answer(stage, drop_ended):
    """Its generation settings would make answers a sample of another distribution than the one that is trained."""
    views = some_views(stage)
    features = encode_media(stage.model, views)
    tokenizer = stage.processor.tokenizer
    found = []
    for penalty in (1.0, 5.0):
        stage.model.generation_config.repetition_penalty = penalty
        engine = TransformersRollouts(settings().sampling, stage.processor, [tokenizer.eos_token_id], True)
        sampler = RowSampler(range(10), 6, 1.0, 1.0, "cpu")
        found.append(
            sample(stage.model, views, features, [2] * 5, engine._config, sampler=sampler, drop_ended=drop_ended)
        )
    assert found[0] == found[1]


@torch.no_grad()
def test_answers_taken_out_are_not_computed(stage):
    views, features = asked(stage)
    widths = []

    def choose(scores, place, rows):
        widths.append(len(rows))
        return torch.where(rows < 6, ENDS[1], ENDS[1] + 1)

    decode(stage.model, views, features, [2] * 6, config(stage, ENDS), choose)
    assert widths == [12] + [6] * 11


@torch.no_grad()
def test_grouped_heads_and_half_precision():
    """A token attends to its prompt and to its own answer: against one dense softmax, after an answer has ended."""
    torch.manual_seed(0)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 2e-2)):
        prompt = [torch.randn(1, heads, 7, 16, dtype=dtype) for heads in (4, 2, 2)]
        cache = CompletionCache([3, 4], [2, 1], 5)
        cache.attend(0, *prompt, None)
        passes = []
        for answers in ([0, 1, 2], [0, 1, 2], [1, 2]):
            if len(answers) == 2:
                cache.keep(torch.tensor([1, 2]))
            passes.append((answers, [torch.randn(1, heads, len(answers), 16, dtype=dtype) for heads in (4, 2, 2)]))
            found = cache.attend(0, *passes[-1][1], None)
            cache.grow()
        for place, answer in enumerate([1, 2]):
            read = slice(0, 3) if answer < 2 else slice(3, 7)
            own = [[t[0, :, ids.index(answer)] for t in parts[1:]] for ids, parts in passes]
            keys, values = (
                torch.cat([prompt[1 + i][0, :, read], torch.stack([pair[i] for pair in own], 1)], 1).float()
                for i in (0, 1)
            )
            keys, values = (t.repeat_interleave(2, 0) for t in (keys, values))
            query = passes[-1][1][0][0, :, place].float().unsqueeze(1)
            expected = ((query @ keys.mT / 4).softmax(-1) @ values).squeeze(1)
            torch.testing.assert_close(found[0, place].float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora": {"rank": 2}},
        {"gradient_checkpointing": True, "refill": 1},
        {"selective_checkpointing": True, "objective": LOGPROB},
    ],
    ids=["plain", "adapter", "gradient checkpointing, prompts replaced", "selective, log-probabilities compared"],
)
def test_a_run_is_the_same(tiny_model, make_clip, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(collect, "score_group", parity_score)
    used, inner = [], decode

    def counted(*args):
        used.append(args)
        return inner(*args)

    monkeypatch.setattr(rollout_module, "decode", counted)
    runs = []
    for drop_ended in (False, True):
        stage, work = Stage(tiny_model, make_clip), tmp_path / str(drop_ended)
        result = stage.train(work, settings(steps=2, drop_ended=drop_ended, **changes))
        losses = [(entry["loss"], entry["grad_norm"]) for entry in result.trainer.state.log_history if "loss" in entry]
        runs.append(
            (losses, [pq.read_table(path).to_pylist() for path in sorted((work / "rollouts").glob("*.parquet"))])
        )
        assert bool(used) == drop_ended
    assert near(runs[0]) == runs[1] and len(runs[0][0]) == 2


def near(value):
    """The same, numbers up to rounding: log-probabilities come from sampling in place of a forward of their own.

    Behind the first step they carry what Adam makes of gradients that are rounding alone.
    """
    if isinstance(value, list | tuple):
        return type(value)(near(each) for each in value)
    if isinstance(value, dict):
        return {name: near(each) for name, each in value.items()}
    return pytest.approx(value, rel=1e-3, abs=LOGPS) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("share_prefix", "sharded"), [(False, False), (True, True)], ids=["prompts read for every answer", "sharded"]
)
@torch.no_grad()
def test_where_it_does_not_fit_generate_answers(tiny_model, make_clip, monkeypatch, share_prefix, sharded):
    monkeypatch.setattr(rollout_module, "decode", None)
    stage = Stage(tiny_model, make_clip)
    views = some_views(stage)
    features = encode_media(stage.model, views)
    synced = []

    def generate(input_ids, synced_gpus, **_):
        synced.append(synced_gpus)
        return torch.cat([input_ids, input_ids], 1)

    monkeypatch.setattr(stage.model, "generate", generate)
    sample(stage.model, views, features, [1] * 5, generation(stage), share_prefix, sharded=sharded, drop_ended=True)
    assert synced == [sharded]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        pytest.param({"objective": LOGPROB}, 1, id="one other view of two"),
        pytest.param({"objective": {"kind": "exchange"}}, 1, id="two of three"),
        pytest.param({"objective": LOGPROB, "lora": {"rank": 2, "dropout": 0.1}}, 0, id="dropout: scored again"),
        pytest.param({"objective": LOGPROB, "share_prefix": False}, 0, id="generate: scored again"),
    ],
)
def test_log_probabilities_of_sampling_are_those_of_a_forward(
    tiny_model, make_clip, tmp_path, monkeypatch, changes, left_out
):
    """The same completions and drops, with a pass over the true order less where sampling left it."""
    monkeypatch.setattr(collect, "score_group", parity_score)
    scored, original = [], VideoGRPOTrainer._scored

    def counted(self, rows):
        scored.append(len(rows.keys))
        return original(self, rows)

    monkeypatch.setattr(VideoGRPOTrainer, "_scored", counted)
    passes, drops = [], []
    for drop_ended in (False, True):
        stage = Stage(tiny_model, make_clip)
        stage.model.generation_config.eos_token_id = ENDS
        work = tmp_path / str(drop_ended)
        scored.clear()
        stage.train(work, settings(steps=1, prompts_per_step=3, drop_ended=drop_ended, **changes))
        rows = pq.read_table(work / "rollouts" / "00000001.parquet").to_pylist()
        passes.append(sum(scored))
        drops.append([(row["completion"], row["order_nats"]) for row in rows])
    videos = sum(nats is not None for _, nats in drops[0])
    assert videos and passes[0] - passes[1] == left_out * videos
    for (text, nats), (other_text, other_nats) in zip(*drops, strict=True):
        assert text == other_text and (nats == other_nats or nats == pytest.approx(other_nats, abs=LOGPS))
