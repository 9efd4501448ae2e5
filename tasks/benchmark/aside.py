"""Answer logs of a model that is left out: kept below its folder, where neither gate nor report reads them."""

from __future__ import annotations

from pathlib import Path

ASIDE = "aside"


def set_aside(folder: Path) -> int:
    """Move a model's logs aside; returns how many lie there."""
    (folder / ASIDE).mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.jsonl"):
        path.replace(folder / ASIDE / path.name)
    return len(list((folder / ASIDE).glob("*.jsonl")))


def take_back(folder: Path) -> None:
    """Undo it, so that what was answered is not asked again."""
    for path in (folder / ASIDE).glob("*.jsonl"):
        path.replace(folder / path.name)
    if (folder / ASIDE).is_dir():
        (folder / ASIDE).rmdir()
