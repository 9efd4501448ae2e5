"""Generation by vLLM's offline engine, on GPUs or on a CPU build."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from tasks.core.backbones import Backbone, of_processor
from tasks.core.engine.admit import refusal, with_opening
from tasks.core.engine.feed import Feed
from tasks.core.engine.output import captured_output
from tasks.core.engine.types import Answered, Completion, EngineError, FinishReason, Request, failed, in_order
from tasks.core.io.errors import reason_of
from tasks.core.models import inputs, load

GIB = 1 << 30
CPU_BATCHED_TOKENS = 4096
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # Thread pinning takes whole cores even when another stage runs on them; OMP_NUM_THREADS decides instead.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Set unless the caller's environment says otherwise."""
PIXEL_SCALING = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
"""Settings of a processor that say which number a pixel becomes."""


class VllmEngine:
    """`Engine` over `vllm.LLM`: continuous batching, prefix caching, one image or video per prompt."""

    def __init__(
        self,
        model_path: Path | str,
        *,
        dtype: str,
        max_model_len: int,
        gpu_memory_utilization: float,
        kv_cache_gb: int,
        tensor_parallel: int,
        batch_size: int,
    ) -> None:
        """Start the engine.

        Raises:
            ModelError: not a usable checkpoint folder.
            EngineError: vLLM is not installed or does not start.
        """
        set_environment(tensor_parallel)
        self._processor = load.load_processor(model_path)
        load.check_model(model_path)
        self._max_model_len = max_model_len
        # A few beyond what runs, so that a place that falls free is taken at once.
        self._in_flight, self._ahead = batch_size + max(1, batch_size // 4), max(1, batch_size // 4)
        self._backbone = of_processor(self._processor)
        self._banned = list(self._backbone.visual_tokens)
        self._llm = start(
            str(model_path),
            **media_options(self._processor),
            tensor_parallel_size=tensor_parallel,
            dtype=dtype,
            max_model_len=max_model_len,
            max_num_seqs=batch_size,
            **device_options(gpu_memory_utilization, kv_cache_gb, max_model_len),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()
        cleanup_dist_env_and_memory()

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as the model's prompt text."""
        return inputs.prompt_text(self._processor, messages)

    def stream(
        self, requests: Iterable[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> Iterator[Answered]:
        """See `Engine.stream`: a request joins as soon as there is room for it."""
        under_way: dict[str, Request] = {}
        with Feed(requests, self._ahead) as feed:
            while True:
                while len(under_way) < self._in_flight:
                    # The engine goes on with what it has; only an idle one waits for a clip.
                    request = feed.take(wait=not under_way)
                    if request is None:
                        break
                    sampling = sampling_params(request.seed, self._banned, temperature, top_p, max_tokens, n=request.n)
                    try:
                        under_way[self._add(request, sampling)] = request
                    except (ValueError, TypeError, KeyError) as error:
                        yield request, [failed(reason_of(error))]
                if not under_way:
                    if feed.ended:
                        return
                    continue
                for output in self._step(len(under_way)):
                    request = under_way.pop(output.request_id)
                    yield request, [with_opening(done, request) for done in self._completions(output)]

    def remarks(self) -> str:
        """See `Engine.remarks`."""
        return ""

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        return in_order(requests, self.stream(requests, temperature=temperature, top_p=top_p, max_tokens=max_tokens))

    def _add(self, request: Request, sampling: Any) -> str:
        """Give a request to vLLM; returns the id of its output.

        Raises:
            ValueError, TypeError, KeyError: this request cannot be answered.
            EngineError: the engine takes no more.
        """
        from vllm.exceptions import VLLMClientError, VLLMError

        if (reason := refusal(self._processor, request, self._max_model_len)) is not None:
            raise ValueError(reason)
        try:
            [number] = self._llm.enqueue([prompt(self._backbone, request)], [sampling], use_tqdm=False)
        except VLLMClientError as error:
            raise ValueError(f"{type(error).__name__}: {reason_of(error)}") from None
        except (VLLMError, RuntimeError, AssertionError) as error:
            raise EngineError(f"vLLM does not take {request.key}: {reason_of(error)}") from error
        return str(number).partition("-")[0]

    def _step(self, under_way: int) -> list[Any]:
        """One step of the engine; outputs of the requests that it finished."""
        from vllm.exceptions import VLLMError

        try:
            return [output for output in self._llm.llm_engine.step() if output.finished]
        except (VLLMError, RuntimeError, AssertionError, ValueError) as error:
            raise EngineError(f"vLLM failed with {under_way} requests under way: {reason_of(error)}") from error

    def _completions(self, request: Any) -> list[Completion]:
        count = len(request.prompt_token_ids or ())
        return [self._completion(output, count) for output in request.outputs]

    def _completion(self, output: Any, prompt_tokens: int) -> Completion:
        ids = list(output.token_ids)
        text = self._processor.tokenizer.decode(ids, skip_special_tokens=True)
        reason: FinishReason = "stop" if output.finish_reason == "stop" else "length"
        return Completion(text=text, token_ids=ids, finish_reason=reason, prompt_tokens=prompt_tokens)


def sampling_params(
    seed: int, banned: list[str], temperature: float, top_p: float, max_tokens: int, **others: Any
) -> Any:
    """VLLM's sampling of one request; given explicitly, nothing of the checkpoint's settings enters.

    Args:
        seed: of the request's own random stream; copy i of `n` has seed + i.
        banned: tokens that are never sampled (`Backbone.visual_tokens`).
        temperature: of sampling.
        top_p: of the nucleus.
        max_tokens: longest completion.
        others: further fields of `SamplingParams`.

    Raises:
        EngineError: vLLM does not take these values.
    """
    from vllm import SamplingParams
    from vllm.exceptions import VLLMError

    values = {"seed": seed, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, **others}
    try:
        return SamplingParams(**values, bad_words=banned, detokenize=False)
    except (VLLMError, ValueError) as error:
        raise EngineError(f"vLLM does not sample like this: {reason_of(error)}") from error


def prompt(backbone: Backbone, request: Request) -> dict[str, Any]:
    """A request as vLLM's prompt: text, frames and the metadata that keeps vLLM from sampling or resizing again."""
    if request.clip is None:
        return {"prompt": request.prompt}
    media = backbone.engine_media(request.clip, request.data_type)
    return {"prompt": request.prompt, "multi_modal_data": media}


def media_options(processor: Any) -> dict[str, Any]:
    """Options of `vllm.LLM` that make it read images and videos as the checkpoint's processor does.

    For some families vLLM leaves the scaling of pixels to the model, and scales videos by the settings for images.
    Where a checkpoint's settings for the two differ, the processor scales.
    """
    image, video = (part.to_dict() for part in (processor.image_processor, processor.video_processor))
    backbone = of_processor(processor)
    options: dict[str, Any] = {"mm_processor_kwargs": backbone.engine_options()}
    if backbone.engine_worker is not None:
        options["worker_extension_cls"] = backbone.engine_worker
    if any(image.get(name) != video.get(name) for name in PIXEL_SCALING):
        options["mm_device_do_normalize"] = False
    return options


def device_options(gpu_memory_utilization: float, kv_cache_gb: int, max_model_len: int) -> dict[str, Any]:
    """Memory options of `vllm.LLM` for the build of torch at hand; compiled graphs only on a GPU."""
    import torch

    if torch.cuda.is_available():
        return {"gpu_memory_utilization": gpu_memory_utilization}
    # A prompt read in chunks rewinds its request's random stream, which vLLM can do for GPU generators only.
    return {
        "kv_cache_memory_bytes": kv_cache_gb * GIB,
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(max_model_len, CPU_BATCHED_TOKENS),
    }


def set_environment(tensor_parallel: int) -> None:
    """Settings that torch and vLLM read once, on import; one worker runs in this process, which saves a start-up."""
    wanted = ENVIRONMENT if tensor_parallel > 1 else ENVIRONMENT | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def start(model: str, **options: Any) -> Any:
    """A quiet `vllm.LLM`.

    Raises:
        EngineError: vLLM is not installed or does not start.
    """
    import torch

    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    set_num_threads = torch.set_num_threads
    several = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") != "0"
    with captured_output(several) as output:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                from vllm import LLM

                return LLM(
                    model,
                    enable_prefix_caching=True,
                    limit_mm_per_prompt={"image": 1, "video": 1},
                    generation_config="vllm",
                    trust_remote_code=False,
                    disable_log_stats=True,
                    use_tqdm_on_load=False,
                    **options,
                )
        except ImportError as error:
            raise EngineError(f"vLLM cannot be imported: {reason_of(error)}") from error
        except Exception as error:  # Whatever the library raises while it starts, it did not start.
            reason = output.last_error() or reason_of(error)
            raise EngineError(f"vLLM does not start on {model}: {reason}") from error
        finally:
            torch.set_num_threads = set_num_threads  # vLLM's CPU worker replaces it for the whole process.
