"""Sections that several stages read: prompt, video sampling, engine, decoding."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is wanted; pydantic would take them for 1 and 0."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and {int, float} & {annotation, *get_args(annotation)}:
            raise ValueError("a number is wanted")
        return value


class Prompt(Section):
    """One prompt for every stage: annotation, SFT, RL, benchmark and inference."""

    template: Literal["video_r1", "brief"] = "brief"
    """`video_r1`: the published wording. `brief`: the same instruction in one sentence, for very small models."""
    system: str = "You are a helpful assistant."
    """System message."""


class Video(Section):
    """How a clip becomes pixels; the same for every stage."""

    frames: int = Field(16, ge=2, multiple_of=2)
    """Upper bound of frames per clip (one temporal patch holds two frames)."""
    fps: float = Field(2.0, gt=0)
    """Frames per second, before the bounds apply."""
    min_frames: int = Field(4, ge=2)
    """Lower bound of frames per clip."""
    min_pixels: int = Field(3136, ge=784)
    """Frames and images are scaled up to at least this many pixels."""
    max_pixels: int = Field(3136, ge=784)
    """Frames and images are scaled down to at most this many pixels."""
    disk_cache_gb: float = Field(4.0, ge=0)
    """Decoded and resized frames kept under .cache/frames for all stages, GiB; 0 decodes anew in every stage."""
    decode_workers: int = Field(1, ge=0)
    """Threads that decode ahead while a model computes, in each process; 0 decodes a clip when it is asked for."""
    read_limit_seconds: float = Field(60.0, gt=0)
    """A file that takes longer to read is left out; one second more is allowed for each MiB."""

    def sampling(self) -> dict[str, Any]:
        """The fields that decide a clip's pixels: those that belong in keys, and that dvc.yaml names."""
        return self.model_dump(exclude={"disk_cache_gb", "decode_workers", "read_limit_seconds"})

    def opening(self) -> dict[str, Any]:
        """Arguments of `open_clip`."""
        return self.model_dump(exclude={"decode_workers"})


class Engine(Section):
    """Where completions are generated (annotate, benchmark, ask)."""

    backend: Literal["vllm", "transformers"] = "vllm"
    """What generates; of families whose videos vLLM does not serve transformers does, and the run says so."""
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of weights and arithmetic; `auto`: the checkpoint's own."""
    max_model_len: int = Field(1024, ge=128)
    """Prompt plus completion, tokens."""
    gpu_memory_utilization: float = Field(0.8, gt=0, le=1)
    """vLLM on a GPU: share of its memory that an engine takes for weights and cache."""
    kv_cache_gb: int = Field(1, ge=1)
    """Key-value cache on a CPU build, GiB."""
    tensor_parallel: int = Field(1, ge=1)
    """vLLM: GPUs that one engine is spread over."""
    data_parallel: int = Field(1, ge=1)
    """Engines that share the requests, each in a process and on `tensor_parallel` GPUs of its own."""
    data_parallel_backend: Literal["mp", "ray"] = "mp"
    """Where these engines are: processes of this machine, or actors on the Ray cluster of RAY_ADDRESS."""
    batch_size: int = Field(64, ge=1)
    """Requests that an engine holds at once."""
    rows_per_call: int | None = Field(None, ge=1)
    """transformers: most completions in one call of the model; null takes `batch_size`. vLLM batches by itself."""
    group_by_length: bool = True
    """transformers: prompts of similar length share a call, with less padding; matters where calls are small."""

    def deciding(self) -> dict[str, Any]:
        """What can change an answer; the rest is memory and speed."""
        memory = {"gpu_memory_utilization", "kv_cache_gb", "batch_size", "rows_per_call", "group_by_length"}
        return self.model_dump(exclude={*memory, "data_parallel", "data_parallel_backend"})


class Guards(Section):
    """Signs of a run that goes wrong. Each is printed under its name when it appears; those in `stop` end the run."""

    gradient_times: float | None = Field(20.0, gt=1)
    """`gradient`: the norm is this many times the median of the last 50 steps. null switches a guard off."""
    loss_times: float | None = Field(2.0, gt=1)
    """`loss` (sft): the mean of ten steps is this many times the lowest such mean."""
    kl_nats: float | None = Field(10.0, gt=0)
    """`kl` (grpo with beta > 0): nats per token away from the reference model."""
    entropy_share: float | None = Field(0.05, gt=0, lt=1)
    """`entropy` (grpo): below this share of its mean in the first ten steps."""
    empty_steps: int | None = Field(20, ge=1)
    """`reward` (grpo): this many steps in a row without any reward, or without a prompt whose completions differ."""
    stop: tuple[Literal["gradient", "loss", "kl", "entropy", "reward"], ...] = ()
    """Guards that end the run; the others only print."""


class Sampling(Section):
    temperature: float = Field(1.0, ge=0)
    """Below 0.00001 the likeliest token is taken."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus: tokens are drawn from the fewest that have this probability together; 1 draws from all."""
    max_tokens: int = Field(512, ge=1)
    """Longest completion, tokens."""
