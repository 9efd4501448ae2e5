"""Typed sections of params.yaml: one class per section, one section per stage.

Unknown keys are refused with the nearest valid name. Nothing here imports torch.
"""

from tasks.params.benchmark import Benchmark, Judge, Report, SuiteRun
from tasks.params.common import Engine, Prompt, Sampling, Section, Video
from tasks.params.contradictions import grpo_contradictions
from tasks.params.data import Annotate, Filter, Ingest, Source, Start, Validate, sources_of
from tasks.params.grpo import Grpo, Length, Lora, RolloutServer
from tasks.params.read import Params, ParamsError, load, parse
from tasks.params.sft import Sft
from tasks.params.world import Skill, World

__all__ = [
    "Annotate",
    "Benchmark",
    "Engine",
    "Filter",
    "Grpo",
    "Ingest",
    "Judge",
    "Length",
    "Lora",
    "Params",
    "ParamsError",
    "Prompt",
    "Report",
    "RolloutServer",
    "Sampling",
    "Section",
    "Sft",
    "Skill",
    "Source",
    "Start",
    "SuiteRun",
    "Validate",
    "Video",
    "World",
    "grpo_contradictions",
    "load",
    "parse",
    "sources_of",
]
