"""Values of params.yaml that do not go together, told before any stage starts."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import paths
from tasks.params.benchmark import Benchmark
from tasks.params.common import Section
from tasks.params.data import Annotate, Filter, sources_of
from tasks.params.grpo import Grpo

if TYPE_CHECKING:
    from tasks.params.read import Params

Problem = tuple[str, str]
"""Place of a value, as params.yaml spells it; what is wrong with it."""

WRITTEN = (paths.INGEST, paths.VERDICTS, paths.ANSWERS, paths.SFT_MODEL, paths.GRPO_MODEL)
"""Outputs of stages, of which a folder of inputs may hold none."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def contradictions(params: Params) -> Iterator[Problem]:
    """Every value that another value rules out."""
    yield from _models(params)
    yield from _start(params)
    yield from _folders(params)
    yield from _files(params)
    yield from _video(params)
    yield from _sources(params)
    yield from _lengths(params)
    yield from _filter(params.filter)
    yield from ((f"grpo.{place}", problem) for place, problem in grpo_contradictions(params.grpo))
    yield from _benchmarked(params)
    yield from _benchmark(params.benchmark)
    for number, skill in enumerate(params.world.curriculum):
        if not skill.mix:
            yield f"world.curriculum.{number}.mix", "no kind of row"
    if params.world.hidden_size % params.world.heads:
        yield "world.heads", f"{params.world.heads} does not divide world.hidden_size ({params.world.hidden_size})"


def grpo_contradictions(settings: Grpo) -> Iterator[Problem]:
    """Those within the section grpo; places without its name."""
    rows, rest = divmod(settings.prompts_per_step * settings.group, settings.group_ranks)
    if rest:
        yield "group_ranks", f"{settings.group_ranks} does not divide prompts_per_step * group"
    elif rows % (micro := settings.micro_batch or rows):
        yield "micro_batch", f"{micro} does not divide prompts_per_step * group / group_ranks = {rows}"
    sampling = settings.sampling
    if sampling.temperature <= 0:
        yield "sampling.temperature", f"{sampling.temperature}; answers must differ to be compared"
    if settings.sampled_by_vllm and settings.importance_cap is not None and sampling.top_p < 1:
        yield (
            "sampling.top_p",
            f"{sampling.top_p}; vLLM tells probabilities before the nucleus is cut, and importance weights want those "
            "sampled from: set it to 1, or grpo.importance_cap to null",
        )
    if settings.rollout_sleep is not None and settings.rollout_engine != "vllm":
        yield (
            "rollout_sleep",
            f"{settings.rollout_sleep}; only an engine beside the policy sleeps: set it to null, or "
            "grpo.rollout_engine to vllm",
        )
    yield from _server(settings)
    short = sampling.max_tokens >= settings.rollout_max_len and _written(settings, "sampling", "rollout_max_len")
    if settings.sampled_by_vllm and short:
        yield (
            "sampling.max_tokens",
            f"{sampling.max_tokens} leaves no room for a prompt in rollout_max_len ({settings.rollout_max_len})",
        )
    if settings.length is not None and settings.length.min_tokens > settings.length.max_tokens:
        yield "length.min_tokens", f"{settings.length.min_tokens} is above max_tokens ({settings.length.max_tokens})"


def _server(settings: Grpo) -> Iterator[Problem]:
    asked, server = settings.rollout_engine == "vllm_server", settings.rollout_server
    if asked and server is None:
        yield "rollout_server", "missing; rollout_engine: vllm_server wants {url: http://HOST:PORT}"
    if server is not None and not asked:
        yield (
            "rollout_server",
            f"{server.url}; rollout_engine: {settings.rollout_engine} asks no server: set it to null, or "
            "grpo.rollout_engine to vllm_server",
        )
    if asked and settings.lora.rank:
        yield "rollout_engine", "vllm_server takes whole weights; with grpo.lora use transformers"


def _models(params: Params) -> Iterator[Problem]:
    for name, folder in params.models.items():
        if not _NAME.fullmatch(name):
            yield f"models.{name}", "a name has letters, digits, '.', '_' and '-' alone"
        if not folder:
            yield f"models.{name}", "no folder"


def _benchmarked(params: Params) -> Iterator[Problem]:
    for name in params.benchmark.models or ():
        if name not in params.models:
            near = difflib.get_close_matches(name, params.models, n=1)
            yield "benchmark.models", f"no model '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")


def _start(params: Params) -> Iterator[Problem]:
    start = params.start
    if start.at != "teacher" and start.path is None:
        yield "start.path", f"missing; starting at {start.at} needs it"
    if start.at == "teacher" and start.path not in (None, params.models.get("teacher")):
        yield "start.path", f"{start.path} is not models.teacher ({params.models.get('teacher')})"
    if start.at == "cot" and sources_of(start, params.ingest)[0].media_root is None:
        yield "start.media_root", "missing, and the train sources have not one media root that could be taken"


def _folders(params: Params) -> Iterator[Problem]:
    """Folders that DVC would read whole for a stage, and that hold more than the stage's data.

    The project's own folder is not among them, for DVC refuses that by itself.
    """
    given = {"data_root": params.data_root, "benchmark.annotations_root": params.benchmark.annotations_root}
    given |= {f"models.{name}": folder for name, folder in params.models.items()}
    given |= {"start.path": params.start.path or "."}
    project, home = os.path.abspath("."), os.path.expanduser("~")
    for place, folder in given.items():
        whole = os.path.abspath(folder)
        if whole == project:
            continue
        if whole == home or _lies_in(project, whole):
            yield place, f"{folder} holds far more than is meant; DVC would read every file in it"
        elif inner := [path for path in WRITTEN if _lies_in(path, whole) and os.path.abspath(path) != whole]:
            yield place, f"{folder} holds {inner[0]}, which the pipeline writes; name a folder of its own"


def _files(params: Params) -> Iterator[Problem]:
    """Files that DVC would not see change, for they lie outside the folder that it watches."""
    watched = [
        (f"ingest.sources.{number}.annotations", source.annotations, "data_root", params.data_root)
        for number, source in enumerate(params.ingest.sources)
    ]
    if params.start.at == "cot":
        watched.append(("start.path", params.start.path, "data_root", params.data_root))
    root = params.benchmark.annotations_root
    for number, suite in enumerate(params.benchmark.suites):
        place = f"benchmark.suites.{number}"
        watched.append((f"{place}.annotations", suite.annotations, "benchmark.annotations_root", root))
        watched.append((f"{place}.video_r1_file", suite.video_r1_file, "benchmark.annotations_root", root))
    for place, file, name, folder in watched:
        if file is not None and not _lies_in(file, folder):
            yield place, f"{file} lies outside {name} ({folder}); DVC would not see it change"


def _lies_in(file: str | Path, folder: str | Path) -> bool:
    """Whether a path leads into a folder, or to it; links are not followed."""
    file, folder = os.path.abspath(file), os.path.abspath(folder)
    return os.path.commonpath([file, folder]) == folder


def _video(params: Params) -> Iterator[Problem]:
    video = params.video
    if video.min_frames > video.frames and _written(video, "min_frames", "frames"):
        yield "video.min_frames", f"{video.min_frames} is above video.frames ({video.frames})"
    if video.min_pixels > video.max_pixels and _written(video, "min_pixels", "max_pixels"):
        yield "video.min_pixels", f"{video.min_pixels} is above video.max_pixels ({video.max_pixels})"


def _sources(params: Params) -> Iterator[Problem]:
    """Rendered splits that would show the same scenes."""
    seeds: dict[int, str] = {}
    for number, source in enumerate(params.ingest.sources):
        if source.format != "world":
            continue
        if seeds.setdefault(source.seed, source.split) != source.split:
            yield f"ingest.sources.{number}.seed", f"{source.seed} is that of a source of another split"


def _lengths(params: Params) -> Iterator[Problem]:
    """Completions that leave a checkpoint no room for a prompt; an endpoint has a length of its own."""
    room = params.engine.max_model_len
    asked = params.models.get("teacher") if params.start.at == "teacher" else None
    lengths: list[tuple[str, Iterable[str], Annotate | Benchmark]] = [
        ("annotate", [asked] if asked else [], params.annotate),
        ("benchmark", params.models.values(), params.benchmark),
    ]
    for stage, models, section in lengths:
        tokens, written = section.sampling.max_tokens, _written(params.engine, "max_model_len")
        checkpoints = [model for model in models if not model.endswith((".yaml", ".yml"))]
        if tokens >= room and checkpoints and written and _written(section, "sampling"):
            yield (
                f"{stage}.sampling.max_tokens",
                f"{tokens} leaves no room for a prompt in engine.max_model_len ({room})",
            )


def _filter(section: Filter) -> Iterator[Problem]:
    low, high = section.min_think_chars, section.max_think_chars
    if low > high and _written(section, "min_think_chars", "max_think_chars"):
        yield (
            "filter.min_think_chars",
            f"{low} is above max_think_chars ({high})",
        )


def _benchmark(section: Benchmark) -> Iterator[Problem]:
    if "ordered" not in section.views:
        yield "benchmark.views", "ordered is missing"
    suites = [(suite.name, suite.subset or "all of it") for suite in section.suites]
    lists: list[tuple[str, Iterable[object]]] = [
        ("views", section.views),
        ("frames", section.frames),
        ("test_frames", section.test_frames or ()),
        ("suites", suites),
    ]
    for name, values in lists:
        if twice := _twice(values):
            yield f"benchmark.{name}", f"{twice} stands twice"
    for number, suite in enumerate(section.suites):
        if twice := _twice(suite.protocols):
            yield f"benchmark.suites.{number}.protocols", f"{twice} stands twice"


def _written(section: Section, *fields: str) -> bool:
    """Whether the file has all of these fields: two defaults, or a value and a default, are no contradiction."""
    return section.model_fields_set.issuperset(fields)


def _twice(values: Iterable[object]) -> str:
    """The first value that was there before, in words; "" where there is none."""
    before: list[object] = []
    for value in values:
        if value in before:
            return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        before.append(value)
    return ""
