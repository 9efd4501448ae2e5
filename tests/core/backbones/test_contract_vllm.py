"""The contract's points about vLLM: prompt ids and greedy tokens equal transformers', weights arrive by sync."""

from contextlib import nullcontext

import pytest
import torch

from tasks.core.backbones import backbone_of
from tasks.core.engine.transformers import TransformersEngine
from tasks.core.engine.types import Request
from tasks.core.engine.vllm import prompt as engine_prompt
from tasks.core.engine.vllm import sampling_params
from tasks.core.models.inputs import encode_one
from tasks.grpo.engines import Policy
from tasks.grpo.vllm_rollouts import VllmRollouts
from tasks.params.common import Sampling
from tests.support.families import FAMILIES, load

pytestmark = pytest.mark.slow
SERVED = [name for name in FAMILIES if backbone_of(name).serves_video is None]


@pytest.mark.parametrize("model_type", SERVED)
def test_vllm_answers_as_transformers_does(model_type, family_folder, tmp_path):
    folder = family_folder(model_type)
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
    params = [sampling_params(request.seed, banned, 0.0, 1.0, 8) for request in requests]
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
