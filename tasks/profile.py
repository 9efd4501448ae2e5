"""Lay a profile over params.yaml: `python -m tasks.profile mini|video_r1_7b`.

Prints each value that changes. A profile is a whole params file, so nothing of the old one stays; git has it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks import params, paths
from tasks.core.io.atomic import write_text

PROFILES = Path("profiles")


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


def main(arguments: list[str] | None = None) -> int:
    """Copy the profile; 0 when params.yaml holds it."""
    parser = argparse.ArgumentParser(prog="python -m tasks.profile", description="Lay a profile over params.yaml.")
    parser.add_argument("name", help="a file name in profiles/, without .yaml")
    name = parser.parse_args(arguments).name
    try:
        source = find(name)
        params.load(source)
    except (ProfileError, params.ParamsError) as error:
        print(error, file=sys.stderr)
        return 1
    text = source.read_text()
    old = yaml.safe_load(paths.PARAMS.read_text()) if paths.PARAMS.exists() else {}
    listed = changes(old or {}, yaml.safe_load(text))
    write_text(paths.PARAMS, text)
    for change in listed:
        print(f"{change.place}: {change.old} -> {change.new}")
    print(f"params.yaml is now {source} ({len(listed)} values changed)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
