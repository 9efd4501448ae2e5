"""Opens the engine of a checkpoint folder or of an endpoint file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.engine.endpoint import read_endpoint
from tasks.core.engine.types import Engine, EngineError
from tasks.core.models.load import backbone_in, is_endpoint

if TYPE_CHECKING:
    from tasks.core.engine.workers import Launcher

BACKENDS = ("vllm", "transformers")


def open_engine(
    backend: str,
    model_path: Path | str,
    *,
    dtype: str = "float32",
    max_model_len: int = 1024,
    gpu_memory_utilization: float = 0.8,
    kv_cache_gb: int = 1,
    tensor_parallel: int = 1,
    data_parallel: int = 1,
    data_parallel_backend: str = "mp",
    batch_size: int = 64,
    rows_per_call: int | None = None,
    group_by_length: bool = True,
) -> Engine:
    """Load a checkpoint folder into an engine; the arguments are the fields of `params.Engine`.

    A model whose videos vLLM does not serve is opened by transformers, with a message. A `.yaml` file in place of the
    folder is an endpoint (`endpoint.py`), whatever the backend.

    Raises:
        ModelError: not a usable checkpoint folder.
        EngineError: unknown backend, a bad endpoint file, or the engine does not start.
    """
    if is_endpoint(model_path):
        from tasks.core.engine.openai import OpenAIEngine

        return OpenAIEngine(read_endpoint(model_path))
    if backend not in BACKENDS:
        raise EngineError(f"unknown engine {backend!r}; known: {', '.join(BACKENDS)}")
    if backend == "vllm" and (reason := backbone_in(model_path).serves_video) is not None:
        print(f"engine: transformers in place of vllm: {reason}", file=sys.stderr)
        backend = "transformers"
    if data_parallel > 1 or data_parallel_backend == "ray":
        from tasks.core.engine.parallel import ParallelEngine

        return ParallelEngine(
            _launcher(data_parallel_backend, data_parallel, tensor_parallel),
            open_engine,
            model_path,
            backend=backend,
            count=data_parallel,
            dtype=dtype,
            max_model_len=max_model_len,
            gpu_memory_utilization=gpu_memory_utilization,
            kv_cache_gb=kv_cache_gb,
            tensor_parallel=tensor_parallel,
            batch_size=batch_size,
            rows_per_call=rows_per_call,
            group_by_length=group_by_length,
        )
    if backend == "vllm":
        from tasks.core.engine.vllm import VllmEngine

        return VllmEngine(
            model_path,
            dtype=dtype,
            max_model_len=max_model_len,
            gpu_memory_utilization=gpu_memory_utilization,
            kv_cache_gb=kv_cache_gb,
            tensor_parallel=tensor_parallel,
            batch_size=batch_size,
        )
    from tasks.core.engine.transformers import TransformersEngine

    return TransformersEngine(
        model_path,
        dtype=dtype,
        max_model_len=max_model_len,
        rows_per_call=rows_per_call or batch_size,
        window=batch_size,
        group_by_length=group_by_length,
    )


def _launcher(data_parallel_backend: str, count: int, tensor_parallel: int) -> Launcher:
    """What starts the processes of several engines."""
    if data_parallel_backend == "ray":
        from tasks.core.engine.cluster import Cluster

        return Cluster(count, tensor_parallel)
    from tasks.core.engine.processes import Processes

    return Processes(count, tensor_parallel)
