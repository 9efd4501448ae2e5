"""Lay a profile over params.yaml: `python -m tasks.profile mini|video_r1_7b|.. [--start cot=FILE | sft=FOLDER]`.

Prints each value that changes. A profile is a whole params file, so nothing of the old one stays; git has it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks import params, paths
from tasks.core.io.atomic import write_text

PROFILES = Path("profiles")
_START = re.compile(r"^start: \{.*\}\n", re.MULTILINE)


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
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none; run from the project root"
        raise ProfileError(f"no profile '{name}'; profiles: {known}")
    return path


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

    Raises:
        ProfileError: neither of these, or the text has not the one line of `start`.
    """
    at, equals, path = start.partition("=")
    if at not in ("cot", "sft") or not equals or not path:
        raise ProfileError(f"--start {start}: cot=FILE or sft=FOLDER is wanted")
    text, count = _START.subn(lambda _: f"start: {{at: {at}, path: {json.dumps(path)}, media_root: null}}\n", text)
    if count != 1:
        raise ProfileError(f"the profile has {count} lines `start: {{..}}`, one is wanted")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Copy the profile; 0 when params.yaml holds it."""
    parser = argparse.ArgumentParser(prog="python -m tasks.profile", description="Lay a profile over params.yaml.")
    parser.add_argument("name", help="a file name in profiles/, without .yaml")
    parser.add_argument(
        "--start", metavar="cot=FILE | sft=FOLDER", help="begin with a file of reasoning, or with a checkpoint"
    )
    given = parser.parse_args(arguments)
    try:
        source = find(given.name)
        params.load(source)
        text = source.read_text()
        if given.start is not None:
            text = started_at(text, given.start)
    except (ProfileError, params.ParamsError) as error:
        print(error, file=sys.stderr)
        return 1
    old = yaml.safe_load(paths.PARAMS.read_text()) if paths.PARAMS.exists() else {}
    listed = changes(old or {}, yaml.safe_load(text))
    write_text(paths.PARAMS, text)
    for change in listed:
        print(f"{change.place}: {change.old} -> {change.new}")
    print(f"params.yaml is now {source} ({len(listed)} values changed)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
