"""Media files are opened in children only: whoever reads one elsewhere can be hung or crashed by it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "tasks/core/video"
UNGUARDED = {"read_clip", "read_image", "read_media", "read_resized", "decode_frames", "decode_animation", "open_video"}
"""What reads a file in the process that calls it."""
DECODERS = {"av", "decord", "cv2", "torchcodec", "imageio", "pillow_heif"}
WRITES = {"tasks/core/world/render.py": {"av"}}
"""Modules that encode."""
MODULES = [path for path in (ROOT / "tasks").rglob("*.py") if not path.is_relative_to(ROOM)]


def imported(tree):
    """(module, name) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_stage_reads_a_media_file_itself(path):
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text())
    names = list(imported(tree))
    decoders = {module.split(".")[0] for module, _ in names} & DECODERS
    assert decoders <= WRITES.get(name, {"av"} if name == "tasks/ingest/facts.py" else set())
    taken = {name for module, name in names if module.startswith("tasks.core.video")}
    assert not taken & UNGUARDED
    opened = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == "Image.open"]
    assert not opened
