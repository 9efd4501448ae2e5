"""T-GRPO on a tiny random model: contrast, views, rollouts, rows in the loss, literal losses, exact resume."""

import dataclasses
import inspect
import json
import math

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import GenerationConfig
from trl import GRPOTrainer

from tasks import paths
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model, load_processor
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.train.features import encode_media
from tasks.core.video import open as open_module
from tasks.grpo import collect
from tasks.grpo import forwards as forwards_module
from tasks.grpo import trainer as trainer_module
from tasks.grpo.batch import importance_weights, normaliser_share, rows_of, rows_with_gradient, take, whole_prompts
from tasks.grpo.data import schedule
from tasks.grpo.forwards import Forwards, Levers
from tasks.grpo.log import ROLLOUT_SCHEMA, RolloutLog
from tasks.grpo.rollout import Completion, sample, up_to_end
from tasks.grpo.scoring import advantages, score_group
from tasks.grpo.settings import arguments, rewards_of
from tests.support import bad_readers
from tests.support.grpo_stage import RECORDS, Stage, parity_score, record, settings
from tests.support.training_project import make_project

STEPS = [(0.0, 5.97663), (0.00396973, 4.0852), (0.0155197, 5.37422), (0.0281569, 10.21067)]
"""Loss and gradient norm of each step."""


@pytest.fixture
def stage(tiny_model, make_clip):
    return Stage(tiny_model, make_clip)


@pytest.fixture
def scored_by_parity(monkeypatch):
    """Accuracy that a random model can earn."""
    monkeypatch.setattr(collect, "score_group", parity_score)


# Scores.


def answers(letters, tokens=3):
    return [Completion([1] * tokens, f"<think>so</think><answer>{letter}</answer>", False) for letter in letters]


def advantages_of(score):
    return advantages(torch.tensor([score.total]), "group")[0] + torch.tensor(score.advantage_terms)


def test_binary_rewards_hide_the_published_bonus_and_not_the_advantage_term():
    """The blind spot: an affine change of a two-valued vector is undone by group normalisation."""
    group, other = answers("BBBAAAAA"), answers("AAAA")

    def scored(kind):
        return advantages_of(score_group(RECORDS[0], group, other, rewards_of(settings(objective={"kind": kind}))))

    plain = scored("grpo")
    torch.testing.assert_close(scored("tgrpo_reward"), plain, rtol=1e-3, atol=1e-3)
    assert plain.tolist() == pytest.approx([1.2074] * 3 + [-0.7244] * 5, abs=1e-3)
    torch.testing.assert_close(scored("tgrpo_advantage")[:3], plain[:3] + 0.3 * 3 / 8)


def test_score_parts_add_up():
    values = settings(length={"omega": 0.2, "min_tokens": 3, "max_tokens": 4}, format_weight=0.5)
    score = score_group(
        RECORDS[0],
        [*answers("BB"), *answers("B", tokens=5), Completion([1] * 3, "B", False)],
        answers("AA"),
        rewards_of(values),
    )
    assert score.accuracy == [1, 1, 1, 0]
    assert score.format == [1, 1, 1, 0]
    assert score.length == [0.2, 0.2, 0, 0]
    assert score.total == pytest.approx([1 + 0.5 + 0.2 + 0.3] * 2 + [1 + 0.5 + 0.3, 0])


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("group", [0.7071, -0.7071, 0.0, 0.0]), ("batch", [1.2247, -1.2247, 0.0, 0.0]), ("none", [2.0, -2.0, 0.0, 0.0])],
)
def test_advantages(scale, expected):
    """Groups with and without variance, and a lost prompt, which counts nowhere."""
    rewards = torch.tensor([[2.0, -2.0], [0.0, 0.0], [torch.nan, torch.nan]])
    found = advantages(rewards, scale)
    torch.testing.assert_close(found, torch.tensor([*expected, 0.0, 0.0]).view(3, 2), rtol=1e-3, atol=1e-3)


# Prompts and views.


def test_schedule_is_passes_over_all_prompts_and_a_prefix_of_longer_ones():
    order = schedule(5, 12, seed=1)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert order[:5] != order[5:10]
    assert schedule(5, 7, seed=1) == order[:7]
    assert schedule(5, 12, seed=2) != order


@pytest.mark.parametrize("unit", ["frame", "temporal_patch"])
def test_a_shuffle_is_new_each_step_and_never_the_true_order(stage, unit):
    orders = [stage.views(0, step, unit).perturbed[0].order for step in range(1, 40)]
    assert [0, 1, 2, 3] not in orders
    assert orders == [stage.views(0, step, unit).perturbed[0].order for step in range(1, 40)]
    assert len({tuple(order) for order in orders}) > (1 if unit == "frame" else 0)


def test_views_differ_in_pixels_alone(stage):
    ordered, [shuffled] = stage.views(0)
    assert torch.equal(ordered.encoded.ids, shuffled.encoded.ids)
    assert torch.equal(ordered.encoded.seconds_per_grid, shuffled.encoded.seconds_per_grid)
    assert not torch.equal(ordered.encoded.pixels, shuffled.encoded.pixels)
    assert stage.views(1).perturbed == [], "an image has no order"


# Rollouts.


def generation(stage, **changes):
    tokenizer = stage.processor.tokenizer
    return GenerationConfig(
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        suppress_tokens=visual_token_ids(stage.processor),
        **changes,
    )


def shown(views):
    return [views.ordered, *views.perturbed]


def some_views(stage):
    return [view.encoded for row in (0, 1, 3) for view in shown(stage.views(row))]


@torch.no_grad()
def test_a_shared_prefix_changes_no_answer(stage):
    views = some_views(stage)
    features = encode_media(stage.model, views)
    copies = [2, 1, 3, 1, 2]
    shared = sample(stage.model, views, features, copies, generation(stage), True)
    assert shared == sample(stage.model, views, features, copies, generation(stage), False)
    assert [len(group) for group in shared] == copies
    assert len({tuple(group[0]) for group in shared}) > 1, "the answers compared are not all the same"


@torch.no_grad()
def test_visual_tokens_are_never_sampled(stage):
    """With weights of the output layer turned towards them, they would be."""
    banned = visual_token_ids(stage.processor)
    stage.model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(stage.model.lm_head.weight))
    views = some_views(stage)
    features = encode_media(stage.model, views)
    config = generation(stage)
    config.do_sample = True
    drawn = {
        t for group in sample(stage.model, views, features, [64] * len(views), config) for ids in group for t in ids
    }
    assert drawn.isdisjoint(banned) and len(drawn) > 100


def test_up_to_end():
    assert up_to_end([5, 2, 0, 0], [2]) == [5, 2]
    assert up_to_end([5, 6], [2]) == [5, 6]


# Rows in the loss.


def test_overridden_methods_keep_their_signatures():
    """What TRL 1.16 calls, and what it calls it with."""
    expected = {
        "_generate_and_score_completions": ["self", "inputs"],
        "_compute_loss": ["self", "model", "inputs"],
        "_prepare_inputs": ["self", "generation_batch"],
        "_get_per_token_logps_and_entropies": [
            *["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"],
            *["compute_aux_loss", "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask"],
            *[
                "spatial_shapes",
                "num_tiles",
                "image_sizes",
                "token_type_ids",
                "mm_token_type_ids",
                "image_position_ids",
            ],
        ],
    }
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters) == parameters, name
    ours = inspect.signature(trainer_module.VideoGRPOTrainer._get_per_token_logps_and_entropies)
    assert list(ours.parameters)[:-1] == expected["_get_per_token_logps_and_entropies"][:9]


def opened(stage, work, **changes):
    """A trainer after its first rollouts, and their buffer."""
    values = settings(**changes)
    made = {}
    original = trainer_module.VideoGRPOTrainer.train
    try:
        trainer_module.VideoGRPOTrainer.train = lambda self, **_: made.update(trainer=self)
        stage.train(work, values)
    finally:
        trainer_module.VideoGRPOTrainer.train = original
    trainer = made["trainer"]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i // values.group] for i in range(values.group * values.prompts_per_step)]
    return trainer, trainer._generate_and_score_completions(rows)


@pytest.mark.parametrize("share_prefix_update", [True, False])
@pytest.mark.parametrize("encode_once", [True, False])
def test_logps_of_a_padded_mixed_batch_equal_each_row_alone(stage, tmp_path, encode_once, share_prefix_update):
    levers = {"encode_once": encode_once, "share_prefix_update": share_prefix_update}
    trainer, batch = opened(stage, tmp_path, **levers, prompts_per_step=3)
    with torch.no_grad():
        logps, entropies = trainer.forwards.log_probs(trainer.model, rows_of(batch), entropy=True)
        torch.testing.assert_close(trainer.forwards.scored(trainer.model, rows_of(batch), 5), logps)
        for row, encoded in enumerate(batch["prompt"]):
            ids = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
            names = (
                ("pixel_values", "image_grid_thw") if encoded.kind == 1 else ("pixel_values_videos", "video_grid_thw")
            )
            plain = (
                trainer.model(
                    input_ids=torch.cat([encoded.ids, ids])[None],
                    mm_token_type_ids=torch.cat([encoded.kinds, torch.zeros_like(ids)])[None],
                    second_per_grid_ts=encoded.seconds_per_grid,
                    **dict(zip(names, (encoded.pixels, encoded.grid), strict=True)),
                )
                .logits[0]
                .log_softmax(-1)[len(encoded.ids) - 1 : -1]
            )
            torch.testing.assert_close(
                logps[row, : len(ids)], plain.gather(-1, ids[:, None])[:, 0], rtol=1e-3, atol=1e-3
            )
            torch.testing.assert_close(entropies[row, : len(ids)], -(plain.exp() * plain).sum(-1), rtol=1e-3, atol=1e-3)


def test_shuffled_answers_reach_neither_rows_nor_normaliser(stage, tmp_path):
    trainer, batch = opened(stage, tmp_path, prompts_per_step=3)
    assert len(batch["prompt_ids"]) == 3 * 4
    assert int(batch["num_items_in_batch"]) == int(batch["completion_mask"].sum())
    assert not any("perturbed" in key for key in batch["view"])
    logged = pq.read_table(tmp_path / "rollouts" / "00000001.parquet", schema=ROLLOUT_SCHEMA).to_pylist()
    videos = {row["problem_id"] for row in logged if row["data_type"] == "video"}
    assert sum(row["perturbed"] for row in logged) == 2 * len(videos) > 0
    assert all((row["advantage"] is None) == row["perturbed"] for row in logged)
    assert all(row["frame_order"] != [0, 1, 2, 3] for row in logged if row["perturbed"])


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"])
def test_leaving_out_rows_without_advantage_changes_no_gradient(stage, tmp_path, loss_type):
    trainer, batch = opened(stage, tmp_path, loss_type=loss_type, prompts_per_step=3)
    batch["advantages"] = torch.tensor([0.0] * 4 + [1.0, -1.0, 0.5, -0.5] + [0.0] * 4)

    def gradient(skip):
        trainer.options = trainer.options._replace(skip_zero_advantage=skip)
        trainer.model.zero_grad()
        trainer._compute_loss(trainer.model, dict(batch)).backward()
        return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}

    plain, skipping = gradient(False), gradient(True)
    assert max(float(value.abs().max()) for value in plain.values()) > 0
    for name, value in plain.items():
        torch.testing.assert_close(skipping[name], value, rtol=1e-3, atol=1e-5, msg=name)


LEVERS = ["encode_once", "share_prefix_update", "skip_zero_advantage", "selective_checkpointing"]


@pytest.mark.parametrize(
    "off", [*([lever] for lever in LEVERS), []], ids=[*(f"{lever} off" for lever in LEVERS), "all on"]
)
def test_speed_changes_no_gradient(stage, tmp_path, off):
    """Loss and gradients of a step on images and videos against the path without any lever, float32.

    Weights are those of a model as trained, not enlarged: there rounding alone would pass the tolerance.
    """
    with torch.no_grad():
        for weight in stage.model.parameters():
            if weight.ndim > 1:
                weight /= 4
    trainer, batch = opened(stage, tmp_path, prompts_per_step=3)
    batch["advantages"] = torch.tensor([0.0] * 4 + [1.0, 0.0, 0.5, -0.5] + [0.3, -0.1, 0.0, 0.2])
    # TRL shuffles the rows of a step: those of a prompt do not stay together.
    batch = {name: take(value, torch.arange(12).view(3, 4).T.flatten()) for name, value in batch.items()}

    def step(**levers):
        trainer.options = trainer.options._replace(skip_zero_advantage=levers.pop("skip_zero_advantage"))
        chosen = Levers(**levers)
        trainer.forwards = Forwards(
            trainer.accelerator, trainer.model, None, chosen, keeps_features=False, idle=None, pad=0
        )
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, dict(batch))
        loss.backward()
        return loss, {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}

    plain_loss, plain = step(**dict.fromkeys(LEVERS, False))
    loss, fast = step(**dict.fromkeys(LEVERS, True) | dict.fromkeys(off, False))
    torch.testing.assert_close(loss, plain_loss, rtol=0, atol=1e-5)
    for name, value in plain.items():
        assert float((fast[name] - value).abs().max()) <= 1e-4 * float(value.abs().max()) + 1e-7, name


def test_a_prompt_is_read_once_wherever_its_rows_are(stage, tmp_path, monkeypatch):
    trainer, batch = opened(stage, tmp_path, prompts_per_step=3, skip_zero_advantage=False)
    batch = {name: take(value, torch.tensor([0, 4, 8, 1, 5, 9, 11, 2])) for name, value in batch.items()}
    read = []
    packing = forwards_module.packed_rows

    def packed_rows(inner, prompts, counts, *rest):
        read.append(counts)
        return packing(inner, prompts, counts, *rest)

    monkeypatch.setattr(forwards_module, "packed_rows", packed_rows)
    trainer._compute_loss(trainer.model, batch)
    assert read == [[3, 2, 3]]


def test_selective_checkpointing_keeps_less(stage, tmp_path):
    """Bytes that the trainer's loss keeps for its backward pass, weights aside."""

    def kept(on):
        trainer, batch = opened(stage, tmp_path / str(on), selective_checkpointing=on)
        weights = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
        storages = {}

        def pack(value):
            storage = value.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = trainer._compute_loss(trainer.model, dict(batch))
        loss.backward()
        return sum(storage.nbytes() for storage in storages.values())

    assert kept(False) > 2 * kept(True) > 0


@pytest.mark.parametrize(
    ("valid", "values", "skip", "expected"),
    [
        ([1, 1, 1], [0.0, 1.0, -1.0], True, [1, 2]),
        ([1, 1, 1], [0.0, 1.0, -1.0], False, [0, 1, 2]),
        ([0, 1, 1], [0.0, 0.0, 0.0], False, [1, 2]),
        ([1, 1, 1], [0.0, 0.0, 0.0], True, [0]),
        ([0, 0, 0], [0.0, 0.0, 0.0], True, [0]),
    ],
    ids=["zero left out", "penalty keeps it", "lost rows never", "one stays for backward", "all lost"],
)
def test_rows_with_gradient(valid, values, skip, expected):
    assert rows_with_gradient(torch.tensor(valid).bool(), torch.tensor(values), skip).tolist() == expected


def test_rows_are_filled_up_to_what_other_processes_have():
    valid, values = torch.tensor([False, True, True, True]), torch.tensor([0.0, 0.0, 2.0, 0.0])
    assert rows_with_gradient(valid, values, True, 3).tolist() == [0, 1, 2]
    assert rows_with_gradient(valid, values, True, 1).tolist() == [2]
    assert rows_with_gradient(valid, values, False, 9).tolist() == [0, 1, 2, 3]


def test_micro_batches_of_a_step_hold_whole_prompts():
    """However TRL dealt the rows out; every row once, what belongs to the step in all."""
    rows = [
        {"slot": torch.tensor(slots), "view": list(map(str, slots)), "n": torch.tensor(9)}
        for slots in ([2, 0, 1], [0, 1, 2])
    ]
    first, second = whole_prompts(rows)
    assert (first["view"], second["view"]) == (["2", "2", "0"], ["0", "1", "1"])
    assert first["slot"].tolist() == [2, 2, 0] and int(first["n"]) == 9


@pytest.mark.parametrize(
    ("rollout", "policy", "weight"),
    [
        pytest.param(-1.0, -1.0, 1.0, id="the engine agrees"),
        pytest.param(-1.0, -1.5, math.exp(-0.5), id="less likely than the engine thought"),
        pytest.param(-5.0, -1.0, 2.0, id="truncated"),
        pytest.param(math.nan, -1.0, 1.0, id="the engine said nothing"),
    ],
)
def test_importance_weights(rollout, policy, weight):
    log_probs = torch.tensor([[policy]], requires_grad=True)
    found = importance_weights(torch.tensor([[rollout]]), log_probs, 2.0)
    assert found.item() == pytest.approx(weight) and not found.requires_grad


def test_normaliser_share():
    kept, mask = torch.tensor([0]), torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0]])
    assert normaliser_share("grpo", kept, 2, 5, mask) == 0.5
    assert normaliser_share("bnpo", kept, 2, 5, mask) == pytest.approx(0.4)
    assert normaliser_share("dapo", kept, 2, 5, mask) == 1.0
    assert normaliser_share("grpo", kept, 0, 0, mask) == 1.0, "all prompts of all processes lost"


# Runs.


def weights(stage):
    return {name: value.clone() for name, value in stage.model.state_dict().items()}


def test_literal_losses_and_exact_resume(tiny_model, make_clip, tmp_path, scored_by_parity):
    """Stopped and started again = never stopped, to the bit, with the penalty and two micro-batches a step."""
    values = settings(beta=0.04, micro_batch=4, loss_type="dapo")
    straight = Stage(tiny_model, make_clip)
    whole = straight.train(tmp_path / "whole", values)
    seen = [(entry["loss"], entry["grad_norm"]) for entry in whole.trainer.state.log_history if "loss" in entry]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(STEPS), rtol=2e-3, atol=1e-5, msg=str(seen))

    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_at=7).train(tmp_path / "parts", values)
    resumed = Stage(tiny_model, make_clip)
    parts = resumed.train(tmp_path / "parts", values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[name]), name
    assert parts.curve == whole.curve
    for work in ("whole", "parts"):
        RolloutLog(tmp_path / work / "rollouts").join(tmp_path / f"{work}.parquet", 4)
    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


def test_a_lost_clip_costs_its_prompt(tiny_model, make_clip, tmp_path, scored_by_parity):
    stage = Stage(tiny_model, make_clip, [RECORDS[0], record(9, path="broken")])
    result = stage.train(tmp_path, settings(steps=2))
    assert ("broken", "torn") in stage.skipped
    assert [entry["skipped"] for entry in result.trainer.state.log_history if "loss" in entry] == [0.5, 0.5]
    assert all(math.isfinite(entry["loss"]) for entry in result.trainer.state.log_history if "loss" in entry)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"problem": "What is <|video_pad|>?"}, "problem: spells <|video_pad|>", id="a second video"),
        pytest.param({"problem": "What is <|image_pad|>?"}, "problem: spells <|image_pad|>", id="an image beside it"),
        pytest.param({"options": ["A.", "B. <|vision_end|>"]}, "options: spells <|vision_end|>", id="an option"),
    ],
)
def test_a_question_that_spells_a_visual_token_costs_its_prompt(
    tiny_model, make_clip, tmp_path, scored_by_parity, changes, reason
):
    stage = Stage(tiny_model, make_clip, [RECORDS[0], dataclasses.replace(record(9), **changes)])
    result = stage.train(tmp_path, settings(steps=1))
    assert set(stage.skipped) == {("clip 9", f"{reason}, which stands for pixels")}
    assert [entry["skipped"] for entry in result.trainer.state.log_history if "loss" in entry] == [0.5]


def test_all_clips_lost_trains_nothing(tiny_model, make_clip, tmp_path):
    stage = Stage(tiny_model, make_clip, [record(8, path="broken"), record(9, path="broken")])
    before = weights(stage)
    stage.train(tmp_path, settings(steps=1, weight_decay=0.0))
    assert all(torch.equal(value, before[name]) for name, value in stage.model.state_dict().items())


def test_no_signal_trains_nothing(stage, tmp_path):
    """A random model answers nothing right: every group is without variance, counted and skipped."""
    before = weights(stage)
    result = stage.train(tmp_path, settings(steps=2, weight_decay=0.0))
    entries = [entry for entry in result.trainer.state.log_history if "loss" in entry]
    assert [entry["zero_variance"] for entry in entries] == [1.0, 1.0]
    assert all(torch.equal(value, before[name]) for name, value in stage.model.state_dict().items())


def test_a_frozen_encoder_stays(stage, tmp_path, scored_by_parity):
    before = weights(stage)
    stage.train(tmp_path, settings(steps=2, train_vision=False, gradient_checkpointing=True))
    moved = {name for name, value in stage.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(".visual." in name for name in moved)


def test_the_stage_from_files_to_files(tiny_model, tmp_path, monkeypatch, capsys):
    """`python -m tasks.grpo` with one video, one image and one clip that does not decode."""
    from tasks.grpo.__main__ import main

    rows = [record(0, path="clip.mp4"), record(1, "image", "still.png"), record(2, path="torn.mp4")]
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model, rl=rows)
    assert main() == 0
    metrics = json.loads((tmp_path / "reports/grpo/metrics.json").read_text())
    assert (metrics["steps"], metrics["skipped_prompts"]) == (2, 1)
    assert (tmp_path / "reports/grpo/curve.csv").read_text().count("\n") == 3
    assert pq.read_table(tmp_path / "data/grpo/rollouts.parquet").num_rows == metrics["rollouts"]
    assert load_model(tmp_path / "models/grpo").config.model_type == "qwen2_5_vl"
    assert load_processor(tmp_path / "models/grpo").chat_template
    assert not list((tmp_path / "models/.work/grpo").iterdir()), "work in progress is removed when done"
    assert "models/grpo" in capsys.readouterr().out


@pytest.mark.parametrize("end", bad_readers.TORN)
def test_a_clip_that_ends_its_reader_costs_its_prompt(tiny_model, tmp_path, monkeypatch, capsys, end):
    from tasks.grpo.__main__ import main

    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model, rl=[record(0, path="clip.mp4"), record(1, path="torn.mp4")])
    reader, says = bad_readers.TORN[end]
    monkeypatch.setattr(open_module, "read_resized", reader)
    params = yaml.safe_load(paths.PARAMS.read_text())
    params["video"] |= {"read_limit_seconds": 3.0}
    params["grpo"] |= {"steps": 1}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    assert main() == 0
    metrics = json.loads((tmp_path / "reports/grpo/metrics.json").read_text())
    assert (metrics["steps"], metrics["skipped_prompts"]) == (1, 1)
    [told] = [line for line in capsys.readouterr().err.splitlines() if "torn.mp4" in line]
    assert says in told


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"micro_batch": 3}, "grpo.micro_batch: 3 does not divide prompts_per_step . group / group_ranks = 8"),
        ({"sampling": {"temperature": 0.0}}, "grpo.sampling.temperature"),
    ],
    ids=["micro-batch", "greedy"],
)
def test_contradictions_are_named(changes, says, tmp_path):
    with pytest.raises(StageError, match=says):
        arguments(settings(**changes), 0, tmp_path)
