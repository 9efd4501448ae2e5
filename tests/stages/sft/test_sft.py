"""SFT on a tiny random model: which tokens carry loss, what a lost clip costs, literal losses, exact resume."""

import dataclasses
import json
import math
from contextlib import nullcontext

import pytest
import torch
import yaml
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader, RandomSampler
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from tasks import paths
from tasks.core.io.errors import StageError
from tasks.core.io.tables import read_table
from tasks.core.models.errors import ModelError
from tasks.core.models.load import load_model, load_processor
from tasks.core.train.rows import encode_prompt
from tasks.core.video import open as open_module
from tasks.core.video.perturb import perturb
from tasks.params import Sft
from tasks.sft.data import EpochOrder, lengths, most_visual_tokens, row_packer
from tasks.sft.seen import SEEN_SCHEMA, drawings, kept_orders
from tasks.sft.train import check_sharding, keeps_features
from tests.support import bad_readers
from tests.support.sft_stage import RECORDS, SETTINGS, Stage, record
from tests.support.training_project import make_project
from tests.support.vision_passes import count_patches

LOSSES = [6.5676, 5.1241]


@pytest.fixture
def stage(tiny_model, make_clip):
    return Stage(tiny_model, make_clip)


def indices(*rows):
    return [{"index": row} for row in rows]


@pytest.mark.parametrize(
    "rows", [(0,), (1,), (0, 1), (1, 4), (4, 2, 1, 0)], ids=["video", "image", "both", "images", "interleaved"]
)
def test_loss_on_the_answer_and_its_end_only(stage, rows):
    batch = stage(indices(*rows))
    tokenizer = stage.processor.tokenizer
    for row, labels, ids, mask in zip(rows, batch["labels"], batch["input_ids"], batch["attention_mask"], strict=True):
        learned = labels[labels != -100]
        assert tokenizer.decode(learned) == stage.rows[row].target + "<|im_end|>"
        first = int((labels != -100).nonzero()[0])
        assert tokenizer.decode(ids[:first]).endswith("<|im_start|>assistant\n")
        assert bool((ids[labels != -100] == learned).all())
        assert int(mask.sum()) == first + len(learned), "padding is on the right and masked"


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"process": "<think><|video_pad|></think>"}, "process: spells <|video_pad|>", id="its reasoning"),
        pytest.param(
            {"process": "<|image_pad|>", "data_type": "image"}, "process: spells <|image_pad|>", id="image row"
        ),
        pytest.param({"process": "<think><|vision_start|>"}, "process: spells <|vision_start|>", id="no pixels asked"),
        pytest.param({"solution": "<answer><|image_pad|></answer>"}, "solution: spells <|image_pad|>", id="its answer"),
        pytest.param({"problem": "What is <|video_pad|>?"}, "problem: spells <|video_pad|>", id="its question"),
        pytest.param({"options": ["A. no", "B.<|video_pad|>"]}, "options: spells <|video_pad|>", id="an option"),
    ],
)
def test_a_row_that_spells_a_visual_token_costs_itself(tiny_model, make_clip, changes, reason, packed):
    """Beside a video and an image, whose features it would take for its own: the batch is the one without it."""
    odd = dataclasses.replace(record(9), **changes)
    stage = Stage(tiny_model, make_clip, [RECORDS[0], odd, RECORDS[1]], packed=packed)
    batch, expected = stage(indices(0, 1, 2)), stage(indices(0, 2))
    assert stage.skipped == [("clip 9", f"{reason}, which stands for pixels")]
    assert batch.keys() == expected.keys() >= {"input_ids", "pixel_values", "pixel_values_videos"}
    assert all(torch.equal(value, expected[name]) for name, value in batch.items())


def test_a_row_that_spells_a_token_of_chats_costs_itself(tiny_model, make_clip):
    stage = Stage(tiny_model, make_clip, [dataclasses.replace(record(9), process="<think><|im_end|></think>")])
    assert (stage(indices(0))["labels"] != -100).sum() == 0
    assert "<|im_end|>, which is a control token" in stage.skipped[0][1]


def test_a_batch_gives_each_row_its_own_pixels(stage):
    """Log-probabilities in a mixed, padded batch equal those of each row alone."""

    def answer_logps(batch):
        labels = batch.pop("labels")
        logps = stage.model(**batch).logits.log_softmax(-1)[:, :-1]
        picked = logps.gather(-1, labels[:, 1:].clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return [row[kept] for row, kept in zip(picked, labels[:, 1:] != -100, strict=True)]

    with torch.no_grad():
        together = answer_logps(stage(indices(4, 2, 1, 0)))
        for row, seen in zip((4, 2, 1, 0), together, strict=True):
            (alone,) = answer_logps(stage(indices(row)))
            torch.testing.assert_close(seen, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("media", [False, True], ids=["pixels", "features kept"])
def test_a_reversed_row_shows_its_clip_backwards(tiny_model, make_clip, packed, media):
    """As a row whose file holds the frames in that order; what is kept of the forward clip is not taken for it."""
    forward, backward = record(0), dataclasses.replace(record(0), problem_id=-1)
    stage = Stage(tiny_model, make_clip, [forward, backward], packed=packed, media=media)

    def pixels_of(row):
        batch = stage(indices(row))
        return batch["media"].prompts[0].pixels if media else batch["pixel_values_videos"]

    first = stage._collate._encode(stage.rows[0])[0]
    turned = stage._collate._encode(stage.rows[1])[0]
    expected = encode_prompt(
        stage.processor, stage.rows[0].prompt, perturb(make_clip(frames=4, seed=sum(b"clip 0")), "reverse"), "video"
    )
    assert torch.equal(pixels_of(1), expected.pixels) and not torch.equal(pixels_of(0), pixels_of(1))
    assert torch.equal(turned.ids, first.ids) and turned.source is None and first.source == "clip 0"


def test_a_clip_of_one_frame_costs_its_reversed_row(tiny_model, make_clip):
    alone = dataclasses.replace(record(9, "image"), problem_id=-1)
    stage = Stage(tiny_model, make_clip, [RECORDS[0], alone])
    assert len(stage(indices(0, 1))["input_ids"]) == 1
    assert stage.skipped == [("clip 9", "a clip of one frame has no reverse")]


def test_a_broken_clip_costs_its_row(tiny_model, make_clip):
    stage = Stage(tiny_model, make_clip, [RECORDS[0], record(9, path="broken")])
    assert len(stage(indices(0, 1))["input_ids"]) == 1
    assert stage.skipped == [("broken", "torn")]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_a_batch_of_broken_clips_trains_nothing(tiny_model, make_clip, tmp_path, packed):
    stage = Stage(tiny_model, make_clip, [record(9, path="broken")], packed=packed)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    result = stage.train(tmp_path, Sft(epochs=1, learning_rate=1e-2, batch_size=1))
    assert result.metrics["loss"] == 0
    for name, value in stage.model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_literal_losses_and_exact_resume(tiny_model, make_clip, tmp_path, packed):
    """Stopped in its second epoch and started again = never stopped, to the bit."""
    straight = Stage(tiny_model, make_clip, packed=packed)
    whole = straight.train(tmp_path / "whole")
    steps = [entry["loss"] for entry in whole.trainer.state.log_history if "loss" in entry]
    assert whole.metrics["steps"] == 6 and len(steps) == 6
    assert math.isclose(steps[0], LOSSES[0], rel_tol=1e-3), steps
    assert math.isclose(steps[1], LOSSES[1], rel_tol=1e-3), steps

    stopped = Stage(tiny_model, make_clip, stop_after=5, packed=packed)
    with pytest.raises(KeyboardInterrupt):
        stopped.train(tmp_path / "parts")
    resumed = Stage(tiny_model, make_clip, packed=packed)
    parts = resumed.train(tmp_path / "parts")
    assert resumed.batches < straight.batches
    assert parts.curve == whole.curve
    seen = list(drawings(kept_orders(tmp_path / "whole"), 3, 6, range(7)))
    assert [row["problem_id"] for row in seen] == straight.drawn, "the table of steps tells what was learned"
    assert [row["step"] for row in seen] == [1] * 3 + [2] * 3 + [3] + [4] * 3 + [5] * 3 + [6]
    assert kept_orders(tmp_path / "parts") == kept_orders(tmp_path / "whole")
    for (name, ours), theirs in zip(
        resumed.model.state_dict().items(), straight.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("by_length", [False, True], ids=["at random", "by length"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_epoch_goes_on_in_its_own_order(processes, by_length):
    """Through accelerate's loader of each process, in a second epoch of which two batches were learned."""
    sampler = LengthGroupedSampler(2, lengths=list(range(12))) if by_length else RandomSampler(range(12))

    def loader(process, order):
        plain = DataLoader(range(12), batch_size=2, sampler=sampler, collate_fn=list)
        made = prepare_data_loader(plain, num_processes=processes, process_index=process, use_seedable_sampler=True)
        batches = getattr(made.batch_sampler, "batch_sampler", made.batch_sampler)
        batches.sampler = EpochOrder(batches.sampler, 5, order)
        return made

    torch.manual_seed(7)
    epochs = [[list(loader(process, lambda epoch=epoch: epoch)) for process in range(processes)] for epoch in (0, 1)]
    assert sorted(row for share in epochs[1] for batch in share for row in batch) == list(range(12))
    assert epochs[0] != epochs[1]
    torch.manual_seed(7)
    torch.rand(3)  # what a resumed run has drawn is not what one that goes on has drawn
    resumed = [list(skip_first_batches(loader(process, lambda: 1), 2)) for process in range(processes)]
    assert resumed == [share[2:] for share in epochs[1]]


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(
    "batches",
    [
        pytest.param(2, id="in the first epoch"),
        pytest.param(3, id="between the epochs"),
        pytest.param(5, id="in the second epoch"),
    ],
)
def test_exact_resume_by_length(tiny_model, make_clip, tmp_path, batches, packed):
    """Batches of like length: the order of an epoch is that of a run that was not stopped, to the bit."""
    settings = SETTINGS.model_copy(update={"group_by_length": True, "save_steps": 1})
    straight = Stage(tiny_model, make_clip, packed=packed)
    whole = straight.train(tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        Stage(tiny_model, make_clip, stop_after=batches, packed=packed).train(tmp_path / "parts", settings)
    resumed = Stage(tiny_model, make_clip, packed=packed)
    parts = resumed.train(tmp_path / "parts", settings)
    assert resumed.batches < straight.batches
    assert parts.curve == whole.curve
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_a_frozen_encoder_stays(stage, tmp_path):
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    stage.train(tmp_path, Sft(epochs=1, learning_rate=1e-2, batch_size=4, train_vision=False))
    moved = {name for name, value in stage.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(".visual." in name for name in moved)


def test_a_frozen_encoder_sees_each_medium_once_and_the_run_stays_the_same(
    tiny_model, make_clip, tmp_path, monkeypatch
):
    """Two epochs of two videos, one asked about twice, an image and a clip that does not decode."""
    frozen = SETTINGS.model_copy(update={"train_vision": False})
    asked = [*RECORDS[:3], dataclasses.replace(RECORDS[3], path="clip 0"), record(9, path="broken")]
    plain = Stage(tiny_model, make_clip, asked)
    expected = plain.train(tmp_path / "pixels", frozen)
    seen = count_patches(monkeypatch)
    kept = Stage(tiny_model, make_clip, asked, media=keeps_features(frozen))
    found = kept.train(tmp_path / "media", frozen)
    assert sorted(seen) == [1, 2, 2]
    assert kept.skipped == plain.skipped != []
    runs = [
        [(e["loss"], e["grad_norm"]) for e in r.trainer.state.log_history if "loss" in e] for r in (found, expected)
    ]
    torch.testing.assert_close(*map(torch.tensor, runs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "sharded", "refused"),
    [
        ({"train_vision": False}, True, True),
        ({"train_vision": False}, False, False),
        ({"train_vision": False, "cache_features_gb": 0}, True, False),
        ({"train_vision": True}, True, False),
    ],
    ids=["kept features of shards", "whole weights", "nothing kept", "nothing to keep"],
)
def test_kept_features_want_whole_weights(changes, sharded, refused):
    expected = pytest.raises(StageError, match=r"sft\.cache_features_gb: .* set it to 0") if refused else nullcontext()
    with expected:
        check_sharding(Sft(**changes), sharded=sharded)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("group_by_length", [False, True])
def test_gradient_checkpointing_and_accumulation(tiny_model, make_clip, tmp_path, group_by_length, packed):
    stage = Stage(tiny_model, make_clip, packed=packed)
    settings = Sft(
        epochs=1, batch_size=2, gradient_accumulation=2, gradient_checkpointing=True, group_by_length=group_by_length
    )
    assert stage.train(tmp_path, settings).metrics["steps"] == 2


LONG = dataclasses.replace(RECORDS[0], problem_id=7, process="<think>" + "one, two, three " * 40 + "</think>")
UNEVEN = [RECORDS[0], RECORDS[1], LONG, record(9, path="broken"), RECORDS[4], RECORDS[5]]


class Gradients(TrainerCallback):
    """Keeps the gradients of the first step, accumulated and not clipped."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        control.should_training_stop = True


@pytest.mark.parametrize(
    ("settings", "records"),
    [
        pytest.param({"batch_size": 7}, UNEVEN, id="a video, images, an answer thirty times as long, a lost clip"),
        pytest.param({"batch_size": 7}, [RECORDS[1], RECORDS[4]], id="images alone: no video tensor in the batch"),
        pytest.param({"batch_size": 1}, [LONG], id="one row: nothing to pad"),
        pytest.param({"batch_size": 3, "gradient_accumulation": 2}, UNEVEN, id="micro-batches of unlike token counts"),
        pytest.param({"batch_size": 7, "train_vision": False}, UNEVEN, id="a frozen encoder"),
        pytest.param({"batch_size": 7, "gradient_checkpointing": True}, UNEVEN, id="activations computed anew"),
    ],
)
def test_a_packed_step_is_the_padded_step(tiny_model, make_clip, tmp_path, monkeypatch, settings, records):
    """Loss, token accuracy, entropy and every gradient, before clipping."""
    found = []
    for packed in (False, True):
        seen = Gradients()
        monkeypatch.setattr("tasks.sft.train.show_progress", lambda trainer, _, seen=seen: trainer.add_callback(seen))
        result = Stage(tiny_model, make_clip, records, packed=packed).train(
            tmp_path / str(packed), Sft(epochs=1, max_grad_norm=1e9, **settings)
        )
        found.append((result.trainer.state.log_history[0], seen.found))
    (padded_log, padded), (packed_log, packed) = found
    assert padded.keys() == packed.keys() and padded
    for name in ("loss", "mean_token_accuracy", "entropy", "grad_norm"):
        assert math.isclose(packed_log[name], padded_log[name], rel_tol=1e-4), name
    for name, gradient in padded.items():
        assert float(gradient.norm()) > 0, name
        assert float((packed[name] - gradient).norm() / gradient.norm()) < 1e-4, name


def test_a_row_of_the_largest_clip_has_the_length_it_is_grouped_by(tiny_model, make_clip):
    """Clips of four frames and 56 pixels a side, counted without decoding them."""
    stage = Stage(tiny_model, make_clip, UNEVEN[:3])
    counted = lengths(stage.rows, stage.processor, most_visual_tokens(stage.processor, 4, 56 * 56))
    # The placeholder is a token of the text, the end of the answer is not.
    assert counted == [int(row.sum()) for row in stage(indices(0, 1, 2))["attention_mask"]]
    assert lengths(stage.rows, stage.processor) == [counted[0] - 8, counted[1] - 4, counted[2] - 8]


def test_a_packed_batch_holds_no_padding(tiny_model, make_clip):
    padded, packed = (Stage(tiny_model, make_clip, UNEVEN, packed=on)(indices(*range(6))) for on in (False, True))
    lost = 1  # the last token of a row predicts nothing
    assert packed["row_lengths"].tolist() == [int(row.sum()) - lost for row in padded["attention_mask"]]
    assert packed["input_ids"].shape == (1, int(packed["row_lengths"].sum()))
    learned = packed["shift_labels"][packed["shift_labels"] != -100]
    assert torch.equal(learned, padded["labels"][padded["labels"] != -100])


def test_a_model_that_cannot_read_packed_rows_is_refused(tiny_model):
    model = load_model(tiny_model, "float32", "cpu")
    model.config.text_config.attention_dropout = 0.1
    with pytest.raises(StageError, match=r"sft\.padding_free: .*0\.1.*; set it to false"):
        row_packer(model, True)


@pytest.mark.parametrize(
    ("dtype", "train_vision"), [("float32", True), ("bfloat16", True), ("bfloat16", False)], ids=str
)
def test_the_stage_from_files_to_files(tiny_model, tmp_path, monkeypatch, capsys, dtype, train_vision):
    """`python -m tasks.sft` with a video, an image, a clip that does not decode and a text that asks for pixels."""
    from tasks.sft.__main__ import main

    monkeypatch.chdir(tmp_path)
    make_project(
        tmp_path,
        tiny_model,
        sft=[
            record(0, path="clip.mp4"),
            record(1, "image", "still.png"),
            record(2, path="torn.mp4"),
            dataclasses.replace(record(3, path="clip.mp4"), process="<think><|video_pad|></think>"),
        ],
        dtype=dtype,
    )
    params = yaml.safe_load(paths.PARAMS.read_text())
    params["sft"]["train_vision"] = train_vision
    paths.PARAMS.write_text(yaml.safe_dump(params))
    seen = count_patches(monkeypatch)
    assert main() == 0
    assert sum(seen) == 2 + 1, "one pass over four frames and one over an image"
    metrics = json.loads((tmp_path / "reports/sft/metrics.json").read_text())
    assert (metrics["steps"], metrics["rows"], metrics["skipped_rows"]) == (2, 4, 2)
    assert (tmp_path / "reports/sft/curve.csv").read_text().count("\n") == 3
    seen = read_table(paths.SFT_STEPS, SEEN_SCHEMA)
    assert sorted(row["problem_id"] for row in seen) == [0, 1, 2, 3] and [row["step"] for row in seen] == [1, 1, 2, 2]
    assert str(load_model(tmp_path / "models/sft", "auto").dtype) == f"torch.{dtype}"
    assert load_processor(tmp_path / "models/sft").chat_template
    assert not list((tmp_path / "models/sft").glob("*.bin"))
    assert not list((tmp_path / "models/.work/sft").iterdir()), "work in progress is removed when done"
    told = capsys.readouterr()
    assert "models/sft" in told.out
    assert "data/filter/sft.parquet: problem_id 3 (clip.mp4): process: spells <|video_pad|>" in told.err


@pytest.mark.slow
@pytest.mark.parametrize("end", bad_readers.TORN)
def test_a_clip_that_ends_its_reader_costs_its_row(tiny_model, tmp_path, monkeypatch, capsys, end):
    from tasks.sft.__main__ import main

    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model, sft=[record(0, path="clip.mp4"), record(1, path="torn.mp4")])
    reader, says = bad_readers.TORN[end]
    monkeypatch.setattr(open_module, "read_resized", reader)
    params = yaml.safe_load(paths.PARAMS.read_text())
    params["video"] |= {"read_limit_seconds": 3.0}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    assert main() == 0
    metrics = json.loads((tmp_path / "reports/sft/metrics.json").read_text())
    assert (metrics["rows"], metrics["skipped_rows"]) == (2, 1)
    [told] = [line for line in capsys.readouterr().err.splitlines() if "torn.mp4" in line]
    assert says in told and "1" in told


@pytest.mark.parametrize(
    ("broken", "says"),
    [("model", "no such model folder"), ("rows", "no rows to train on"), ("table", "no such table")],
)
def test_one_clear_error(tiny_model, tmp_path, monkeypatch, broken, says):
    from tasks.sft.__main__ import main

    monkeypatch.chdir(tmp_path)
    make_project(
        tmp_path, tiny_model, sft=[] if broken == "rows" else [record(0)], base="nowhere" if broken == "model" else None
    )
    if broken == "table":
        (tmp_path / "data/filter/sft.parquet").unlink()
    with pytest.raises((StageError, ModelError), match=says):
        main()
