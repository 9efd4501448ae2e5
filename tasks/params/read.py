"""The whole of params.yaml, read and checked."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from tasks import paths
from tasks.params.benchmark import Benchmark, Report
from tasks.params.common import Engine, Prompt, Section, Video
from tasks.params.data import Annotate, Filter, Ingest, Validate
from tasks.params.grpo import Grpo
from tasks.params.sft import Sft
from tasks.params.world import World


class ParamsError(ValueError):
    """params.yaml is missing, malformed or holds an unknown key; the text says which and what is valid."""


class Params(Section):
    """The whole of params.yaml."""

    seed: int = 0
    data_root: str = "data/raw"
    """Folder of the record files of `video_r1` sources; a change in it reruns ingest. Media may lie elsewhere."""
    models: dict[str, str]
    """Model name -> folder. `base` and `teacher` are inputs; every name is a row of the benchmark."""
    prompt: Prompt = Prompt()
    video: Video = Video()
    engine: Engine = Engine()
    world: World = World()
    ingest: Ingest
    validate_: Validate = Field(Validate(), alias="validate")
    annotate: Annotate = Annotate()
    filter: Filter = Filter()
    sft: Sft = Sft()
    grpo: Grpo = Grpo()
    benchmark: Benchmark = Benchmark()
    report: Report = Report()


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check a params file.

    Raises:
        ParamsError: missing file, bad YAML, unknown key (with the nearest valid name) or bad value (with its place).
    """
    if not path.exists():
        raise ParamsError(
            f"{path}: no such file; run from the project root, or `python -m tasks.profile mini` to make one"
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    try:
        loaded = Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(path, item) for item in error.errors())) from error
    for number, source in enumerate(loaded.ingest.sources):
        if source.annotations is not None and not Path(source.annotations).is_relative_to(loaded.data_root):
            place = f"ingest.sources.{number}.annotations: {source.annotations}"
            reason = f"lies outside data_root ({loaded.data_root}); DVC would not see it change"
            raise ParamsError(f"{path}: {place} {reason}")
    return loaded


def _explain(path: Path, item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{path}: {place}: {item['msg']} (got {item['input']!r})"
    *parents, key = [str(part) for part in item["loc"]]
    near = difflib.get_close_matches(key, _fields(parents), n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(sorted(_fields(parents)))}"
    return f"{path}: unknown key '{place}'{hint}"


def _fields(parents: list[str]) -> list[str]:
    """Valid keys of the section at `parents` (list indices are skipped)."""
    model: Any = Params
    for part in parents:
        if part.isdigit():
            continue
        fields = {(f.alias or n): f for n, f in model.model_fields.items()}
        model = _section_of(fields[part].annotation)
    return [f.alias or n for n, f in model.model_fields.items()]


def _section_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _section_of(argument)) is not None:
            return found
    return None
