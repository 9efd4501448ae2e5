"""Vision features kept between passes of T-GRPO: the same run as without, and no feature of other weights."""

import pytest
import torch

from tasks.core.models.load import load_model, load_processor, save_model
from tasks.grpo import collect
from tests.support.grpo_stage import LOGPROB, RECORDS, Stage, parity_score, settings
from tests.support.vision_passes import count_patches

PATCH = {"kind": "shuffle", "unit": "temporal_patch"}
FROZEN = {"train_vision": False, "beta": 0.04}


@pytest.fixture(autouse=True)
def scored_by_parity(monkeypatch):
    monkeypatch.setattr(collect, "score_group", parity_score)


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    """Folder of a model as trained, not enlarged as `tiny_model`: there rounding alone would pass the tolerances."""
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(shrunk(load_model(tiny_model, "float32", "cpu")), load_processor(tiny_model), folder)
    return folder


@torch.no_grad()
def shrunk(model):
    for weight in model.parameters():
        if weight.ndim > 1:
            weight /= 4
    return model


def trained(stage, work, **values):
    """Loss, gradient norm and accuracy of each step."""
    result = stage.train(work, settings(**{"steps": 2, **values}))
    return torch.tensor(
        [(e["loss"], e["grad_norm"], e["accuracy"]) for e in result.trainer.state.log_history if "loss" in e]
    )


def same_run(make, tmp_path, **values):
    """Losses, gradient norms and weights with kept features against those without.

    Adam moves a weight by its rate whatever the size of its gradient: where that is all rounding, so is the step.
    """
    plain, kept = make(), make()
    expected = trained(plain, tmp_path / "off", **values, cache_features_gb=0)
    found = trained(kept, tmp_path / "on", **values, cache_features_gb=1)
    assert bool((expected[:, 1] > 0).all()), "there is something to learn"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for name, value in kept.model.state_dict().items():
        torch.testing.assert_close(value, plain.model.state_dict()[name], rtol=1e-4, atol=2e-4, msg=name)


RUNS = {
    "frozen, penalty, frames shuffled": FROZEN,
    "frozen, whole patches shuffled, micro-batches": {
        **FROZEN,
        "objective": {"kind": "tgrpo_reward", "perturbation": PATCH},
        "micro_batch": 4,
    },
    "frozen, log-probabilities compared": {**FROZEN, "objective": LOGPROB},
    "frozen, each row reads its prompt": {**FROZEN, "share_prefix_update": False, "micro_batch": 2},
    "frozen, recomputed activations": {**FROZEN, "gradient_checkpointing": True},
    "frozen, adapter in the language model": {**FROZEN, "lora": {"rank": 2}, "objective": LOGPROB},
    "frozen, prompts replaced": {**FROZEN, "group": 2, "refill": 2},
    "trained, penalty, micro-batches": {"beta": 0.04, "micro_batch": 4},
    "trained, log-probabilities compared": {"beta": 0.04, "objective": {**LOGPROB, "perturbations": [PATCH]}},
    "adapter in the encoder": {"beta": 0.04, "lora": {"rank": 2}, "objective": LOGPROB},
    "adapter with dropout": {"lora": {"rank": 2, "dropout": 0.5}, "objective": LOGPROB},
}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_a_run_is_the_same_with_kept_features(model, make_clip, tmp_path, run):
    """Two steps on two videos and an image, which come again."""
    same_run(lambda: Stage(model, make_clip, RECORDS[:3]), tmp_path, prompts_per_step=3, **RUNS[run])


@pytest.mark.parametrize("train_vision", [True, False])
def test_a_reference_with_another_encoder_reads_its_own_features(tiny_model, make_clip, tmp_path, train_vision):
    """The reference model is loaded from the folder, whose encoder is not the one that is given."""

    def make():
        stage = Stage(tiny_model, make_clip, RECORDS[:1])
        shrunk(stage.model)
        return stage

    same_run(make, tmp_path, beta=0.04, prompts_per_step=1, train_vision=train_vision)


@pytest.mark.parametrize("share_prefix_update", [True, False])
def test_a_frozen_encoder_sees_each_clip_once_in_a_run(model, make_clip, tmp_path, monkeypatch, share_prefix_update):
    """Two clips and an image, shuffled anew each step; rollouts, comparison, reference and update."""
    seen = count_patches(monkeypatch)
    values = {**FROZEN, "prompts_per_step": 3, "micro_batch": 6, "share_prefix_update": share_prefix_update}
    objective = {**LOGPROB, "perturbations": [PATCH]}
    trained(Stage(model, make_clip, RECORDS[:3]), tmp_path, steps=3, **values, objective=objective)
    assert sorted(seen) == [1, 2, 2]


def test_single_frames_shuffled_are_encoded_once_a_step(model, make_clip, tmp_path, monkeypatch):
    """Seven rows of the comparison and the update read what the first one made."""
    seen = count_patches(monkeypatch)
    values = {**FROZEN, "prompts_per_step": 1, "micro_batch": 1, "objective": LOGPROB}
    trained(Stage(model, make_clip, RECORDS[:1]), tmp_path, **values)
    assert seen == [2, 2, 2], "the true order, and a shuffled one in each of two steps"


@pytest.mark.parametrize(
    ("changes", "patches"),
    [
        ({"objective": {"kind": "tgrpo_reward", "perturbation": PATCH}}, [2, 2]),
        ({}, [4, 2]),
        ({"objective": {"kind": "tgrpo_reward", "perturbation": PATCH}, "encode_once": False}, [4, 8]),
        ({"objective": {**LOGPROB, "perturbations": [PATCH]}}, [2, 2]),
        ({"objective": {**LOGPROB, "perturbations": [PATCH]}, "cache_features_gb": 0}, [2, 2, 2]),
        ({"objective": LOGPROB}, [2, 2, 2]),
    ],
    ids=[
        "whole patches: rollouts encode one view for both",
        "frames: rollouts encode both views",
        "off: both views in the rollouts, every row in the update",
        "the comparison reads the rollouts' features",
        "without a store the comparison encodes the shuffled side; sampling scored the other",
        "of single frames the comparison encodes the shuffled side",
    ],
)
def test_passes_of_an_encoder_that_trains(model, make_clip, tmp_path, monkeypatch, changes, patches):
    """The last one is the update's, which is never left out."""
    seen = count_patches(monkeypatch)
    values = {"steps": 1, "prompts_per_step": 1, "skip_zero_advantage": False, "share_prefix_update": False}
    trained(Stage(model, make_clip, RECORDS[:1]), tmp_path, **values, **changes)
    assert seen == patches


@pytest.mark.slow
def test_a_frozen_run_is_resumed_to_the_bit(model, make_clip, tmp_path):
    """The resumed run's store is empty: clips are encoded in other company than in the run that never stopped."""
    values = {**FROZEN, "objective": {"kind": "tgrpo_reward", "perturbation": PATCH}, "steps": 4}
    straight, resumed = Stage(model, make_clip), Stage(model, make_clip)
    trained(straight, tmp_path / "whole", **values)
    with pytest.raises(KeyboardInterrupt):
        trained(Stage(model, make_clip, stop_at=7), tmp_path / "parts", **values)
    trained(resumed, tmp_path / "parts", **values)
    assert resumed.asked < straight.asked
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[name]), name
