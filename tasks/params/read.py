"""The whole of params.yaml, read and checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from tasks import paths
from tasks.params.benchmark import Benchmark, Report
from tasks.params.common import Engine, Prompt, Section, Video
from tasks.params.data import Annotate, Filter, Ingest, Start, Validate, sources_of
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
    """Model name -> folder. `base` and `teacher` are inputs; every name is a row of the benchmark, unless
    `benchmark.models` leaves it out."""
    start: Start = Start()
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

    def teacher(self) -> str:
        """Folder of the teacher; the caller has seen that it is asked."""
        return self.start.path or self.models["teacher"]

    def benchmarked(self) -> list[str]:
        """Names of the models that the benchmark asks, in the order of `models`."""
        chosen = self.benchmark.models
        return [name for name in self.models if chosen is None or name in chosen]


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check a params file.

    Raises:
        ParamsError: missing file, or see `parse`.
    """
    if not path.exists():
        raise ParamsError(
            f"{path}: no such file; run from the project root, or `python -m tasks.profile mini` to make one"
        )
    return parse(path.read_text(), path)


def parse(text: str, path: Path) -> Params:
    """Check the text of a params file; `path` is what errors name.

    Raises:
        ParamsError: bad YAML, unknown key (with the nearest valid name) or bad value (with its place).
    """
    try:
        raw = yaml.load(text, UniqueKeys)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    try:
        loaded = Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(path, item) for item in error.errors())) from error
    for place, problem in _problems(loaded):
        raise ParamsError(f"{path}: {place}: {problem}")
    return loaded


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key stands once in its mapping, as DVC reads it too; PyYAML takes the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            yaml.constructor.ConstructorError: a key stands twice; names it and the lines.
        """
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in lines:
                reason = f"the key '{key}' stands twice, in lines {lines[key]} and {line}"
                raise yaml.constructor.ConstructorError(None, None, reason)
            lines[key] = line
        return super().construct_mapping(node, deep)


def _problems(loaded: Params) -> Iterator[tuple[str, str]]:
    """(place, what is wrong) of values that do not go together."""
    files = [
        (f"ingest.sources.{number}.annotations", source.annotations)
        for number, source in enumerate(loaded.ingest.sources)
    ]
    start = loaded.start
    if start.at == "cot":
        files.append(("start.path", start.path))
    for place, file in files:
        if file is not None and not Path(file).is_relative_to(loaded.data_root):
            yield place, f"{file} lies outside data_root ({loaded.data_root}); DVC would not see it change"
    if start.at != "teacher" and start.path is None:
        yield "start.path", f"missing; starting at {start.at} needs it"
    if start.at == "teacher" and start.path not in (None, loaded.models.get("teacher")):
        yield "start.path", f"{start.path} is not models.teacher ({loaded.models.get('teacher')})"
    for name in loaded.benchmark.models or ():
        if name not in loaded.models:
            near = difflib.get_close_matches(name, loaded.models, n=1)
            yield "benchmark.models", f"no model '{name}'" + (f"; did you mean '{near[0]}'?" if near else "")
    if start.at == "cot" and sources_of(start, loaded.ingest)[0].media_root is None:
        yield "start.media_root", "missing, and the train sources have not one media root that could be taken"


def _explain(path: Path, item: Any) -> str:
    parts, section, kind = _walk(item["loc"])
    place = ".".join(parts)
    if item["type"] == "union_tag_invalid":
        known = item["ctx"]["expected_tags"].replace("'", "")
        return f"{path}: {place}.kind: no kind '{item['ctx']['tag']}'; one of {known}"
    if item["type"] == "union_tag_not_found":
        return f"{path}: {place}.kind: missing"
    if item["type"] != "extra_forbidden":
        return f"{path}: {place}: {item['msg']} (got {item['input']!r})"
    valid = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(parts[-1], valid, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(sorted(valid))}"
    return f"{path}: unknown key '{place}'{f' for kind {kind}' if kind else ''}{hint}"


def _walk(loc: Sequence[str | int]) -> tuple[list[str], type[BaseModel], str | None]:
    """Follow an error's place through the sections.

    Returns:
        The place as params.yaml spells it; the innermost section in it; the kind that chose that section, if one did.
    """
    section: type[BaseModel] = Params
    kind: str | None = None
    shown: list[str] = []
    choices: dict[str, type[BaseModel]] = {}
    for part in map(str, loc):
        if part in choices:  # pydantic names the member of a union between its field and what is wrong in it
            section, kind, choices = choices[part], part, {}
            continue
        shown.append(part)
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        if part in fields:
            inner = list(_sections_of(fields[part].annotation))
            kinds = {model.model_fields["kind"].default: model for model in inner if "kind" in model.model_fields}
            choices = kinds if len(inner) > 1 else {}
            if len(inner) == 1:
                section, kind = inner[0], None
    return shown, section, kind


def _sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every section class in an annotation: one, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_of(argument)
