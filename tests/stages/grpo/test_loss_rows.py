"""Rows in the loss: which have a gradient, what they are divided by, and every lever against the plain path."""

import inspect
import math

import pyarrow.parquet as pq
import pytest
import torch
from trl import GRPOTrainer

from tasks.grpo import forwards as forwards_module
from tasks.grpo import trainer as trainer_module
from tasks.grpo.batch import importance_weights, normaliser_share, rows_of, rows_with_gradient, take, whole_prompts
from tasks.grpo.forwards import Forwards, Levers
from tasks.grpo.log import ROLLOUT_SCHEMA
from tests.support.grpo_stage import opened


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
