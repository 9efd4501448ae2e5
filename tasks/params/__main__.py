"""`python -m tasks.params`: write docs/params.md, every field of params.yaml from the classes that read it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tasks.core.io.atomic import write_text
from tasks.core.io.cli import run_stage
from tasks.params.read import Params

PAGE = Path("docs/params.md")
HEAD = """# params.yaml, field by field

Made by `python -m tasks.params` from the classes in `tasks/params` and `tasks/grpo/objectives`. An unknown key is
refused with the nearest valid name. A default stands for a field that is left out; the profiles leave none out.
"""
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "at least"}
"""Words for the bounds of a field."""


def page() -> str:
    """The whole of docs/params.md."""
    places: dict[type[BaseModel], list[str]] = {}
    for place, model in _sections("", Params):
        if place not in places.setdefault(model, []):
            places[model].append(place)
    parts = [HEAD]
    for model, where in places.items():
        parts += [f"## {'; '.join(where)}\n"] if model is not Params else []
        parts += [*_text(model), *_table(model)]
    return "\n".join(parts).rstrip() + "\n"


def _sections(place: str, model: type[BaseModel], kind: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """A section and those within it, each with its place; of a union every member, told apart by its kind."""
    yield place + kind, model
    for name, field in model.model_fields.items():
        inner = list(dict.fromkeys(_models(field.annotation)))
        for each in inner:
            kind = f", kind {each.model_fields['kind'].default}" if len(inner) > 1 else ""
            yield from _sections(f"{place}.{field.alias or name}".lstrip("."), each, kind)


def _text(model: type[BaseModel]) -> Iterator[str]:
    """What a class says of itself; of a kind that has a file of its own, the head of that file."""
    head = sys.modules[model.__module__].__doc__ or ""
    if "Formula:" in head:
        first, _, rest = inspect.cleandoc(head).partition("\n\n")
        yield f"{first}\n\n```text\n{rest}\n```\n"
    elif model.__doc__ and model is not Params:
        yield f"{inspect.cleandoc(model.__doc__)}\n"


def _table(model: type[BaseModel]) -> Iterator[str]:
    """A row for each field."""
    yield "| field | value | default | meaning |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        bounds = [f"{LIMITS[key]} {value}" for rule in field.metadata for key, value in _bounds(rule)]
        meaning = " ".join((field.description or "").split())
        cells = [f"`{field.alias or name}`", ", ".join([_value(field.annotation), *bounds]), _default(field), meaning]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _bounds(rule: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a constraint's bounds."""
    return ((key, getattr(rule, key)) for key in LIMITS if getattr(rule, key, None) is not None)


def _value(annotation: Any) -> str:
    """What a field may hold, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (list, tuple):
        return f"list of {_value(arguments[0])}"
    if origin is dict:
        return f"{_value(arguments[0])} -> {_value(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        return _value(arguments[0])
    if arguments:
        return " or ".join(dict.fromkeys(_value(argument) for argument in arguments))
    if annotation is NoneType:
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {str: "text", bool: "true, false", int: "whole number", float: "number"}[annotation]


def _default(field: FieldInfo) -> str:
    """A field's default as params.yaml spells it; nothing where there is none, and a word for a whole section."""
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        kind = getattr(field.default, "kind", None)
        return f"`{{kind: {kind}}}`" if kind else "its defaults"
    value = (
        [each.model_dump() if isinstance(each, BaseModel) else each for each in field.default]
        if isinstance(field.default, (list, tuple))
        else field.default
    )
    return f"`{yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}`"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Section classes in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def main() -> int:
    """Write the page."""
    write_text(PAGE, page())
    print(f"params: {PAGE}")
    return 0


if __name__ == "__main__":
    run_stage(main, about=__doc__)
