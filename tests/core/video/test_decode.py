"""Real files, whole and broken."""

import pickle
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tasks.core.video import VideoError, read_image
from tasks.core.video.decode import read_clip, read_media
from tasks.core.video.probe import probe
from tests.support import media_kinds

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
SAMPLING = {"frames": 16, "fps": 2.0, "min_frames": 4}


def write_video(path, frames, *, rate=10, faststart=False):
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def noise(n=40, size=56):
    return list(np.random.default_rng(0).integers(0, 255, (n, size, size, 3), dtype=np.uint8))


def ramp(n=40, size=56):
    """Frame i is grey of level 6 i: a frame shows its own index."""
    return [np.full((size, size, 3), 6 * i, np.uint8) for i in range(n)]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "index_last.mp4", noise())
    write_video(folder / "index_first.mp4", noise(), faststart=True)
    return folder


@pytest.mark.parametrize(
    ("name", "frames", "codec", "sampled"),
    [
        ("slide.mp4", 90, "h264", 6),
        ("turn.mp4", 120, "h264", 8),
        pytest.param("scene.gif", 22, "gif", 10, id="gif"),
    ],
)
def test_real_clips(name, frames, codec, sampled):
    info = probe(CLIPS / name, "video")
    assert (info.frames, info.codec) == (frames, codec)
    clip = read_clip(CLIPS / name, **SAMPLING)
    assert clip.frames.shape == (sampled, info.height, info.width, 3)
    assert (clip.indices[0], clip.indices[-1]) == (0, frames - 1)
    assert clip.source_fps == pytest.approx(info.fps)
    assert clip.duration_seconds == pytest.approx(frames / info.fps)
    assert clip.sample_fps == pytest.approx(sampled / clip.duration_seconds)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "gif"])
def test_sampled_frames_are_the_ones_named(tmp_path, suffix):
    path = tmp_path / f"ramp.{suffix}"
    if suffix == "gif":
        first, *rest = [Image.fromarray(frame) for frame in ramp()]
        first.save(path, save_all=True, append_images=rest, duration=100)
    else:
        write_video(path, ramp())
    clip = read_clip(path, **SAMPLING)
    assert clip.indices == [0, 6, 11, 17, 22, 28, 33, 39]
    assert [round(float(frame.mean()) / 6) for frame in clip.frames] == clip.indices


@pytest.mark.parametrize(
    ("name", "cut", "reason"),
    [
        pytest.param("index_last.mp4", 0.7, "no index (moov)", id="cut-before-the-index"),
        pytest.param("index_last.mp4", 0.7, "truncated: mdat box ends at byte", id="cut-says-where"),
        pytest.param("index_first.mp4", 0.7, "of 40 frames are in the file", id="index-promises-more-than-there-is"),
        pytest.param("index_first.mp4", 0.99, "of 40 frames are in the file", id="only-the-last-frame-is-cut"),
        pytest.param("index_first.mp4", 0.0, "empty file", id="empty"),
    ],
)
def test_truncated_video_is_found_out(noisy, tmp_path, name, cut, reason):
    whole = (noisy / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(VideoError) as caught:
        probe(path, "video")
    assert reason in caught.value.reason


@pytest.mark.parametrize("suffix", ["mkv", "webm", "avi", "wmv"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_shorter_than_it_says_is_found_out(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    codec = {"webm": "libvpx-vp9", "wmv": "wmv2"}.get(suffix, "mpeg4")
    media_kinds.write(path, codec, options={"b": "1M"})
    info = probe(path, "video")
    assert info.frames == media_kinds.FRAMES
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(VideoError, match=r"truncated: ends at byte \d+ of \d+"):
        probe(path, "video")


def test_a_recording_that_does_not_know_its_size_is_read(tmp_path):
    """As browsers and interrupted programs write them."""
    path = tmp_path / "a.mkv"
    media_kinds.write(path, "mpeg4")
    data = path.read_bytes()
    place = data.index(b"\x18\x53\x80\x67") + 4
    path.write_bytes(data[:place] + b"\x01" + b"\xff" * 7 + data[place + 8 :])
    assert probe(path, "video").frames == media_kinds.FRAMES


@pytest.mark.parametrize(
    ("keep", "is_read"),
    [
        pytest.param(1.0, True, id="whole"),
        pytest.param(-1, True, id="without-its-last-byte"),
        pytest.param(-2, False, id="without-the-end-of-its-last-picture"),
        pytest.param(0.5, False, id="half"),
    ],
)
def test_a_gif_that_ends_within_a_picture_is_found_out(tmp_path, keep, is_read):
    path = tmp_path / "a.gif"
    media_kinds.animate(path)
    data = path.read_bytes()
    path.write_bytes(data[:keep] if keep < 0 else data[: int(len(data) * keep)])
    if is_read:
        assert probe(path, "video").frames == 20
        return
    with pytest.raises(VideoError, match="truncated: ends within a picture"):
        probe(path, "video")


def test_an_avi_without_some_of_its_frames_is_found_out(tmp_path):
    """Time is counted by frames there: those behind a hole would move forward."""
    path = tmp_path / "a.avi"
    media_kinds.write(path, "ffv1")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"damaged: \d\d of 100 frames are in the file"):
        probe(path, "video")


def test_a_recording_whose_codec_changes_is_refused_with_the_reason(tmp_path):
    media_kinds.write(tmp_path / "a.m2ts", "libx264", options=media_kinds.X264)
    media_kinds.write(tmp_path / "b.ts", "libx265", options={"x265-params": "log-level=0"})
    path = tmp_path / "joined.m2ts"
    path.write_bytes((tmp_path / "a.m2ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(VideoError, match="streams change within the file"):
        probe(path, "video")


def test_a_hole_in_the_data_is_found_out(noisy, tmp_path):
    data = bytearray((noisy / "index_first.mp4").read_bytes())
    data[-3000:] = bytes(3000)
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError, match="does not decode"):
        probe(path, "video")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("a.mp4", b"hello " * 100, "not an MP4 file", id="text-named-mp4"),
        pytest.param("a.webm", b"hello " * 100, "not a readable video", id="text-named-webm"),
        pytest.param("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n", "no container that is read", id="subtitles"),
        pytest.param(
            "a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\n/etc/hosts\n", "no container", id="hls-playlist"
        ),
        pytest.param("a.ffconcat", b"ffconcat version 1.0\nfile a.mp4\n", "no container", id="list-of-other-files"),
    ],
)
def test_not_a_video(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError) as caught:
        probe(tmp_path / name, "video")
    assert reason in caught.value.reason


def test_one_frame_is_no_video(tmp_path):
    write_video(tmp_path / "one.mp4", noise(1))
    for read in (lambda path: probe(path, "video"), lambda path: read_clip(path, **SAMPLING)):
        with pytest.raises(VideoError, match="1 frames, at least 2 needed"):
            read(tmp_path / "one.mp4")


def test_missing_file(tmp_path):
    for read in (read_image, lambda path: read_clip(path, **SAMPLING), lambda path: probe(path, "video")):
        with pytest.raises(VideoError, match="no such file"):
            read(tmp_path / "nowhere.mp4")


def test_transparent_image_is_laid_on_white(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    clip = read_media(tmp_path / "a.png", "image", **SAMPLING)
    assert clip.frames.shape == (1, 4, 6, 3)
    assert clip.frames[0, 0, 0].tolist() == [255, 0, 0]
    assert clip.frames[0, 1, 1].tolist() == [255, 255, 255]
    assert (clip.indices, clip.sample_fps, clip.duration_seconds) == ([0], 0.0, 0.0)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16"])
def test_any_image_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (6, 4)).save(path)
    assert read_image(path).frames.shape == (1, 4, 6, 3)


def test_broken_image(tmp_path):
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="not a readable image"):
        probe(tmp_path / "a.png", "image")


def test_a_picture_that_no_encoder_takes_is_refused_at_once(tmp_path):
    for size in ((201, 1), (1, 201)):
        Image.new("L", size).save(tmp_path / "a.png")
        with pytest.raises(VideoError, match="one side is more than 200 times the other"):
            probe(tmp_path / "a.png", "image")
    Image.new("L", (200, 1)).save(tmp_path / "a.png")
    assert probe(tmp_path / "a.png", "image").width == 200


def test_an_image_is_probed(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg")
    assert probe(tmp_path / "a.jpg", "image") == (1, 0.0, 6, 4, "jpeg", 0.0)


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "empty file")))
    assert (error.path, error.reason, str(error)) == ("a.mp4", "empty file", "a.mp4: empty file")
