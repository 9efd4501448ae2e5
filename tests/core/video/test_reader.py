"""The reader of video on every kind of file: the frames that a player shows, at the moments at which it shows them."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.core.video import VideoError
from tasks.core.video.container import read_index
from tasks.core.video.decode import decode_by_packets, decode_frames, decode_in_order, read_clip
from tasks.core.video.packets import doubt
from tasks.core.video.probe import probe
from tasks.core.video.timeline import sample_times
from tests.support import media_kinds as kinds

MEDIA = Path(__file__).parents[2] / "fixtures/media"
SAMPLING = {"frames": 16, "fps": 4.0, "min_frames": 4}
MADE_ELSEWHERE = {
    "webm-vp9-10-bit": "ten_bit_vp9.webm",
    "webm-vp8-hidden": "vp8_hidden.webm",
    "ogv-theora": "theora.ogv",
}
"""PyAV cannot write these."""
BY_PACKETS = set(
    [
        "mp4-h264",
        "mp4-h264-one-key",
        "mp4-h264-open-gop",
        "mov-h264",
        "mkv-h264",
        "mkv-h264-open-gop",
        "mp4-hevc",
        "mkv-hevc",
        "webm-vp9",
        "webm-vp9-hidden",
        "webm-vp9-10-bit",
        "webm-vp8-hidden",
        "mp4-av1",
        "mp4-mpeg4-b",
        "3gp-h263",
        "mov-prores",
        "mkv-ffv1",
        "trim-mp4",
        "trim-mov",
        "trim-mp4-open-gop",
        "trim-mp4-hevc",
        "variable-mp4",
        "variable-mkv",
        "variable-webm",
    ]  # noqa: SIM905
)
"""Kinds whose packets tell the frames, which is fast: a kind that leaves this list has become slow."""
TRIMS = {
    "trim-mp4": ("mp4-h264-one-key", "mp4"),
    "trim-mov": ("mp4-h264-one-key", "mov"),
    "trim-mp4-open-gop": ("mp4-h264-open-gop", "mp4"),
    "trim-mp4-hevc": ("mp4-hevc", "mp4"),
}
TRIM_START, TRIM_FRAMES = 43, 30
VARIABLE = {
    "variable-mp4": ("libx264", kinds.X264),
    "variable-mkv": ("libx264", kinds.X264),
    "variable-webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "variable-flv": ("flv", {"b": "2M"}),
    "variable-asf": ("wmv2", {"b": "2M"}),
}


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """`file_of(kind)`: the path of a file of that kind, made once."""
    folder, made = tmp_path_factory.mktemp("kinds"), {}

    def make(kind):
        if kind in MADE_ELSEWHERE:
            return MEDIA / MADE_ELSEWHERE[kind]
        if kind not in made:
            made[kind] = folder / f"{kind}.{kind.split('-')[1 if kind.startswith(('trim', 'variable')) else 0]}"
            if kind in TRIMS:
                source, _ = TRIMS[kind]
                kinds.trim(make(source), made[kind], TRIM_START / kinds.RATE, TRIM_FRAMES / kinds.RATE)
            elif kind in VARIABLE:
                codec, options = VARIABLE[kind]
                kinds.write(made[kind], codec, options=options, milliseconds=kinds.VARIABLE)
            else:
                kinds.KINDS[kind](made[kind])
        return made[kind]

    return make


CONSTANT = [*kinds.KINDS, *MADE_ELSEWHERE]
ALL = [*CONSTANT, *TRIMS, *VARIABLE]


@pytest.mark.parametrize("kind", CONSTANT)
def test_sampled_frames_are_those_named_and_timed_by_their_timestamps(file_of, kind):
    clip = read_clip(file_of(kind), **SAMPLING)
    assert [kinds.shown_index(picture) for picture in clip.frames] == clip.indices
    assert len(clip.indices) == 16 and (clip.indices[0], clip.indices[-1]) == (0, kinds.FRAMES - 1)
    assert clip.seconds == pytest.approx([index / kinds.RATE for index in clip.indices], abs=0.0011)
    assert clip.source_fps == pytest.approx(kinds.RATE, rel=1e-3)
    assert clip.duration_seconds == pytest.approx(kinds.FRAMES / kinds.RATE, rel=1e-3)


@pytest.mark.parametrize("kind", ALL)
def test_both_ways_of_decoding_give_the_same(file_of, kind):
    path = file_of(kind)
    index, choose = read_index(path), partial(sample_times, **SAMPLING)
    plain = decode_in_order(path, index, choose)
    assert (not doubt(index)) == (kind in BY_PACKETS) or kind == "mp4-h264-intra-refresh", doubt(index)
    reads = [decode_frames(path, choose)]
    if kind in BY_PACKETS:
        reads.append(decode_by_packets(path, index, choose))
    for fast in reads:
        assert np.array_equal(fast.clip.frames, plain.clip.frames)
        assert (fast.clip.indices, fast.clip.seconds) == (plain.clip.indices, plain.clip.seconds)
        assert fast.timeline[1:] == plain.timeline[1:]


@pytest.mark.parametrize("kind", ["mp4-h264-open-gop", "mkv-hevc", "webm-vp9-hidden", "trim-mp4", "mp4-mpeg4-b"])
@pytest.mark.parametrize("position", [0, 1, 2, 28, 29])
def test_any_single_frame_can_be_had(file_of, kind, position):
    path = file_of(kind)
    from tasks.core.video.timeline import Choice

    decoded = decode_by_packets(path, read_index(path), lambda shown: Choice([position], 1.0))
    assert kinds.shown_index(decoded.clip.frames[0]) == position + (TRIM_START if kind == "trim-mp4" else 0)


@pytest.mark.parametrize("kind", TRIMS)
def test_a_trim_by_stream_copy_shows_what_was_kept_and_nothing_before(file_of, kind):
    """Was: hidden frames counted, the last one repeated, or a read that never returned."""
    path = file_of(kind)
    info = probe(path, "video")
    assert (info.frames, info.fps, info.duration_seconds) == (TRIM_FRAMES, kinds.RATE, TRIM_FRAMES / kinds.RATE)
    assert sum(packet.is_hidden for packet in read_index(path).packets) > 0, "nothing is hidden: no test"
    clip = read_clip(path, **SAMPLING)
    assert [kinds.shown_index(picture) - TRIM_START for picture in clip.frames] == clip.indices


@pytest.mark.parametrize("kind", VARIABLE)
def test_a_variable_rate_is_sampled_by_time(file_of, kind):
    """The header says 1000 frames a second or a mean; a one-minute clip got 4 frames."""
    clip = read_clip(file_of(kind), frames=16, fps=1.0, min_frames=4)
    starts = [when / 1000 for when in kinds.VARIABLE]
    moments = np.linspace(0, starts[-1], len(clip.indices))
    assert len(clip.indices) in (8, 10)  # how long the last frame stays, not every container tells
    assert clip.indices == [max(i for i, start in enumerate(starts) if start <= moment + 1e-6) for moment in moments]
    assert [kinds.shown_index(picture) for picture in clip.frames] == clip.indices
    assert clip.duration_seconds == pytest.approx(starts[-1], rel=0.15)


def test_a_header_of_1000_frames_a_second_is_not_believed(tmp_path):
    path = tmp_path / "a.mkv"
    kinds.write(path, "libx264", options=kinds.X264, milliseconds=[40 * i for i in range(100)], rate=1000)
    info = probe(path, "video")
    assert (info.frames, info.fps, info.duration_seconds) == (100, 25.0, 4.0)


def copied(source, path, times_of):
    """Remux by stream copy, each packet with the (pts, dts) that `times_of(number, packet)` gives."""
    import av

    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        new = part.add_stream_from_template(whole.streams.video[0])
        packets = [packet for packet in whole.demux(whole.streams.video[0]) if packet.dts is not None]
        for number, packet in enumerate(packets):
            packet.pts, packet.dts = times_of(number, packet)
            packet.stream = new
            part.mux(packet)


def times_in_milliseconds(source, path):
    kinds.write(path, "libx264", options=kinds.X264, milliseconds=[40 * index for index in range(kinds.FRAMES)])


def timed_as_stored(source, path):
    """As careless muxers do: B-frames get the times of the places where they are stored."""
    copied(source, path, lambda number, packet: (number * 512, number * 512))


def repeated_timestamp(source, path):
    """Under a header of 1000 frames a second, which must not be believed then."""
    whole, times = path.with_name("whole.mkv"), [40 * index for index in range(kinds.FRAMES)]
    kinds.write(whole, "mjpeg", milliseconds=times, rate=1000, pix_fmt="yuvj420p")
    copied(whole, path, lambda number, packet: (times[number - (number == 50)],) * 2)


@pytest.mark.parametrize(
    ("copy", "codec", "suffix"),
    [
        pytest.param(times_in_milliseconds, "libx264", "avi", id="avi-of-1000-ticks-a-second"),
        pytest.param(timed_as_stored, "libx264", "mp4", id="times-in-stored-order"),
        pytest.param(repeated_timestamp, "mjpeg", "mkv", id="two-frames-of-one-timestamp"),
    ],
)
def test_wrong_timestamps_cost_neither_order_nor_time(tmp_path, copy, codec, suffix):
    """Was: a clip of 4 s taken for one of 0.17 s; frames in the order in which they are stored."""
    options = kinds.X264 if codec == "libx264" else {}
    kinds.write(tmp_path / "source.mp4", codec, options=options, pix_fmt="yuv420p" if options else "yuvj420p")
    copy(tmp_path / "source.mp4", tmp_path / f"a.{suffix}")
    clip = read_clip(tmp_path / f"a.{suffix}", **SAMPLING)
    assert len(clip.indices) == 16 and [kinds.shown_index(picture) for picture in clip.frames] == clip.indices
    assert clip.duration_seconds == pytest.approx(4.0, abs=0.05)
    assert clip.seconds == pytest.approx([index / kinds.RATE for index in clip.indices], abs=0.05)


def test_pictures_of_a_folder_follow_by_number_and_hidden_files_are_none(tmp_path):
    for index in range(12):
        Image.new("RGB", (32, 32), (kinds.grey_of(index),) * 3).save(tmp_path / f"frame{index + 1}.png")
    (tmp_path / "._frame1.png").write_bytes(b"left by another system")
    clip = read_clip(tmp_path, frames=16, fps=2.0, min_frames=12, folder_rate=2.0)
    assert [kinds.shown_index(picture) for picture in clip.frames] == list(range(12))


def test_plain_mp4_equals_decord(file_of):
    """Another decoder, where it is known to be right."""
    decord = pytest.importorskip("decord")
    for kind in ("mp4-h264", "mkv-h264"):
        clip = read_clip(file_of(kind), **SAMPLING)
        other = decord.VideoReader(str(file_of(kind)), num_threads=1)
        assert len(other) == kinds.FRAMES
        assert np.abs(clip.frames.astype(int) - other.get_batch(clip.indices).asnumpy()).max() <= 1


# How a frame is laid out.


def corners(picture):
    """Levels of the corners: top left, top right, bottom left, bottom right."""
    return [int(picture[y, x].mean()) // 50 for y, x in ((4, 4), (4, -5), (-5, 4), (-5, -5))]


def write_turned(path, codec, matrix, aspect=None):
    """Corners of level 0, 1, 2, 3 in stored order, under a display matrix (right x, right y, down x, down y)."""
    import av

    planes = np.full((96, 96), 128, np.uint8)
    planes[:32, :48], planes[:32, 48:], planes[32:64, :48], planes[32:64, 48:] = 30, 70, 120, 180
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if aspect:
            stream.sample_aspect_ratio = aspect
        if matrix:
            a, b, c, d = (step << 16 for step in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for index in range(8):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libsvtav1", "libx265"])
@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        pytest.param((1, 0, 0, 1), [0, 1, 2, 3], id="as-stored"),
        pytest.param((0, 1, -1, 0), [2, 0, 3, 1], id="quarter-turn-clockwise"),
        pytest.param((-1, 0, 0, -1), [3, 2, 1, 0], id="half-turn"),
        pytest.param((0, -1, 1, 0), [1, 3, 0, 2], id="quarter-turn-anticlockwise"),
        pytest.param((-1, 0, 0, 1), [1, 0, 3, 2], id="mirrored"),
        pytest.param((1, 0, 0, -1), [2, 3, 0, 1], id="upside-down-and-mirrored"),
        pytest.param((0, 1, 1, 0), [0, 2, 1, 3], id="transposed"),
    ],
)
def test_frames_are_turned_as_the_file_says(tmp_path, codec, matrix, expected):
    write_turned(tmp_path / "a.mp4", codec, matrix)
    clip = read_clip(tmp_path / "a.mp4", **SAMPLING)
    assert clip.frames.shape[1:3] == ((64, 96) if matrix[0] else (96, 64))
    assert corners(clip.frames[0]) == expected
    info = probe(tmp_path / "a.mp4", "video")
    assert (info.height, info.width) == clip.frames.shape[1:3]


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        pytest.param(Fraction(16, 11), (64, 140), id="wide-pixels-are-stretched"),
        pytest.param(Fraction(8, 9), (72, 96), id="narrow-pixels-are-stretched-upwards"),
        pytest.param(Fraction(4320, 4321), (64, 96), id="nearly-square-stays"),
        pytest.param(Fraction(1, 60), (64, 96), id="absurd-is-ignored"),
    ],
)
def test_pixels_become_square(tmp_path, aspect, size):
    write_turned(tmp_path / "a.mp4", "libx264", None, aspect)
    clip = read_clip(tmp_path / "a.mp4", **SAMPLING)
    assert clip.frames.shape[1:3] == size
    assert corners(clip.frames[0]) == [0, 1, 2, 3]


# Animations that Pillow reads.


@pytest.mark.parametrize("name", ["a.webp", "a.avif", "a.png", "a.gif"])
def test_an_animated_picture_is_a_video(tmp_path, name):
    durations = [100] * 10 + [1000] + [100] * 9
    kinds.animate(tmp_path / name, durations, **({"lossless": True} if name == "a.webp" else {}))
    info = probe(tmp_path / name, "video")
    assert (info.frames, info.duration_seconds) == (20, pytest.approx(2.9, abs=0.01))
    clip = read_clip(tmp_path / name, frames=16, fps=2.0, min_frames=4)
    assert [kinds.shown_index(picture) for picture in clip.frames] == clip.indices
    assert clip.seconds == pytest.approx(
        [[0.1 * i, 1.0, 2.0 + 0.1 * (i - 11)][(i > 9) + (i > 10)] for i in clip.indices], abs=0.01
    )


def test_the_still_picture_before_an_animation_is_no_frame_of_it(tmp_path):
    """An animated PNG may begin with a picture for programs that show no animations."""
    kinds.animate(tmp_path / "a.png", [100] * 10, default_image=True)
    info = probe(tmp_path / "a.png", "video")
    assert (info.frames, info.duration_seconds) == (9, pytest.approx(0.9))
    clip = read_clip(tmp_path / "a.png", **SAMPLING)
    assert [kinds.shown_index(picture) for picture in clip.frames] == [index + 1 for index in clip.indices]


# What is refused.


@pytest.mark.parametrize(
    ("kind", "share", "reason"),
    [
        pytest.param("ts-h264", 0.0, "not a readable video", id="nothing-left"),
        pytest.param("avi-mpeg4-b", 0.001, "not a readable video|no frame|does not decode", id="header-only"),
    ],
)
def test_what_holds_no_frame_is_refused(file_of, tmp_path, kind, share, reason):
    data = file_of(kind).read_bytes()
    path = tmp_path / file_of(kind).name
    path.write_bytes(data[: int(len(data) * share)] or b"\0")
    with pytest.raises(VideoError, match=reason):
        read_clip(path, **SAMPLING)
