"""Media of odd sizes and lengths through every family: prompt, SFT loss and a T-GRPO update, against plain rows.

The media are files, read as a stage reads them. What no family is shown is refused with its file and costs its row.
"""

import dataclasses
from functools import partial

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import TrainerCallback

from tasks.core.backbones import backbone_of
from tasks.core.models.inputs import prompt_tokens
from tasks.core.models.load import frame_shape_in
from tasks.core.train.clips import ClipStore
from tasks.core.train.features import encode_media
from tasks.core.video import open_clip
from tasks.grpo import collect
from tasks.params import Sft
from tasks.sft.data import Collator, examples, row_packer
from tasks.sft.train import keeps_features, train
from tests.support.families import FAMILIES, batch_inputs, load, write
from tests.support.grpo_stage import Stage, parity_score, record, settings

GRADIENTS = 2e-3
MEDIA = {
    "five frames.mkv": ("video", 5, 64, 48),
    "six frames.mkv": ("video", 6, 48, 64),
    "small.mkv": ("video", 4, 4, 2),
    "thin.png": ("image", 1, 1500, 10),
    "high.png": ("image", 1, 8, 900),
    "pixel.png": ("image", 1, 1, 1),
}
"""File -> how it is shown, frames, width and height."""
REFUSED = {
    "a frame.mkv": ("video", "1 frames, at least 2 needed"),
    "thread.png": ("image", "3000 x 2 pixels: one side is more than 200 times the other"),
}
"""File -> how it is shown, and why not."""


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Folder of `MEDIA`, which are noise, and of `REFUSED`."""
    folder = tmp_path_factory.mktemp("media")
    random = np.random.default_rng(1)
    for name, (data_type, frames, width, height) in MEDIA.items():
        pictures = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        if data_type == "image":
            Image.fromarray(pictures[0]).save(folder / name)
        else:
            write_video(folder / name, pictures)
    Image.new("RGB", (3000, 2)).save(folder / "thread.png")
    write_video(folder / "a frame.mkv", np.zeros((1, 48, 64, 3), np.uint8))
    return folder


def write_video(path, pictures, rate=2):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        _, stream.height, stream.width, _ = pictures.shape
        stream.pix_fmt = "yuv444p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, family_folder, tmp_path_factory):
    """A model whose matrices are enlarged less: at the usual scale rounding alone passes the tolerances."""
    family_folder(request.param)
    return write(backbone_of(request.param), tmp_path_factory.mktemp("odd") / request.param, scale=2.0)


@pytest.fixture
def read(folder):
    """As a stage reads media for the model in `folder`."""
    budget = {"frames": 6, "fps": 2.0, "min_frames": 1, "min_pixels": 28 * 28, "max_pixels": 8 * 28 * 28}
    return partial(open_clip, **budget, **frame_shape_in(folder)._asdict())


@pytest.fixture
def records(media):
    """Of all files, the refused ones last."""
    shown = (MEDIA | REFUSED).items()
    return [record(number, data_type, str(media / name)) for number, (name, (data_type, *_)) in enumerate(shown)]


@torch.no_grad()
def test_prompts_are_as_long_as_counted_and_hold_all_features(folder, media, read):
    family = load(backbone_of(folder.name), folder)
    for name, (data_type, *_) in MEDIA.items():
        clip = read(str(media / name), data_type)
        prompt = family.prompt(data_type, clip)
        assert prompt_tokens(family.processor, family.text(data_type), clip) == len(prompt.ids), name
        [features] = encode_media(family.model, [prompt])
        assert len(features) == int((prompt.kinds == prompt.kind).sum()) > 0, name


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_sft_loss_equals_that_of_rows_alone(folder, media, read, records, tmp_path, packed):
    """One step over all of them."""
    family = load(backbone_of(folder.name), folder)
    model, processor = family.model, family.processor
    if packed and family.backbone.unpackable(model) is not None:
        pytest.skip("rows are not packed")
    shown = [dataclasses.replace(row, process="<think>It ends right.</think>") for row in records]
    values = Sft(epochs=1, batch_size=len(shown), save_steps=1, learning_rate=1e-3, padding_free=packed)
    rows = examples(shown, processor, template="brief", system="You are a helpful assistant.")
    expected = plain_loss(family, rows[: len(MEDIA)], read)
    skipped = []
    collator = Collator(
        rows,
        processor,
        ClipStore(read, 1e-9),
        lambda row, reason: skipped.append((row.path, reason)),
        row_packer(model, packed),
        keeps_features(values),
    )
    place = {"work": tmp_path, "curve": tmp_path / "curve.csv"}
    result = train(model, processor, rows, collator, settings=values, seed=5, **place)
    assert result.metrics["loss"] == pytest.approx(expected, rel=2e-4)
    assert_refused(skipped, media)


def assert_refused(skipped, media):
    """What was skipped, each once or more, are the refused files, each with its reason."""
    reasons = dict(skipped)
    assert reasons.keys() == {str(media / name) for name in REFUSED}
    for name, (_, reason) in REFUSED.items():
        assert reason in reasons[str(media / name)]


@torch.no_grad()
def plain_loss(family, rows, read):
    """Mean over the tokens of all completions, each row read from its pixels alone."""
    losses = []
    for row in rows:
        data_type = row.record.data_type
        prompt = family.backbone.encode(family.processor, row.prompt, read(row.record.path, data_type), data_type)
        tokenizer = family.processor.tokenizer
        answer = torch.tensor([*tokenizer(row.target)["input_ids"], tokenizer.eos_token_id])
        logits = family.model(**batch_inputs(family, [prompt], [answer])).logits[0, len(prompt.ids) - 1 : -1]
        losses += (-logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]).tolist()
    return sum(losses) / len(losses)


class Gradients(TrainerCallback):
    """Keeps the gradients of every step."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **others):
        self.steps.append({n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None})


PLAIN = {"encode_once": False, "share_prefix": False, "share_prefix_update": False}


@pytest.mark.slow
def test_a_grpo_update_equals_that_of_plain_rows(folder, media, read, records, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "score_group", parity_score)

    def gradients(**changes):
        stage, kept = Stage(folder, None, records), Gradients()
        stage.clips = ClipStore(read, 1e-9)
        values = settings(steps=1, save_steps=1, prompts_per_step=len(records), **changes)
        stage.train(tmp_path / str(len(changes)), values, callbacks=[kept])
        assert_refused(stage.skipped, media)
        return kept.steps

    [plain], [fast] = gradients(**PLAIN), gradients()
    assert plain.keys() == fast.keys() and any(float(value.abs().max()) > 1e-4 for value in plain.values())
    for name, value in plain.items():
        assert float((fast[name] - value).abs().max()) <= GRADIENTS * float(value.abs().max()) + 1e-6, name
