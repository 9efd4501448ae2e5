"""The contract's points about vLLM: ids, greedy tokens and log-probabilities as transformers', weights by sync."""

import copy
import json
import shutil
from contextlib import nullcontext

import pytest
import torch

from tasks.core.backbones import backbone_of
from tasks.core.engine.transformers import TransformersEngine
from tasks.core.engine.types import Request
from tasks.core.engine.vllm import media_options, sampling_params
from tasks.core.engine.vllm import prompt as engine_prompt
from tasks.core.models.inputs import encode_one
from tasks.core.models.load import backbone_in
from tasks.grpo.engines import Policy
from tasks.grpo.vllm_rollouts import VllmRollouts
from tasks.params.common import Sampling
from tests.support.families import FAMILIES, batch_inputs, load

SERVED = [name for name in FAMILIES if backbone_of(name).serves_video is None]
LOGPS = 1e-4
"""Two ways of float32 come within 1e-5 nats; a frame read otherwise is 0.01 and more away."""


def test_pixels_are_scaled_by_the_processor_where_videos_differ_from_images(family_folder):
    processor = load(backbone_of("qwen3_vl"), family_folder("qwen3_vl")).processor
    assert "mm_device_do_normalize" not in media_options(processor)
    for settings in ({"image_mean": [0.4, 0.5, 0.6]}, {"image_std": [0.3, 0.3, 0.3]}, {"do_normalize": False}):
        other = copy.deepcopy(processor)
        for name, value in settings.items():
            setattr(other.image_processor, name, value)
        assert media_options(other)["mm_device_do_normalize"] is False


@pytest.fixture
def served_folder(request, family_folder, tmp_path):
    """A family's folder, or of one whose images and videos are scaled apart."""
    model_type, _, apart = request.param.partition(", ")
    folder = family_folder(model_type)
    if not apart:
        return folder
    other = tmp_path / model_type
    shutil.copytree(folder, other)
    settings = json.loads((other / "processor_config.json").read_text())
    settings["image_processor"] |= {"image_mean": [0.3, 0.4, 0.5], "image_std": [0.2, 0.25, 0.3]}
    (other / "processor_config.json").write_text(json.dumps(settings))
    return other


@pytest.mark.slow
@pytest.mark.parametrize("served_folder", [*SERVED, "qwen3_vl, images scaled otherwise"], indirect=True)
def test_vllm_answers_as_transformers_does(served_folder, tmp_path):
    folder, model_type = served_folder, served_folder.name
    family = load(backbone_of(model_type), folder)
    media = [("video", family.clip()), ("video", family.clip(4, 2)), ("image", family.image(1)), (None, None)]
    questions = ["Which way does the red ball move?", "Which?", "Look well.", "You are a ball."]
    requests = [
        Request(str(n), family.text(kind, question), clip, kind or "video", n)
        for n, ((kind, clip), question) in enumerate(zip(media, questions, strict=True))
    ]
    tokenizer = family.processor.tokenizer
    ends = [tokenizer.eos_token_id]
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=8)
    rollouts = VllmRollouts(
        folder,
        greedy,
        family.processor,
        ends,
        dtype="float32",
        max_model_len=512,
        max_sequences=8,
        gpu_memory_utilization=0.5,
        kv_cache_gb=1,
    )
    try:
        check(family, folder, requests, rollouts)
        with torch.no_grad():
            for weight in family.model.parameters():
                weight += 0.05 * torch.randn_like(weight) * weight.std().nan_to_num(0.0)
        rollouts.sync(Policy(family.model, 3, False, nullcontext))
        family.model.save_pretrained(tmp_path / "moved")
        family.processor.save_pretrained(tmp_path / "moved")
        before = tokens_of(rollouts, family, requests)
        check(family, tmp_path / "moved", requests, rollouts)
        assert len({tuple(ids) for ids in before}) > 1, "the completions are not all the same"
    finally:
        rollouts.close()


def tokens_of(rollouts, family, requests):
    outputs = served(rollouts, family, requests)
    return [list(output.outputs[0].token_ids) for output in outputs]


def served(rollouts, family, requests):
    banned = list(family.backbone.visual_tokens)
    params = [sampling_params(request.seed, banned, 0.0, 1.0, 8, logprobs=0) for request in requests]
    return rollouts._llm.generate([engine_prompt(family.backbone, r) for r in requests], params, use_tqdm=False)


def check(family, folder, requests, rollouts):
    """The engine's prompts and tokens against transformers' on the weights in `folder`."""
    outputs = served(rollouts, family, requests)
    context = family.processor.tokenizer.convert_tokens_to_ids(list(family.backbone.visual_tokens))
    for request, output in zip(requests, outputs, strict=True):
        ids = encode_one(family.processor, request.prompt, request.clip, request.data_type).ids.tolist()
        told = list(output.prompt_token_ids)
        # Some models' prompts are told with one visual token for another.
        assert len(told) == len(ids)
        assert all(one == other or {one, other} <= set(context) for one, other in zip(told, ids, strict=True))
    own = TransformersEngine(folder, dtype="float32", max_model_len=512, rows_per_call=4)
    expected = own.generate(requests, temperature=0.0, top_p=1.0, max_tokens=8)
    assert [list(output.outputs[0].token_ids) for output in outputs] == [list(c.token_ids) for [c] in expected]
    for request, output in zip(requests, outputs, strict=True):
        torch.testing.assert_close(told_logps(output), own_logps(folder, request, output), rtol=0, atol=LOGPS)


def told_logps(output):
    """The engine's log-probabilities of its completion's tokens."""
    [completion] = output.outputs
    return torch.tensor([told[i].logprob for i, told in zip(completion.token_ids, completion.logprobs, strict=True)])


@torch.no_grad()
def own_logps(folder, request, output):
    """Transformers' log-probabilities of the same tokens, from pixels."""
    family = load(backbone_in(folder), folder)
    prompt = encode_one(family.processor, request.prompt, request.clip, request.data_type)
    answer = torch.tensor(output.outputs[0].token_ids)
    logits = family.model(**batch_inputs(family, [prompt], [answer])).logits[0, len(prompt.ids) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", id="as released"),
        pytest.param(
            "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", id="as saved by transformers 4"
        ),
        pytest.param("model.vision_tower.encoder.layers.0.mlp.fc1.weight", id="as saved by transformers 5"),
        pytest.param("vision_tower.encoder.layers.0.mlp.fc1.weight", id="as the encoder has it"),
    ],
)
def test_vllm_finds_the_encoders_weights_of_llava_onevision(name):
    from tasks.core.backbones.llava_onevision_vllm import Served

    expected = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"
    assert Served.hf_to_vllm_mapper.map_name(name) == expected
