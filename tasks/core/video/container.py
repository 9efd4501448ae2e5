"""Video files opened by FFmpeg (PyAV): what is wrong with one becomes a VideoError, and nothing else leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tasks.core.video.clip import VideoError, lack_of_file
from tasks.core.video.packets import Index, Packet, is_invisible

# What FFmpeg mutters about a damaged file says less than the error that follows.
av.logging.set_level(None)

DEMUXERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,live_flv,ogg,gif,apng,ivf,obu,av1,h264,hevc,h263,m4v,mjpeg,vc1,nut,mxf,rm,"
    "wtv,dv,yuv4mpegpipe,vvc,gxf,swf,roq"
)
"""Containers that hold a video themselves. Playlists (HLS, DASH, concat) are left out: they lead to other files."""
OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
"""A file is a file: nothing else is opened, on this disk or over a network."""


@contextmanager
def open_video(path: Path | str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its video stream, set up to decode in one thread; the stream a player picks, never a cover picture.

    Raises:
        VideoError: missing, no video in it, no decoder, or FFmpeg gives up while it is open.
    """
    if lack := lack_of_file(path):
        raise VideoError(path, lack)
    try:
        # Tags need not be UTF-8; nothing here reads them.
        opened = av.open(str(path), options=OPTIONS, metadata_errors="replace")
    except av.ArgumentError as error:
        raise VideoError(path, "not a readable video: no container that is read") from error
    except (av.FFmpegError, OSError, EOFError) as error:
        raise VideoError(path, f"not a readable video: {plain(error)}") from error
    try:
        with opened as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise VideoError(path, "no video stream")
            if stream.codec_context is None:
                raise VideoError(path, "no decoder for its codec")
            stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
            yield container, stream
    except (av.FFmpegError, OSError, EOFError) as error:
        raise VideoError(path, f"does not decode: {plain(error)}") from error
    except IndexError as error:  # PyAV, of a packet whose stream was not there when the file was opened.
        raise VideoError(path, "does not decode: streams change within the file") from error


def read_index(path: Path | str) -> Index:
    """All packets of a video, none decoded.

    Raises:
        VideoError: see `open_video`.
    """
    packets: list[Packet] = []
    last = end = -(2**62)
    with open_video(path) as (container, stream):
        codec = stream.codec_context.codec.canonical_name
        for packet in container.demux(stream):
            if packet.pts is not None and packet.pts >= last:
                last, end = packet.pts, packet.pts + (packet.duration or 0)
            if packet.size:  # An empty packet means: show the frame before for longer.
                hidden = packet.is_discard or (codec in ("vp8", "vp9") and is_invisible(codec, bytes(packet)))
                packets.append(Packet(packet.pts, packet.is_keyframe, hidden, packet.is_corrupt))
        if container.format.name.startswith("mov") and stream.duration:
            # Durations of packets are of the order stored there, which B-frames make another.
            end = (stream.start_time or 0) + stream.duration
        # Only AVI's index has an entry for every frame, and only AVI counts time by frames.
        promised = len(stream.index_entries) if container.format.name == "avi" else 0
        rates = (stream.average_rate, stream.base_rate)
        time_base, name = stream.time_base, container.format.name
    if not packets or time_base is None:
        raise VideoError(path, "no frames")
    if len(packets) < promised:
        raise VideoError(path, f"damaged: {len(packets)} of {promised} frames are in the file")
    return Index(packets, time_base, end, rates, name, codec)


def plain(error: Exception) -> str:
    """Words of an FFmpeg or system error, without its number and path."""
    return str(getattr(error, "strerror", None) or error)
