"""Records to engine requests: decode the clip once, render the chat, derive the seed."""

from __future__ import annotations

from tasks.core.engine.types import Engine, Request
from tasks.core.io.seeds import derive_seed
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record
from tasks.core.video import Clip, ReadClip, VideoError


def read_clip(record: Record, read: ReadClip) -> Clip | str:
    """A record's clip, or why it cannot be read: one broken file costs one row."""
    try:
        return read(record.path, record.data_type)
    except VideoError as error:
        return str(error)


def build_request(
    engine: Engine, record: Record, clip: Clip | None, *, key: str, template: str, system: str, seed: int
) -> Request:
    """Request of one question; without a clip the prompt has no placeholder either.

    The request's seed depends on the run seed, the problem and the key alone, never on its place in a batch.
    """
    chat = messages(record, template=template, system=system, medium=clip is not None)
    return Request(key, engine.render(chat), clip, record.data_type, derive_seed(seed, record.problem_id, key))
