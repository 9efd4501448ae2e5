"""Videos to frames: those that a player shows, at the moments at which it shows them.

Two ways that give the same frames (a test holds them together, container by container):

    by packets   where the packets tell which frames there are (MP4, MKV and the like): only what the wanted frames need
                 is decoded, and every frame must come out with the timestamp that its packet had
    in order     everywhere else, and where that failed: all is decoded once to count, and again to keep what is wanted
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from tasks.core.video.animation import decode_animation, is_pillow_animation
from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.container import open_video, plain, read_index
from tasks.core.video.decoded import Chooser, Decoded, assemble, choose_frames
from tasks.core.video.folder import decode_folder
from tasks.core.video.orient import Painter
from tasks.core.video.packets import Index, doubt, is_in_order, spans
from tasks.core.video.picture import read_image
from tasks.core.video.timeline import Timeline, is_span_of, mended_ticks, sample_times, timeline, usable_ticks

SKIPS = frozenset({"h264", "hevc"})
"""Decoders that leave out, packet by packet, frames that nothing refers to."""


class _LostError(Exception):
    """A frame did not come out as its packet told."""


def read_clip(
    path: Path | str,
    *,
    frames: int,
    fps: float,
    min_frames: int,
    window_seconds: tuple[float, float] | None = None,
    folder_rate: float | None = None,
) -> Clip:
    """Sample a video by Video-R1's rule (`sample.py`) over time; decoding uses one thread.

    Args:
        path: video, or a folder whose pictures are the frames, in the order of their names.
        frames: upper bound of frames.
        fps: sampling rate aimed at.
        min_frames: lower bound of frames.
        window_seconds: first and last moment of the part to sample; None for the whole.
        folder_rate: pictures of a folder per second; None takes `fps`.

    Raises:
        VideoError: missing, undecodable, or fewer than two frames.
    """
    choose = partial(sample_times, frames=frames, fps=fps, min_frames=min_frames, window_seconds=window_seconds)
    if Path(path).is_dir():
        return decode_folder(path, folder_rate or fps, choose).clip
    return decode_frames(path, choose).clip


def read_media(path: Path | str, data_type: str, **sampling: Any) -> Clip:
    """`read_image`, or `read_clip` with its keyword arguments, by the record's `data_type`."""
    if data_type == "image":
        return read_image(path)
    return read_clip(path, **sampling)


def decode_frames(path: Path | str, choose: Chooser) -> Decoded:
    """Decode the frames that `choose` names.

    Raises:
        VideoError: missing or undecodable, or `choose` raised ValueError.
    """
    if is_pillow_animation(path):
        return decode_animation(path, choose)
    index = read_index(path)
    damaged = sum(packet.is_damaged for packet in index.packets)
    if damaged:
        raise VideoError(path, f"{damaged} damaged packets")
    if not doubt(index):
        try:
            return decode_by_packets(path, index, choose)
        except _LostError:
            pass
    return decode_in_order(path, index, choose)


def decode_by_packets(path: Path | str, index: Index, choose: Chooser) -> Decoded:
    """Decode what the chosen frames need; for an index without `doubt`.

    Raises:
        VideoError: as `decode_frames`.
    """
    order = sorted((packet.tick or 0, place) for place, packet in enumerate(index.packets) if not packet.is_hidden)
    shown = timeline([tick for tick, _ in order], index.time_base, index.end, index.header_rates)
    choice = choose_frames(path, choose, shown)
    wanted = {order[position][0] for position in choice.indices}
    kept: dict[int, NDArray[np.uint8]] = {}
    with open_video(path) as (container, stream):
        painter = Painter(stream.sample_aspect_ratio)
        runs = iter(spans(index.packets, (order[position][1] for position in choice.indices)))
        run = next(runs)
        # Packets told to be shown as they are stored, by a codec that shows them otherwise: are they?
        is_doubtful = stream.codec_context.has_b_frames and is_in_order(index.packets)
        newest = -(2**62)
        filled = (packet for packet in container.demux(stream) if packet.size)
        for place, packet in enumerate(filled):
            if place < run.first:
                continue
            context = stream.codec_context
            if index.codec in SKIPS:
                context.skip_frame = "DEFAULT" if packet.pts in wanted or is_doubtful else "NONREF"
            for frame in _frames_of(context, packet, is_last=place == run.last):
                shown_at = newest if frame.pts is None else frame.pts
                if is_doubtful and shown_at < newest:
                    raise _LostError
                newest = shown_at
                if frame.pts in wanted and not frame.is_corrupt:
                    kept[frame.pts] = painter.paint(frame)
            if place == run.last:
                context.flush_buffers()
                try:
                    run = next(runs)
                except StopIteration:
                    break
    if kept.keys() != wanted:
        raise _LostError
    pictures = [kept[order[position][0]] for position in choice.indices]
    return assemble(path, pictures, choice, shown, index.codec)


def decode_in_order(path: Path | str, index: Index, choose: Chooser) -> Decoded:
    """Decode everything twice: to count and time, then to keep the chosen frames; memory holds those only.

    Raises:
        VideoError: as `decode_frames`.
    """
    with open_video(path):
        times = [(frame.pts, frame.dts) for frame in _in_order(path)]
    if not times:
        raise VideoError(path, "no frame decodes")
    shown = _timeline_of(*zip(*times, strict=True), index=index)
    choice = choose_frames(path, choose, shown)
    wanted, kept = set(choice.indices), {}
    with open_video(path) as (_, stream):
        painter = Painter(stream.sample_aspect_ratio)
    for position, frame in enumerate(_in_order(path)):
        if position in wanted:
            kept[position] = painter.paint(frame)
        if len(kept) == len(wanted):
            break
    if kept.keys() != wanted:
        raise VideoError(path, "another number of frames when decoded again")
    return assemble(path, [kept[position] for position in choice.indices], choice, shown, index.codec)


def _frames_of(context: VideoCodecContext, packet: av.Packet, *, is_last: bool) -> Iterator[VideoFrame]:
    try:
        yield from context.decode(packet)
        if is_last:
            yield from context.decode(None)
    except av.FFmpegError as error:
        raise _LostError from error


def _in_order(path: Path | str) -> Iterator[VideoFrame]:
    """All frames in the order shown; packets before the first frame may fail, as they do where a recording begins."""
    has_begun = False
    with open_video(path) as (container, stream):
        for packet in container.demux(stream):
            if not packet.size and packet.buffer_ptr:
                continue
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError as error:
                if has_begun:
                    raise VideoError(path, f"does not decode: {plain(error)}") from error
                continue
            has_begun = has_begun or bool(frames)
            yield from frames


def _timeline_of(shown_at: Sequence[int | None], decoded_at: Sequence[int | None], *, index: Index) -> Timeline:
    """Timeline of decoded frames; where timestamps are of no use, at the header's rate, unless it contradicts them."""
    ticks = usable_ticks(shown_at, decoded_at)
    if ticks is not None:
        return timeline(ticks, index.time_base, index.end, index.header_rates)
    rate = next((rate for rate in index.header_rates if rate), Fraction(0))
    known = [tick for tick in shown_at if tick is not None]
    if len(known) == len(shown_at) and not (rate and is_span_of(known, index.time_base, rate)):
        mended = mended_ticks(known)
        if mended is not None:
            return timeline(mended, index.time_base, 0, index.header_rates)
    return timeline(range(len(shown_at)), 1 / rate if rate else Fraction(0), len(shown_at), (rate,))
