"""Sections of the stages benchmark and report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from tasks.params.common import Sampling, Section

Frames = Annotated[int, Field(ge=2, multiple_of=2)]
"""A frame cap; even, since one temporal patch holds two frames."""

SUBSETS = {"vsi_bench": ("debiased", "pruned"), "video_mmmu": ("question_only",)}
"""Suite -> its subsets; the other suites have none."""


class SuiteRun(Section):
    """One public benchmark to run."""

    name: Literal["vsi_bench", "video_mmmu", "mmvu", "mvbench", "tempcompass", "video_mme", "video_holmes"]
    annotations: str
    """Folder of the official annotation files, below `annotations_root`."""
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

    @field_validator("subset")
    @classmethod
    def _subset_of_the_suite(cls, value: str | None, others: ValidationInfo) -> str | None:
        name = others.data.get("name", "")
        if value is not None and value not in SUBSETS.get(name, ()):
            raise ValueError(f"no subset of {name}; subsets: {', '.join(SUBSETS.get(name, ())) or 'none'}")
        return value


class Judge(Section):
    """A served model that scores what no rule can (MMVU, TempCompass); its key is in OPENAI_API_KEY."""

    base_url: str = Field(pattern="^https?://.")
    model: str = Field(min_length=1)
    max_tokens: int = Field(256, ge=1)


class Benchmark(Section):
    models: list[str] | None = Field(None, min_length=1)
    """Models that are asked, by their names in `models`; null asks all. Of the others the report says that they were
    not run; answers of theirs from earlier runs are kept aside."""
    sampling: Sampling = Sampling(temperature=0.01, top_p=0.001, max_tokens=1024)
    """Protocols `pipeline` (the test split) and `video_r1`."""
    rows: int | None = Field(None, ge=1)
    """At most this many questions of the test split, evenly spread; null takes all."""
    test_frames: list[Frames] | None = Field(None, min_length=1)
    """Frame caps at which the test split is asked; null takes `video.frames`, which the main tables show."""
    views: list[Literal["ordered", "shuffled", "no_video"]] = ["ordered", "shuffled", "no_video"]
    """Ordered frames, which the tables need, and two controls: shuffled frames and a prompt without its medium."""
    reward_variant: Literal["strict", "robust"] = "robust"
    """Scorer of the protocol `pipeline`."""
    annotations_root: str = Field("data/benchmarks", min_length=1)
    """Folder of the public benchmarks' annotation files; a change in it reruns benchmark. Media may lie elsewhere."""
    suites: list[SuiteRun] = []
    """Public benchmarks to run, each on every view of `views`."""
    frames: list[Frames] = Field([16], min_length=1)
    """Frame caps at which each public benchmark is asked."""
    max_pixels: int | None = Field(None, ge=784)
    """Frames of the public benchmarks are scaled down to at most this many pixels; null takes `video.max_pixels`."""
    official_max_tokens: int | None = Field(None, ge=1)
    """Longest answer under `official`; null takes each benchmark's own, which may be too short to reason in."""
    judge: Judge | None = None
    """null leaves unscored what needs a judge."""


class Report(Section):
    examples: int = Field(8, ge=0)
    """Clips shown as frame strips with the models' reasoning."""
    strip_frames: int = Field(8, ge=1)
    """Frames per strip."""
