"""vLLM's executor for one of several processes that a launcher started, each with an engine of its own."""

from __future__ import annotations

from vllm.v1.executor.uniproc_executor import ExecutorWithExternalLauncher, UniProcExecutor


class LoneExecutor(ExecutorWithExternalLauncher):
    """Takes the launcher's process group and, once its groups of one are made, waits for no other process.

    vLLM's own is for engines that share their work: starting, each takes the least memory that any of them found, and
    one started again alone would wait for the others for ever.
    """

    def determine_available_memory(self) -> list[int]:
        """Bytes for keys and values, as this process finds them."""
        return UniProcExecutor.determine_available_memory(self)
