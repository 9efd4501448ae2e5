"""Lay a profile over params.yaml: `python -m tasks.profile mini|video_r1_7b|.. [--start cot=FILE | sft=FOLDER]`.

Prints each value that changes. A profile is a whole params file, so nothing of the old one stays; git has it. One that
begins with `base: NAME` is the profile of that name but for the values that it holds, each with its own remark:

    base: video_r1_7b
    grpo:
      group_ranks: 2  # why

A mapping in braces replaces the base's whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks import params, paths
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.errors import reason_of

PROFILES = Path("profiles")
_START = re.compile(r"^start: \{.*\}\n", re.MULTILINE)
_TEACHER = re.compile(r"(?<=\n)(models:\n(?:  .*\n)*?)  teacher: .*\n")


class Change(NamedTuple):
    """One value that differs between two params files."""

    place: str
    old: str
    new: str


class ProfileError(ValueError):
    """No profile of that name; the text lists those that exist."""


def find(name: str, folder: Path = PROFILES) -> Path:
    """Path of a profile.

    Raises:
        ProfileError: no such profile.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file() or path.parent != folder:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none; run from the project root"
        raise ProfileError(f"no profile '{name}'; profiles: {known}")
    return path


def text_of(name: str, folder: Path = PROFILES) -> str:
    """A profile as a whole params file.

    Raises:
        ProfileError: no such profile, or none that can be read; or it names a base that is none, or a value that its
            base has not.
    """
    text, tree = _read(find(name, folder))
    if not isinstance(tree, yaml.MappingNode) or not tree.value or tree.value[0][0].value != "base":
        return text
    base_name, values = tree.value[0][1].value, yaml.MappingNode(tree.tag, tree.value[1:], flow_style=False)
    base, base_tree = _read(find(base_name, folder))
    if not isinstance(base_tree, yaml.MappingNode) or base_tree.value[0][0].value == "base":
        raise ProfileError(f"profile '{name}': its base '{base_name}' must be a whole params file")
    edits = list(_edits(name, values, base_tree, text, base))
    for start, end, line in sorted(edits, reverse=True):
        base = base[:start] + line + base[end:]
    return _remarks(text) + base.removeprefix(_remarks(base))


def _read(path: Path) -> tuple[str, yaml.Node | None]:
    """Text of a file, and its YAML tree.

    Raises:
        ProfileError: it cannot be read, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return text, yaml.compose(text, yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot be read: {reason_of(error)}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ProfileError(f"{path}: not YAML: {reason_of(error)}") from error


def _edits(
    name: str, values: yaml.MappingNode, base: yaml.MappingNode, text: str, base_text: str, place: str = ""
) -> Iterator[tuple[int, int, str]]:
    """(start, end, lines) of what replaces a part of the base's text: keys with their values and remarks.

    Raises:
        ProfileError: the base has no such key.
    """
    there = {key.value: (key, value) for key, value in base.value}
    for key, value in values.value:
        if key.value not in there:
            raise ProfileError(f"profile '{name}': its base has no {place}{key.value}")
        old_key, old = there[key.value]
        blocks = all(isinstance(node, yaml.MappingNode) and not node.flow_style for node in (value, old))
        if blocks:
            yield from _edits(name, value, old, text, base_text, f"{place}{key.value}.")
            continue
        start, end = key.start_mark.index, _line_end(text, value)
        yield old_key.start_mark.index, _line_end(base_text, old), text[start:end]


def _line_end(text: str, node: yaml.Node) -> int:
    """End of the line on which a value ends, its remark included."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    end = text.find("\n", node.end_mark.index)
    return len(text) if end < 0 else end


def _remarks(text: str) -> str:
    """The remarks at the head of a file."""
    return "".join(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """What differs, by dotted place, in the new file's order; values that are gone come last."""
    before, after = dict(leaves(old)), dict(leaves(new))
    places = [*after, *(place for place in before if place not in after)]
    return [
        Change(place, before.get(place, "(none)"), after.get(place, "(none)"))
        for place in places
        if before.get(place) != after.get(place)
    ]


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Dotted place and text of every value; a list counts as one value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{place}.{key}" if place else str(key))
    else:
        yield place, yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()


def started_at(text: str, start: str) -> str:
    """A params file that begins elsewhere; `start` is "cot=FILE" or "sft=FOLDER".

    A teacher that the benchmark leaves out is then asked by nobody, and its row goes: DVC wants every model's folder.

    Raises:
        ProfileError: neither of these, or the text has not the one line of `start`.
    """
    at, equals, path = start.partition("=")
    if at not in ("cot", "sft") or not equals or not path:
        raise ProfileError(f"--start {start}: cot=FILE or sft=FOLDER is wanted")
    text, count = _START.subn(lambda _: f"start: {{at: {at}, path: {json.dumps(path)}, media_root: null}}\n", text)
    if count != 1:
        raise ProfileError(f"the profile has {count} lines `start: {{..}}`, one is wanted")
    benchmarked = (yaml.safe_load(text).get("benchmark") or {}).get("models")
    return text if benchmarked is None or "teacher" in benchmarked else _TEACHER.sub(r"\1", text)


def present(path: Path) -> dict[str, Any]:
    """Values of the params file that is replaced; none where there is no file, or none that can be read."""
    try:
        values = yaml.safe_load(path.read_bytes())
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def main(arguments: list[str] | None = None) -> int:
    """Copy the profile.

    Raises:
        ProfileError: no such profile, one whose base is none, or a start that is none.
        ParamsError: a profile that is no params file.
    """
    parser = OneLineParser(prog="python -m tasks.profile", description="Lay a profile over params.yaml.")
    parser.add_argument("name", help="a file name in profiles/, without .yaml")
    parser.add_argument(
        "--start", metavar="cot=FILE | sft=FOLDER", help="begin with a file of reasoning, or with a checkpoint"
    )
    given = parser.parse_args(arguments)
    source = find(given.name)
    text = text_of(given.name)
    params.parse(text, source)
    if given.start is not None:
        text = started_at(text, given.start)
    listed = changes(present(paths.PARAMS), yaml.safe_load(text))
    write_text(paths.PARAMS, text)
    for change in listed:
        print(f"{change.place}: {change.old} -> {change.new}")
    print(f"params.yaml is now {source} ({len(listed)} values changed)")
    return 0


if __name__ == "__main__":
    run_tool(main, ProfileError, params.ParamsError)
