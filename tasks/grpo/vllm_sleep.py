"""vLLM's sleep mode: between rollouts an engine leaves its GPU memory to the training beside it.

    rest      after its start and after every round: keys and values are dropped; weights go to main memory (level 1)
              or are dropped (level 2)
    weights   memory of the weights again, before new ones are read into it
    all       memory of keys and values again, before completions are sampled

An engine that is not wholly awake schedules nothing: asked too early, it would wait for ever.
"""

from __future__ import annotations

from typing import Any, Literal

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import StageError

Level = Literal[1, 2]
MEMORY = {"weights", "kv_cache"}
"""What vLLM gives back, by its own names."""


class Sleep:
    """Puts an engine to sleep and wakes it; without a level it does neither."""

    def __init__(self, level: Level | None) -> None:
        """Set up for engines that are awake.

        Raises:
            StageError: vLLM cannot sleep on this machine.
            EngineError: vLLM is not installed.
        """
        self._level = level
        self._asleep: set[str] = set()
        if level is not None:
            refuse_where_impossible(level)

    @property
    def options(self) -> dict[str, Any]:
        """Options of `vllm.LLM`."""
        return {} if self._level is None else {"enable_sleep_mode": True}

    @property
    def forgets(self) -> bool:
        """Whether weights are gone after it."""
        return self._level == 2

    def renew(self) -> None:
        """An engine was started; it is awake."""
        self._asleep = set()

    def rest(self, llm: Any) -> None:
        """Put it to sleep, unless it sleeps."""
        if self._level is not None and self._asleep != MEMORY:
            llm.sleep(level=self._level)
            self._asleep = set(MEMORY)

    def wake(self, llm: Any, *tags: Literal["weights", "kv_cache"]) -> None:
        """Give it that memory again, unless it has it."""
        if wanted := [tag for tag in tags if tag in self._asleep]:
            llm.wake_up(tags=wanted)
            self._asleep -= set(wanted)


def refuse_where_impossible(level: int) -> None:
    """Raise where vLLM cannot give memory back: a CPU build ignores the request with a warning.

    Raises:
        StageError: with what to set.
        EngineError: vLLM is not installed.
    """
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EngineError(f"vLLM cannot be imported: {error}") from error
    if not current_platform.is_sleep_mode_available():
        where = current_platform.device_type or "this machine"
        raise StageError(f"grpo.rollout_sleep: {level}; vLLM on {where} cannot sleep, only on a GPU: set it to null")
