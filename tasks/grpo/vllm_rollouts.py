"""Rollouts by vLLM in the trainer's own process, on the weights that the trainer has at that step.

Of several processes each has an engine of its own, on its own device, for its own prompts (plain data parallel).

Before each step's completions:

    policy's weights, put together where they are sharded --reload_weights--> engine's model, marked with their version
    prefix, multimodal and encoder caches are emptied: what they hold was computed with the old weights
    version and checksum (sums of norms and embeddings, which vLLM neither packs nor splits) are compared

Without the second line completions come silently from the old weights (prefix cache) or the engine raises (encoder
cache).
Every completion is a request of its own with its own seed; the prompt they share is read once (prefix caching).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tasks.core.backbones import of_processor
from tasks.core.engine.types import EngineError, Request
from tasks.core.engine.vllm import device_options, media_options, prompt, sampling_params, set_environment, start
from tasks.core.io.errors import reason_of
from tasks.core.models.protocols import Processor
from tasks.core.text import opened_by
from tasks.core.train.sharding import on_any, whole_weights
from tasks.grpo.engine_weights import Checksummed, mark, report
from tasks.grpo.engines import Encode, Policy, RolloutRequest, completion_of_ids
from tasks.grpo.rollout import Completion
from tasks.grpo.vllm_sleep import Level, Sleep

LONE_EXECUTOR = "tasks.grpo.lone_executor.LoneExecutor"
KEPT: list[Any] = []
"""Emptied engines of several processes. Letting go of one ends the process group, with which the trainer works on."""


class VllmRollouts:
    """`Rollouts` by `vllm.LLM`. An engine that dies is started again once per step; a second death is an error.

    Of several processes one starts its engine again by itself, while the others wait for its completions.
    """

    def __init__(
        self,
        folder: Path | str,
        sampling: Any,
        processor: Processor,
        ends: Sequence[int],
        *,
        dtype: str,
        max_model_len: int,
        max_sequences: int,
        gpu_memory_utilization: float,
        kv_cache_gb: int,
        sleep: Level | None = None,
    ) -> None:
        """Start the engine.

        Args:
            folder: checkpoint whose shape, tokenizer and processor the policy has; its weights are replaced.
            sampling: the `grpo.sampling` section.
            processor: of the policy.
            ends: tokens that end a completion.
            dtype: of the engine's weights.
            max_model_len: prompt plus completion, tokens.
            max_sequences: completions in flight at once.
            gpu_memory_utilization: share of a GPU's memory for the engine.
            kv_cache_gb: key-value cache on a CPU build, GiB.
            sleep: level at which it sleeps between rollouts; None keeps it awake.

        Raises:
            EngineError: vLLM is not installed or does not start.
            StageError: it cannot sleep on this machine.
        """
        self._folder, self._sampling, self._ends = str(folder), sampling, ends
        self._tokenizer, self._backbone = processor.tokenizer, of_processor(processor)
        self._banned = list(self._backbone.visual_tokens)
        self._dtype = dtype
        self._options = {
            "dtype": dtype,
            "max_model_len": max_model_len,
            "max_num_seqs": max_sequences,
            **media_options(processor),
            **device_options(gpu_memory_utilization, kv_cache_gb, max_model_len),
        }
        self._several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        if self._several:
            # vLLM then takes the trainer's process group for its own, in which each engine is a group of one.
            self._options["distributed_executor_backend"] = LONE_EXECUTOR
        set_environment(tensor_parallel=1)
        self._sleep = Sleep(sleep)
        self._options |= self._sleep.options
        self._begin()

    def complete(self, policy: Policy, encode: Encode, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        """See `Rollouts.complete`; completions carry the engine's log-probabilities.

        Raises:
            EngineError: the engine died twice on these requests, or holds other weights than the policy.
        """
        if not requests and not policy.sharded:
            return []
        completions: list[list[Completion]] | None = None
        error: DeadEngineError | None = None
        for _ in range(2):
            if error is not None:
                print(f"grpo: rollout engine died, started again: {error}", file=sys.stderr)
                self.close()
                self._begin()
            error = None
            try:
                self.sync(policy)
                completions = completions or self._sampled(requests)
                self._rest()
            except DeadEngineError as died:
                error = died
            # Where weights are sharded, a process whose engine starts anew gets them from all the others.
            if not on_any(error is not None, policy.model.device, agree=policy.sharded):
                return completions or []
        why = error or "see the log of another process"
        raise EngineError(f"the rollout engine died again after a restart: {why}")

    def _begin(self) -> None:
        self._version: int | None = None
        self._llm = start(self._folder, **self._options)
        self._sleep.renew()
        self._rest()

    def _rest(self) -> None:
        with dying():
            self._sleep.rest(self._llm)
        if self._sleep.forgets:
            self._version = None

    def close(self) -> None:
        """Free the engine's memory; of several processes each keeps the process group."""
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        llm, self._llm, self._version = self._llm, None, None
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

    def sync(self, policy: Policy) -> None:
        """Give the engine the policy's weights and check that it has them; an engine of that version keeps its own.

        Under sharding all processes go through the weights together as long as one of them needs any.

        Raises:
            DeadEngineError: vLLM failed.
            StaleEngineError: its version or its weights are not the policy's.
        """
        behind = self._version != policy.version
        if not on_any(behind, policy.model.device, agree=policy.sharded):
            return
        stream = Checksummed(whole_weights(policy.model, getattr(torch, self._dtype)))
        try:
            if behind:
                with dying():
                    self._load(stream, policy.version)
        finally:
            stream.drain()
        if behind:
            with dying():
                reports = self._llm.apply_model(partial(report, dtype=self._dtype))
            self._check(reports, policy.version, stream.checksum)

    def _load(self, stream: Checksummed, version: int) -> None:
        self._version = None
        self._sleep.wake(self._llm, "weights")
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": stream})
        self._llm.apply_model(partial(mark, version=version))
        self._llm.reset_prefix_cache()
        self._llm.reset_mm_cache()
        self._llm.llm_engine.reset_encoder_cache()

    def _check(self, reports: Sequence[tuple[int, dict[str, float]]], version: int, checksum: dict[str, float]) -> None:
        for held, sums in reports:
            if held != version:
                raise StaleEngineError(f"the rollout engine has weights of version {held}, the trainer of {version}")
            if sums != checksum:
                raise StaleEngineError(f"the rollout engine's weights differ from the trainer's at version {version}")
        self._version = version

    def _sampled(self, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        with dying():
            self._sleep.wake(self._llm, "weights", "kv_cache")
            outputs = iter(self._generate(requests))
        return [[self._read(next(outputs), opened_by(request.text)) for _ in request.seeds] for request in requests]

    def _generate(self, requests: Sequence[RolloutRequest]) -> list[Any]:
        sampling = self._sampling
        prompts, params = [], []
        for request in requests:
            for seed in request.seeds:
                view = request.view
                prompts.append(
                    prompt(self._backbone, Request(view.key, request.text, view.clip, request.data_type, seed))
                )
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
        return self._llm.generate(prompts, params, use_tqdm=False) if prompts else []

    def _read(self, output: Any, opening: str) -> Completion:
        [sampled] = output.outputs
        ids = list(sampled.token_ids)
        log_probs = [position[token].logprob for position, token in zip(sampled.logprobs, ids, strict=True)]
        return completion_of_ids(ids, self._tokenizer, self._ends, log_probs, opening)


class DeadEngineError(EngineError):
    """The engine failed on a step; starting it again may help."""


class StaleEngineError(EngineError):
    """The engine does not hold the trainer's weights."""


@contextmanager
def dying() -> Iterator[None]:
    """Turn what vLLM raises when an engine fails into one error.

    Raises:
        DeadEngineError: with its reason.
    """
    from vllm.exceptions import VLLMError

    try:
        yield
    except (VLLMError, RuntimeError, AssertionError, ValueError) as error:
        raise DeadEngineError(f"{type(error).__name__}: {reason_of(error)}") from error
