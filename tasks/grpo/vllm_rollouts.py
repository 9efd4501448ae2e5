"""Rollouts by vLLM in the trainer's own process, on the weights that the trainer has at that step.

Of several processes each has an engine of its own, on its own device, for its own prompts (plain data parallel).

Before each step's answers:

    trainer's state dict --reload_weights--> engine's model, marked with the step's version
    prefix, multimodal and encoder caches are emptied: what they hold was computed with the old weights
    version and checksum (sums of norms and embeddings, which vLLM neither packs nor splits) are compared

Without the second line answers come silently from the old weights (prefix cache) or the engine raises (encoder cache).
Every answer is a request of its own with its own seed; the prompt they share is read once (prefix caching).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tasks.core.backbones import of_processor
from tasks.core.engine.types import EngineError, Request
from tasks.core.engine.vllm import device_options, prompt, sampling_params, set_environment, start
from tasks.core.io.errors import reason_of
from tasks.core.text import opened_by
from tasks.grpo.engines import Ask, answer_of_ids
from tasks.grpo.rollout import Answer

LANGUAGE = "language_model."
LONE_EXECUTOR = "tasks.grpo.lone_executor.LoneExecutor"
KEPT: list[Any] = []
"""Emptied engines of several processes. Letting go of one ends the process group, with which the trainer works on."""


class VllmRollouts:
    """`Rollouts` by `vllm.LLM`. An engine that dies is started again once per step; a second death is an error.

    Of several processes one starts its engine again by itself, while the others wait for its answers.
    """

    def __init__(
        self,
        folder: Path | str,
        sampling: Any,
        processor: Any,
        ends: Sequence[int],
        *,
        dtype: str,
        max_model_len: int,
        max_sequences: int,
        gpu_memory_utilization: float,
        kv_cache_gb: int,
    ) -> None:
        """Start the engine.

        Args:
            folder: checkpoint whose shape, tokenizer and processor the policy has; its weights are replaced.
            sampling: the `grpo.sampling` section.
            processor: of the policy.
            ends: tokens that end an answer.
            dtype: of the engine's weights.
            max_model_len: prompt plus answer, tokens.
            max_sequences: answers in flight at once.
            gpu_memory_utilization: share of a GPU's memory for the engine.
            kv_cache_gb: key-value cache on a CPU build, GiB.

        Raises:
            EngineError: vLLM is not installed or does not start.
        """
        self._folder, self._sampling, self._ends = str(folder), sampling, ends
        self._tokenizer, self._backbone = processor.tokenizer, of_processor(processor)
        self._banned = list(self._backbone.visual_tokens)
        self._dtype = dtype
        self._options = {
            "dtype": dtype,
            "max_model_len": max_model_len,
            "max_num_seqs": max_sequences,
            "mm_processor_kwargs": self._backbone.engine_options(),
            **device_options(gpu_memory_utilization, kv_cache_gb, max_model_len),
        }
        self._several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        if self._several:
            # vLLM then takes the trainer's process group for its own, in which each engine is a group of one.
            self._options["distributed_executor_backend"] = LONE_EXECUTOR
        set_environment(tensor_parallel=1)
        self._llm = start(self._folder, **self._options)

    def answer(self, trainer: Any, asks: Sequence[Ask]) -> list[list[Answer]]:
        """See `Rollouts.answer`; answers carry the engine's log-probabilities.

        Raises:
            EngineError: the engine died twice on these answers, or holds other weights than the trainer.
        """
        try:
            return self._answer(trainer, asks)
        except DeadEngineError as error:
            print(f"grpo: rollout engine died, started again: {error}", file=sys.stderr)
        self.close()
        self._llm = start(self._folder, **self._options)
        try:
            return self._answer(trainer, asks)
        except DeadEngineError as error:
            raise EngineError(f"the rollout engine died again after a restart: {error}") from error

    def close(self) -> None:
        """Free the engine's memory; of several processes each keeps the process group."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        llm, self._llm = self._llm, None
        if llm is None:
            return
        client = llm.llm_engine.engine_core
        with suppress(RuntimeError, AssertionError):  # a dead engine may be past shutting down
            # Below the engine, whose own shutting down ends the process group.
            (client.engine_core.model_executor if self._several else client).shutdown()
        if self._several:
            KEPT.append(llm)
            gc.collect()
            torch.cuda.empty_cache()
            return
        del llm, client
        gc.collect()
        cleanup_dist_env_and_memory()

    def _answer(self, trainer: Any, asks: Sequence[Ask]) -> list[list[Answer]]:
        from vllm.exceptions import VLLMError

        try:
            self.sync(trainer.accelerator.unwrap_model(trainer.model), trainer.state.global_step)
            outputs = iter(self._generate(asks))
        except StaleEngineError:
            raise
        except (VLLMError, RuntimeError, AssertionError, ValueError) as error:
            raise DeadEngineError(f"{type(error).__name__}: {reason_of(error)}") from error
        return [[self._read(next(outputs), opened_by(ask.text)) for _ in ask.seeds] for ask in asks]

    def sync(self, model: Any, version: int) -> None:
        """Give the engine the weights of `model` and check that it has them.

        Raises:
            StaleEngineError: its version or its weights are not the trainer's.
        """
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights(model)})
        self._llm.apply_model(partial(mark, version=version))
        self._llm.reset_prefix_cache()
        self._llm.reset_mm_cache()
        self._llm.llm_engine.reset_encoder_cache()
        wanted = (version, weights_checksum(model, self._dtype))
        for found in self._llm.apply_model(partial(report, dtype=self._dtype)):
            if found != wanted:
                raise StaleEngineError(
                    f"the rollout engine has weights of version {found[0]}, the trainer of {version}"
                    if found[0] != version
                    else f"the rollout engine's weights differ from the trainer's at version {version}"
                )

    def _generate(self, asks: Sequence[Ask]) -> list[Any]:
        sampling = self._sampling
        requests, params = [], []
        for ask in asks:
            for seed in ask.seeds:
                request = Request(ask.view.key, ask.text, ask.view.clip, ask.data_type, seed)
                requests.append(prompt(self._backbone, request))
                params.append(
                    sampling_params(
                        seed,
                        self._banned,
                        sampling.temperature,
                        sampling.top_p,
                        sampling.max_tokens,
                        stop_token_ids=list(self._ends),
                        logprobs=0,
                    )
                )
        return self._llm.generate(requests, params, use_tqdm=False)

    def _read(self, output: Any, opening: str) -> Answer:
        [found] = output.outputs
        ids = list(found.token_ids)
        logps = [position[token].logprob for position, token in zip(found.logprobs, ids, strict=True)]
        return answer_of_ids(ids, self._tokenizer, self._ends, logps, opening)


class DeadEngineError(EngineError):
    """The engine failed on a step; starting it again may help."""


class StaleEngineError(EngineError):
    """The engine does not hold the trainer's weights."""


def weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of a model as vLLM's loader takes them."""
    for name, value in model.state_dict().items():
        yield name, value.detach()


def mark(model: Any, version: int) -> None:
    """Write the version of its weights on an engine's model."""
    model.rollout_version = version


def report(model: Any, dtype: str) -> tuple[int, dict[str, float]]:
    """Version and checksum of an engine's model."""
    return getattr(model, "rollout_version", -1), weights_checksum(model, dtype)


def weights_checksum(model: Any, dtype: str) -> dict[str, float]:
    """Sums of the language model's norm and embedding weights, cast to `dtype`, by name from the layer on.

    Both sides name them alike behind `language_model.`, but for a `model.` that vLLM puts there.
    """
    kind = getattr(torch, dtype)
    found = {}
    for name, value in model.named_parameters():
        _, inside, rest = name.partition(LANGUAGE)
        if inside and rest.endswith(("norm.weight", "embed_tokens.weight")):
            found[rest.removeprefix("model.")] = float(value.detach().to(kind).double().sum())
    return found
