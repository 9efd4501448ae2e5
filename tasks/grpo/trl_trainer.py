"""TRL's GRPOTrainer, imported without vLLM.

TRL 1.16 imports vLLM whole where it is installed (`trl/generation/vllm_client.py`, `vllm_generation.py`), two fifths of
what a GRPO process imports. That is for TRL's own `use_vllm`, which nothing here turns on: where vLLM is asked for,
`tasks.grpo.vllm_rollouts` imports it, after its settings are in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trl import import_utils


@contextmanager
def vllm_out_of_sight() -> Iterator[None]:
    """While this lasts TRL's modules find no vLLM."""
    seen = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda min_version=None: False
    try:
        yield
    finally:
        import_utils.is_vllm_available = seen


with vllm_out_of_sight():
    from trl.trainer.grpo_trainer import GRPOTrainer as GRPOTrainer
