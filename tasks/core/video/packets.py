"""What the packets of a video tell without decoding: which frames there are, and which packets a frame needs.

    packets as stored   I0 P3 B1 B2 | I4 P7 B5 B6      number: place in the order shown; I: decoding can start here
    wanted 2            decode I0 P3 B1 B2, and B1 only if another frame refers to it
    wanted 6            decode I4 P7 B5 B6

What lies before a span is skipped, not decoded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

FAMILIES = ("mov", "matroska")
"""Containers that hold one timestamp a frame and say where decoding can start: MP4, MOV, 3GP; MKV, WebM."""
CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "h263", "mjpeg", "prores", "ffv1"})
"""Codecs whose packets in those containers hold one frame each."""


class Packet(NamedTuple):
    """One packet, without its data."""

    tick: int | None
    """When its frame appears."""
    is_key: bool
    """Decoding can start here."""
    is_hidden: bool
    """Decoded, as others may need it, and never shown: cut away by an edit list, or a reference picture only."""
    is_damaged: bool


class Index(NamedTuple):
    """All packets of a video stream, as stored."""

    packets: list[Packet]
    time_base: Fraction
    """Seconds of a tick."""
    end: int
    """Tick at which the last frame is gone, as far as its packet tells."""
    header_rates: tuple[Fraction | None, ...]
    container: str
    codec: str


class Span(NamedTuple):
    """Packets to decode in a row, both ends included."""

    first: int
    last: int


def doubt(index: Index) -> str:
    """Why the packets do not tell the frames, so that all have to be decoded to know; "" when they do."""
    shown = [packet for packet in index.packets if not packet.is_hidden]
    ticks = {packet.tick for packet in shown}
    if not index.container.startswith(FAMILIES):
        return f"container {index.container}"
    if index.codec not in CODECS:
        return f"codec {index.codec}"
    if not shown or None in ticks or len(ticks) < len(shown):
        return "frames without a timestamp of their own"
    first = index.packets[0]
    if not first.is_key or any(packet.tick is None for packet in index.packets):
        return "decoding cannot start at the first packet"
    if any((packet.tick or 0) < (first.tick or 0) for packet in shown):
        return "frames that refer to what was cut away"
    return ""


def is_in_order(packets: Sequence[Packet]) -> bool:
    """Whether the timestamps say that frames are shown in the order in which they are stored."""
    ticks = [packet.tick or 0 for packet in packets]
    return all(a <= b for a, b in pairwise(ticks))


def spans(packets: Sequence[Packet], wanted: Iterable[int]) -> list[Span]:
    """The packets to decode for the `wanted` ones, in order; spans that touch are joined.

    Decoding starts at the last key packet at or before the wanted one. A frame shown before the key frame that is
    stored ahead of it may refer to what lies before that key frame, and starts at the one before.

    Args:
        packets: as stored; the first is a key packet.
        wanted: places in `packets`.
    """
    keys = [place for place, packet in enumerate(packets) if packet.is_key]
    joined: list[Span] = []
    for place in sorted(set(wanted)):
        key = bisect_right(keys, place) - 1
        while key > 0 and (packets[place].tick or 0) < (packets[keys[key]].tick or 0):
            key -= 1
        first = keys[key]
        if joined and first <= joined[-1].last + 1:
            joined[-1] = Span(min(first, joined[-1].first), place)
        else:
            joined.append(Span(first, place))
    return joined


def is_invisible(codec: str, data: bytes) -> bool:
    """Whether a packet holds only a picture that others refer to and nobody sees.

    Args:
        codec: "vp8" (RFC 6386, section 9.1) or "vp9" (bitstream specification, sections 6.2 and B.3).
        data: of the packet.
    """
    if codec == "vp8":
        return not data[0] >> 4 & 1
    if data[-1] >> 5 == 0b110:  # Several pictures, of which one is shown.
        return False
    bits = f"{data[0]:08b}"
    shows_another = 5 if bits[2:4] == "11" else 4  # Profile 3 has a reserved bit before it.
    is_shown = shows_another + 2
    return bits[shows_another] == "0" and bits[is_shown] == "0"
