"""What a rehearsal begins with: data in the published layout and a checkpoint."""

from __future__ import annotations

import resource
from pathlib import Path

from measure.rehearsal.checkpoint import keys_of, make_checkpoint, size_of
from measure.rehearsal.data import write_data
from measure.rehearsal.settings import BASE, ROOT, Rehearsal

CLIPS = ("slide.mp4", "turn.mp4")


def make(folder: Path, asked: Rehearsal) -> tuple[str, resource.struct_rusage]:
    """Write both below `folder`: what they are, and what making them used of this process."""
    clips = [path for name in CLIPS if (path := ROOT / "tests/fixtures/clips" / name).is_file()]
    media = write_data(folder / "data", clips)
    parameters = make_checkpoint(folder / BASE, size_of(asked.size, asked.layers), "cuda" if asked.gpu else "cpu")
    shards = len(set(keys_of(folder / BASE).values()))
    summary = f"{parameters / 1e9:.3f}e9 weights, {shards} shards, {media} media"
    return summary, resource.getrusage(resource.RUSAGE_SELF)
