"""vLLM's LLaVA-OneVision, corrected in every worker that imports this module (as of vLLM 0.32).

- Features of videos of unequal length that are encoded together come as (1, n, width) each, where (n, width) is wanted,
  and the worker fails. Videos of one length come right.
- Weights of the encoder are looked for under `vision_tower.vision_model`, as releases name them; transformers 5 writes
  them, and the trainer sends them, without the second part.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from vllm.model_executor.models.llava_onevision import LlavaOnevisionForConditionalGeneration as Served
from vllm.model_executor.models.utils import WeightsMapper

PARTS = ("embeddings", "encoder", "post_layernorm", "head")
"""Of the encoder."""


class Worker:
    """Named to vLLM as `worker_extension_cls`: its workers import this module, and with it the corrections."""


def flat(embed: Any) -> Any:
    """`embed_multimodal` that gives rows of features for every medium."""

    @wraps(embed)
    def embed_flat(self: Any, **inputs: Any) -> Any:
        return tuple(features.flatten(0, -2) for features in embed(self, **inputs))

    return embed_flat


Served.embed_multimodal = flat(Served.embed_multimodal)
Served.hf_to_vllm_mapper |= WeightsMapper(
    orig_to_new_prefix={f"vision_tower.{part}.": f"vision_tower.vision_model.{part}." for part in PARTS}
)
