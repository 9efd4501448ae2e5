"""Sections of the stages benchmark and report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.common import Sampling, Section


class SuiteRun(Section):
    """One public benchmark to run."""

    name: Literal["vsi_bench", "video_mmmu", "mmvu", "mvbench", "tempcompass", "video_mme", "video_holmes", "world"]
    annotations: str
    """Folder of the official annotation files, below `annotations_root` (the mini world's: `data/ingest`)."""
    media: str | None = None
    """Folder of the clips; null takes `annotations`."""
    protocols: list[Literal["official", "video_r1"]] = Field(["official", "video_r1"], min_length=1)
    """`official`: the benchmark's own prompt, decoding and scorer. `video_r1`: those of Video-R1's evaluation."""
    video_r1_file: str | None = None
    """Video-R1's own file (`eval_<name>.json`) for protocol `video_r1`; null makes its form from the official files."""
    subset: str | None = None
    """VSI-Bench: `debiased` or `pruned`. VideoMMMU: `question_only`."""
    limit: int | None = Field(None, ge=1)
    """At most this many questions of each file, evenly spread; null takes all."""


class Judge(Section):
    """A served model that grades what no rule can (MMVU, TempCompass captions); its key is in OPENAI_API_KEY."""

    base_url: str
    model: str
    max_tokens: int = Field(256, ge=1)


class Benchmark(Section):
    sampling: Sampling = Sampling(temperature=0.01, top_p=0.001, max_tokens=1024)
    """The mini world, and protocol `video_r1`."""
    rows: int | None = Field(None, ge=1)
    """At most this many test rows; null takes all."""
    views: list[Literal["ordered", "shuffled", "no_video"]] = ["ordered", "shuffled", "no_video"]
    """Ordered frames, and two controls: shuffled frames and a prompt without its medium."""
    reward_variant: Literal["strict", "robust"] = "robust"
    annotations_root: str = "data/benchmarks"
    """Folder of the public benchmarks' annotation files; a change in it reruns benchmark. Media may lie elsewhere."""
    suites: list[SuiteRun] = []
    """Public benchmarks to run, each on every view of `views`."""
    frames: list[int] = Field([16], min_length=1)
    """Frame caps to run each suite at; `video.frames` is for the other stages."""
    max_pixels: int | None = Field(None, ge=784)
    """Frames of the suites are scaled down to at most this many pixels; null takes `video.max_pixels`."""
    official_max_tokens: int | None = Field(None, ge=1)
    """Longest answer under `official`; null takes each benchmark's own, which may be too short to reason in."""
    judge: Judge | None = None
    """Grader; null leaves judged parts unscored."""


class Report(Section):
    examples: int = Field(8, ge=0)
    """Clips shown as frame strips with the models' reasoning."""
    strip_frames: int = Field(8, ge=1)
    """Frames per strip."""
