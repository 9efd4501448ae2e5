"""The whole of params.yaml, read and checked."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from tasks import paths
from tasks.params.benchmark import Benchmark, Report
from tasks.params.common import Engine, Prompt, Section, Video
from tasks.params.contradictions import contradictions
from tasks.params.data import Annotate, Filter, Ingest, Start, Validate
from tasks.params.grpo import Grpo
from tasks.params.sft import Sft
from tasks.params.world import World

GOT_CHARS = 80
"""Most characters of a wrong value that an error shows."""


class ParamsError(ValueError):
    """params.yaml is missing, malformed or holds an unknown key; the text says which and what is valid."""


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Of all that stages draw: order of rows, completions, shuffles. Sources have their own."""
    data_root: str = Field("data/raw", min_length=1)
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
        """Folder of the teacher; the caller has seen that it is asked.

        Raises:
            ParamsError: no model of that name.
        """
        return self.start.path or self._model("teacher")

    def base(self) -> str:
        """Folder of the model that SFT begins with.

        Raises:
            ParamsError: no model of that name.
        """
        return self._model("base")

    def policy(self) -> str:
        """Folder of the checkpoint that training begins with: `base`, or the one that `start` takes as SFT's.

        Raises:
            ParamsError: no model of that name.
        """
        return str(self.start.path) if self.start.at == "sft" else self.base()

    def _model(self, name: str) -> str:
        if name not in self.models:
            raise ParamsError(f"{paths.PARAMS}: models.{name}: missing")
        return self.models[name]

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
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8 text") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Params:
    """Check the text of a params file; `path` is what errors name.

    Raises:
        ParamsError: bad YAML, unknown key (with the nearest valid name) or bad value (with its place).
    """
    try:
        raw = yaml.load(text, PlainYaml)
    except (yaml.YAMLError, RecursionError) as error:
        raise ParamsError(f"{path}: not valid YAML: {_yaml_problem(error)}") from error
    if raw is None:
        raise ParamsError(f"{path}: empty; `python -m tasks.profile mini` writes a whole one")
    try:
        loaded = Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(path, item) for item in error.errors())) from error
    if problems := [f"{path}: {place}: {problem}" for place, problem in contradictions(loaded)]:
        raise ParamsError("\n".join(problems))
    return loaded


def _yaml_problem(error: yaml.YAMLError | RecursionError) -> str:
    """What the YAML reader stumbled over, and where, in one line."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
    problem = error.problem or ""
    if "'\\t'" in problem:
        problem += " (a tab; indent with spaces)"
    mark = error.problem_mark or error.context_mark
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


class PlainYaml(yaml.SafeLoader):
    """YAML as DVC reads it too: a key stands once in its mapping, and a whole number is what it looks like.

    PyYAML takes the last of two keys silently, 0100 for 64 and 1:40 for 100.
    """

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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value.

        Raises:
            yaml.constructor.ConstructorError: a scalar that is not what it looks like or is tagged as, as 2020-13-45.
        """
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # PyYAML reads scalars without checking them
            reason = f"{str(node.value)[:GOT_CHARS]!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from error

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        """A whole number.

        Raises:
            yaml.constructor.ConstructorError: it begins with a 0, or counts by sixties.
        """
        digits = node.value.lstrip("+-")
        if ":" in digits or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()):
            raise yaml.constructor.ConstructorError(None, None, f"{node.value} is no plain number", node.start_mark)
        return int(self.construct_yaml_int(node))


PlainYaml.add_constructor("tag:yaml.org,2002:int", PlainYaml.construct_whole_number)


def _explain(path: Path, item: Any) -> str:
    parts, section, kind = _walk(item["loc"])
    place = ".".join(parts)
    if item["type"] == "union_tag_invalid":
        known = item["ctx"]["expected_tags"].replace("'", "")
        return f"{path}: {place}.kind: no kind '{item['ctx']['tag']}'; one of {known}"
    if item["type"] == "union_tag_not_found":
        return f"{path}: {place}.kind: missing"
    if item["type"] != "extra_forbidden":
        return f"{path}: {f'{place}: ' if place else ''}{_wanted(item)}"
    valid = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(parts[-1], valid, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(sorted(valid))}"
    return f"{path}: unknown key '{place}'{f' for kind {kind}' if kind else ''}{hint}"


def _wanted(item: Any) -> str:
    """What a value should be, and what it is."""
    if item["type"] == "missing":
        return "missing"
    wanted = item["msg"].removeprefix("Value error, ")
    if item["type"] in ("model_type", "dict_type", "model_attributes_type"):
        wanted = "`name: value` lines are wanted"
    return f"{wanted} (got {textwrap.shorten(repr(item['input']), GOT_CHARS)})"


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
