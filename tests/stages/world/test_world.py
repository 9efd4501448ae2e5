"""The frozen stage that makes the mini models."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from tasks.core.io.errors import StageError, full_disk
from tasks.core.world.model import build_model, build_processor
from tasks.core.world.scene import sample_scene
from tasks.params import Skill
from tasks.world.__main__ import corpus, curve_rows, lineage, main
from tasks.world.batches import RowBatches, frame_side, patchify, scene_frames
from tasks.world.muon import orthogonalise
from tasks.world.pretrain import Step, learning_rate_share, train_skill
from tasks.world.rows import KINDS
from tests.support.graph import ROOT
from tests.support.small_disk import leave, make_room, mounted

PROMPT = {"template": "brief", "system": "You are a helpful assistant."}


@pytest.fixture(scope="module")
def processor():
    return build_processor("qwen2_5_vl", corpus(PROMPT, 0)[:500], 400)


@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
def test_patches_equal_the_processors(architecture):
    processor = build_processor(architecture, corpus(PROMPT, 0)[:100], 400)
    rng = np.random.default_rng(0)
    scene = sample_scene("move", rng)
    frames = scene_frames(scene, "video", rng, frame_side(processor)).round().astype(np.uint8)
    metadata = {"fps": 2.0, "total_num_frames": 16, "frames_indices": list(range(16)), "duration": 8.0}
    inputs = processor.video_processor(
        videos=[frames], do_sample_frames=False, do_resize=False, video_metadata=[metadata], return_tensors="pt"
    )
    np.testing.assert_allclose(
        patchify(frames.astype(np.float32), processor), inputs["pixel_values_videos"].numpy(), atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_wanted_part_of_a_row_is_learned(processor, kind):
    batch = RowBatches(processor, {kind: 1.0}, 4, 0, PROMPT).batch(0)
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        learned = labels != -100
        assert (ids[learned] == labels[learned]).all()
        text = processor.tokenizer.decode(ids[learned])
        assert "<|im_start|>" not in text and "_pad|>" not in text
        assert text.endswith("<|im_end|>")


def test_a_batch_depends_on_seed_and_index_alone(processor):
    mix = {"caption": 0.5, "direct": 0.5}
    one, two = (RowBatches(processor, mix, 6, 3, PROMPT).batch(2) for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = RowBatches(processor, mix, 6, 4, PROMPT).batch(2)
    assert not torch.equal(one["input_ids"][:, :40], other["input_ids"][:, :40]) or not torch.equal(
        one["labels"][:, -5:], other["labels"][:, -5:]
    )


@pytest.mark.parametrize("shape", [(1, 8, 24), (3, 24, 8), (2, 16, 16)], ids=["wide", "tall", "square"])
def test_muon_updates_are_nearly_orthogonal(shape):
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert ((singular > 0.5) & (singular < 1.3)).all()


@pytest.mark.parametrize(
    ("step", "decay", "share"),
    [(0, False, 1 / 30), (29, False, 1.0), (900, False, 1.0), (1000, True, 0.05)],
    ids=["warms up", "reaches the peak", "stays there", "decays to a twentieth"],
)
def test_learning_rate(step, decay, share):
    assert learning_rate_share(step, 1000, decay) == pytest.approx(share)


@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
def test_pretraining_repeats_itself_and_learns(architecture):
    processor = build_processor(architecture, corpus(PROMPT, 0)[:300], 400)

    def losses():
        model = build_model(processor, hidden_size=64, layers=2, heads=2, vision_layers=1, seed=0)
        steps = []
        train_skill(
            model, processor, name="captions", mix={"caption": 1.0}, steps=6, rows=4, decay=False,
            muon_lr=0.02, adamw_lr=0.003, seed=1, prompt=PROMPT, log=steps.append, log_every=1,
        )  # fmt: skip
        return [step.loss["caption"] for step in steps]

    first = losses()
    assert losses() == first
    assert first[-1] < first[0]


def skill(name, after=None, save_as=None):
    return Skill(name=name, steps=1, rows=2, mix={"caption": 1.0}, after=after, save_as=save_as)


LINE = [skill("a"), skill("b", save_as="teacher"), skill("c"), skill("d", after="teacher"), skill("e")]


@pytest.mark.parametrize(
    ("number", "numbers"),
    [
        pytest.param(0, [0], id="the first"),
        pytest.param(2, [0, 1, 2], id="goes on from the one before"),
        pytest.param(3, [0, 1, 3], id="starts after a saved model and leaves out what came of it since"),
        pytest.param(4, [0, 1, 3, 4], id="goes on from a branch"),
    ],
)
def test_lineage(number, numbers):
    assert lineage(LINE, number) == numbers


def test_a_skill_that_starts_after_what_nobody_saved_is_refused():
    with pytest.raises(StageError, match="late starts after base, which no skill before it saves"):
        lineage([skill("late", after="base"), skill("x", save_as="base")], 0)


def test_the_curve_counts_steps_over_all_skills():
    steps = [
        Step("a", 20, {"caption": 1.0}, {"caption": 0.5}, 1.0),
        Step("b", 5, {"reason": 2.0}, {"reason": 0.1}, 1.0),
    ]
    assert [row["step"] for row in curve_rows(steps)] == [20, 25]
    assert [row["step"] for row in curve_rows(steps[1:], start=100)] == [105]
    assert curve_rows(steps)[1] == {"step": 25, "skill": "b", "loss_reason": "2.0000", "accuracy_reason": "0.1000"}


@pytest.mark.slow
def test_one_skill_again_equals_the_whole_curriculum(tmp_path, monkeypatch):
    """`--only` starts from the published model; weights, scores and curve are those of the run of everything."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    first = {"name": "see", "steps": 2, "rows": 2, "mix": {"caption": 1.0}, "save_as": "teacher"}
    habit = {
        "name": "habit",
        "steps": 2,
        "rows": 2,
        "mix": {"shortcut": 1.0},
        "after": "teacher",
        "save_as": "shortcut",
    }
    small = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_layers": 1, "eval_rows": 24}
    params["world"] |= {**small, "curriculum": [first, {**first, "name": "on", "save_as": None}, habit]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    main([])
    weights, reports = tmp_path / "models/world/shortcut/model.safetensors", tmp_path / "reports/world"
    whole = (weights.read_bytes(), json.loads((reports / "metrics.json").read_text()))
    curve = (reports / "curve.csv").read_text()
    weights.unlink()
    main(["--only", "habit"])
    assert (weights.read_bytes(), json.loads((reports / "metrics.json").read_text())) == whole
    assert (reports / "curve.csv").read_text() == curve
    with pytest.raises(StageError, match="--only see: no skill that says `after`; those that do: habit"):
        main(["--only", "see"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "steps", "says"),
    [
        pytest.param({"adamw_lr": 1e30}, 3, "skill see: step 2: the gradient's norm is nan", id="AdamW"),
        pytest.param({"muon_lr": 1e30}, 3, "skill see: step 2: the gradient's norm is nan", id="Muon"),
        pytest.param({"muon_lr": 1e30}, 1, "skill see: step 1: the weights' norm is inf", id="at its last step"),
        pytest.param(
            {"muon_lr": 1e7, "published_dtype": "float16"}, 1, "NaN or infinite", id="past what its type can hold"
        ),
    ],
)
def test_a_rate_past_reason_publishes_nothing(tmp_path, monkeypatch, values, steps, says):
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_layers": 1, "eval_rows": 2}
    row = skill("see", save_as="teacher").model_dump() | {"steps": steps}
    params["world"] |= small | {"curriculum": [row]} | values
    monkeypatch.setattr("tasks.world.__main__.CORPUS_ROWS", 500)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    kept = tmp_path / "models/world/teacher/model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("as it was")
    with pytest.raises(StageError, match=says):
        main([])
    assert kept.read_text() == "as it was" and not (tmp_path / "reports/world/metrics.json").exists()


def test_kinds_of_row_are_those_that_a_skill_may_name():
    wanted = Skill.model_json_schema()["properties"]["mix"]["propertyNames"]["enum"]
    assert tuple(wanted) == KINDS


@pytest.mark.slow
def test_a_full_disk_leaves_the_published_model_as_it_is(tmp_path, monkeypatch):
    """Full in training's own folder, and full when the model is published from there."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_layers": 1, "eval_rows": 2}
    params["world"] |= small | {"curriculum": [skill("see", save_as="teacher").model_dump()]}
    monkeypatch.setattr("tasks.world.__main__.CORPUS_ROWS", 500)
    with mounted(tmp_path / "disk", 64 * 2**20) as disk:
        monkeypatch.chdir(disk)
        (disk / "params.yaml").write_text(yaml.safe_dump(params))
        published = disk / "models/world/teacher"
        main([])
        whole = {file.name: file.read_bytes() for file in published.iterdir()}
        for unfinished in (True, False):
            if unfinished:
                shutil.rmtree(disk / "models/.work")
            leave(disk, len(whole["model.safetensors"]) // 2)
            with pytest.raises(Exception, match="No space left") as raised:
                main([])
            assert full_disk(raised.value)
            assert {file.name: file.read_bytes() for file in published.iterdir()} == whole
            assert [folder.name for folder in published.parent.iterdir()] == ["teacher"]
            make_room(disk)
            main([])
            assert {file.name: file.read_bytes() for file in published.iterdir()} == whole
        monkeypatch.chdir(tmp_path)
