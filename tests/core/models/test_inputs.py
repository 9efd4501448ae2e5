"""What the model is fed: placeholders, grids, seconds per patch, padding."""

import pytest
import torch

from tasks.core.models import inputs
from tasks.core.models.load import load_processor
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.backbones import of_processor


@pytest.fixture(scope="module")
def processor(tiny_model):
    return load_processor(tiny_model)


def test_mixed_batch_is_encoded_row_by_row(processor, make_clip, chat):
    clips = [make_clip(16, 1.5), make_clip(1, 0), None, make_clip(5, 4.0)]
    kinds = ["video", "image", "image", "video"]
    prompts = [
        inputs.prompt_text(processor, chat(kind if clip else None)) for kind, clip in zip(kinds, clips, strict=True)
    ]
    batch = inputs.encode(processor, prompts, clips, kinds)
    assert batch["video_grid_thw"].tolist() == [[8, 4, 4], [3, 4, 4]], "an odd frame is repeated"
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4]]
    assert torch.allclose(torch.as_tensor(batch["second_per_grid_ts"]), torch.tensor([2 / 1.5, 2 / 4.0]))
    assert [(row == 2).sum().item() for row in batch["mm_token_type_ids"]] == [32, 0, 0, 12]
    assert [(row == 1).sum().item() for row in batch["mm_token_type_ids"]] == [0, 4, 0, 0]
    lengths = [inputs.prompt_tokens(processor, prompt, clip) for prompt, clip in zip(prompts, clips, strict=True)]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert batch["attention_mask"][2, 0] == 0, "padded on the left"


def test_training_batches_pad_on_the_right(processor, chat):
    prompts = [inputs.prompt_text(processor, chat(None, text)) for text in ("short", "a much longer question " * 3)]
    batch = inputs.encode(processor, prompts, [None, None], ["video", "video"], padding_side="right")
    assert batch["attention_mask"][0, 0] == 1
    assert batch["attention_mask"][0, -1] == 0


def test_pixels_are_not_resized(processor, make_clip, chat):
    prompt = inputs.prompt_text(processor, chat("video"))
    batch = inputs.encode(processor, [prompt], [make_clip(4, side=84)], ["video"])
    assert batch["video_grid_thw"].tolist() == [[2, 6, 6]], "larger than the processor's own limit, left as it is"


@pytest.mark.parametrize(
    ("medium", "frames", "fps", "data_type", "said"),
    [
        pytest.param("video", None, 0, "video", "no medium", id="placeholder without a clip"),
        pytest.param(None, 4, 2.0, "video", "0 video placeholders", id="clip without a placeholder"),
        pytest.param("image", 4, 2.0, "video", "1 image and 0 video", id="placeholder of the other kind"),
        pytest.param("image", 2, 0, "image", "2 frames", id="an image has one frame"),
        pytest.param("video", 4, 0, "video", "frames per second", id="no time scale"),
        pytest.param(None, None, 0, "audio", "audio", id="unknown medium"),
    ],
)
def test_prompt_and_clip_must_agree(processor, make_clip, chat, medium, frames, fps, data_type, said):
    prompt = inputs.prompt_text(processor, chat(medium))
    clip = None if frames is None else make_clip(frames, fps)
    with pytest.raises(inputs.InputError, match=f"row 0: .*{said}"):
        inputs.encode(processor, [prompt], [clip], [data_type])


def test_a_question_that_spells_a_placeholder_is_refused(processor, make_clip, chat):
    prompt = inputs.prompt_text(processor, chat("video", "What does <|video_pad|> mean?"))
    assert "2 video placeholders" in str(inputs.mismatch(processor, prompt, make_clip(4), "video"))


def test_visual_tokens_are_those_of_the_vocabulary(processor):
    ids = visual_token_ids(processor)
    assert processor.tokenizer.convert_ids_to_tokens(ids) == sorted(
        of_processor(processor).visual_tokens, key=processor.tokenizer.convert_tokens_to_ids
    )
    assert processor.tokenizer.eos_token_id not in ids
