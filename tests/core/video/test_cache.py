"""Frames kept on disk: one decode for equal pixels, another for other ones, and no trust in a torn file."""

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.core.video import Clip, VideoError, open_clip, tell_cache
from tasks.core.video import open as door
from tasks.core.video.cache import STALE_SECONDS, Counts, DamagedError, FrameCache, dump, load, sweep

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
SETTINGS = {"type": "video", "frames": 4}
GB = 2**30


def clip(seed=0, frames=4):
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 28, 28, 3), dtype=np.uint8)
    return Clip(pixels, list(range(0, 2 * frames, 2)), 29.97, 2.0, 1.5)


def equal(one, other):
    facts = ("indices", "source_fps", "sample_fps", "duration_seconds")
    return np.array_equal(one.frames, other.frames) and all(getattr(one, f) == getattr(other, f) for f in facts)


def entries(folder):
    return sorted(file for file in folder.glob("??/*") if file.is_file())


@pytest.fixture
def media(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"first")
    return path


def counting(made):
    """A decoder that counts its calls."""
    calls = []
    return calls, lambda: calls.append(1) or made


def test_what_comes_back_is_what_was_decoded(tmp_path, media):
    cache = FrameCache(tmp_path / "cache", 1.0)
    calls, read = counting(clip())
    first, second = cache.get(media, SETTINGS, read), FrameCache(tmp_path / "cache", 1.0).get(media, SETTINGS, read)
    assert equal(first, second) and len(calls) == 1
    assert second.frames.flags.writeable, "processors warn about pixels that they cannot write to"


@pytest.mark.parametrize(
    ("change", "decodes"),
    [
        pytest.param(lambda path: SETTINGS, 1, id="nothing changed"),
        pytest.param(lambda path: SETTINGS | {"frames": 8}, 2, id="other sampling"),
        pytest.param(lambda path: SETTINGS | {"max_pixels": 9}, 2, id="other budget"),
        pytest.param(lambda path: path.write_bytes(b"other") and SETTINGS, 2, id="same size, other content"),
        pytest.param(lambda path: os.utime(path, (1, 1)) or SETTINGS, 1, id="touched: same content"),
    ],
)
def test_an_entry_is_named_by_what_decides_its_pixels(tmp_path, media, change, decodes):
    cache = FrameCache(tmp_path / "cache", 1.0)
    calls, read = counting(clip())
    cache.get(media, SETTINGS, read)
    cache.get(media, change(media), read)
    assert len(calls) == decodes


def test_equal_files_share_an_entry(tmp_path, media):
    cache = FrameCache(tmp_path / "cache", 1.0)
    calls, read = counting(clip())
    (tmp_path / "copy.mp4").write_bytes(media.read_bytes())
    for path in (media, tmp_path / "copy.mp4"):
        cache.get(path, SETTINGS, read)
    assert len(calls) == len(entries(tmp_path / "cache")) == 1


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:-1], id="cut off"),
        pytest.param(lambda data: data + b"x", id="too long"),
        pytest.param(lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], id="one bit of a frame"),
        pytest.param(lambda data: b"[]\n" + data, id="a header of another kind"),
        pytest.param(lambda data: data.replace(b"crc32", b"crc33", 1), id="a field missing"),
        pytest.param(lambda data: data.replace(b"[4,", b"[-4,", 1), id="a shape that cannot be"),
        pytest.param(lambda data: b"\xff\xfe" + data, id="not text"),
    ],
)
def test_a_damaged_entry_is_removed_and_made_again(tmp_path, media, damage):
    told = []
    cache = FrameCache(tmp_path / "cache", 1.0, told.append)
    calls, read = counting(clip())
    cache.get(media, SETTINGS, read)
    [entry] = entries(tmp_path / "cache")
    for _ in range(2):
        entry.write_bytes(damage(dump(clip())))
        with pytest.raises(DamagedError):
            load(entry)
        assert load(entry) is None, "removed"
        entry.write_bytes(damage(dump(clip())))
        for _ in range(2):
            assert equal(cache.get(media, SETTINGS, read), clip())
        assert equal(load(entry), clip())
    assert told == [media, media], "once for each time it was damaged"
    assert cache.counts == Counts(hits=2, decoded=3, damaged=2) and len(calls) == 3


def test_a_flipped_byte_is_told_with_its_media_file_and_counted_at_the_end(tmp_path, monkeypatch, capsys):
    """Through the door that stages use: the same clip, one warning, one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(door, "_CACHES", {})
    settings = {"frames": 8, "fps": 2.0, "min_frames": 4, "min_pixels": 3136, "max_pixels": 3136, "disk_cache_gb": 1}
    path = str(CLIPS / "slide.mp4")
    plain = open_clip(path, "video", **settings)
    tell_cache("stage")
    assert capsys.readouterr() == ("", ""), "a whole cache is not worth a line"
    [entry] = entries(tmp_path / ".cache/frames")
    data = entry.read_bytes()
    entry.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert all(equal(plain, open_clip(path, "video", **settings)) for _ in range(3))
    tell_cache("stage")
    said = capsys.readouterr()
    assert said.err == f"frame cache: {path}: damaged entry, decoded again\n"
    assert said.out == "stage: frame cache: 1 damaged entries made again; 2 clips found, 2 decoded\n"
    assert entry.read_bytes() == data


def test_what_does_not_decode_is_not_kept(tmp_path, media):
    cache = FrameCache(tmp_path / "cache", 1.0)

    def torn():
        raise VideoError(media, "torn")

    for path in (media, tmp_path / "absent.mp4"):
        with pytest.raises(VideoError, match="torn"):
            cache.get(path, SETTINGS, torn)
    assert not entries(tmp_path / "cache")


def test_the_entry_used_longest_ago_goes_first(tmp_path):
    sizes = len(dump(clip()))
    cache = FrameCache(tmp_path / "cache", 3.5 * sizes / GB)
    made = {}
    for number, name in enumerate("abcd"):
        path = tmp_path / name
        path.write_text(name)
        cache.get(path, SETTINGS, lambda number=number: clip(number))
        for entry in set(entries(tmp_path / "cache")) - set(made.values()):
            made[name] = entry
            os.utime(entry, (number + 1, number + 1))
        if name == "c":
            cache.get(tmp_path / "a", SETTINGS, lambda: pytest.fail("a is there"))
    assert made["a"].exists(), "used since"
    assert not made["b"].exists()
    assert sum(entry.stat().st_size for entry in entries(tmp_path / "cache")) <= 3.5 * sizes


def test_a_clip_larger_than_the_cache_is_given_and_not_kept(tmp_path, media):
    cache = FrameCache(tmp_path / "cache", 10 / GB)
    assert equal(cache.get(media, SETTINGS, clip), clip())
    assert not entries(tmp_path / "cache")


def test_a_sweep_clears_up_after_dead_writers_alone(tmp_path):
    folder = tmp_path / "aa"
    folder.mkdir()
    for name, age in (("dead.tmp", 2 * STALE_SECONDS), ("alive.tmp", 0)):
        (folder / name).write_text("x")
        os.utime(folder / name, (time.time() - age,) * 2)
    sweep(tmp_path, GB)
    assert [file.name for file in folder.iterdir()] == ["alive.tmp"]


def write_and_read(folder, media, rounds):
    """A process that reads what others write, write over and sweep away."""
    cache = FrameCache(folder, 2.5 * len(dump(clip())) / GB)
    for turn in range(rounds):
        seed = turn % 4
        found = cache.get(media, {"seed": seed}, lambda seed=seed: clip(seed))
        assert equal(found, clip(seed))


def test_processes_share_a_folder(tmp_path, media):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_and_read, args=(tmp_path / "cache", media, 40)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not list((tmp_path / "cache").glob("*/*.tmp"))


def test_stages_see_the_same_pixels_with_and_without(tmp_path, monkeypatch):
    """Through the door that stages use, on a real file: decoded, kept, read back."""
    monkeypatch.chdir(tmp_path)
    settings = {"frames": 8, "fps": 2.0, "min_frames": 4, "min_pixels": 3136, "max_pixels": 12544}
    plain, kept, again = (
        open_clip(str(CLIPS / "slide.mp4"), "video", **settings, disk_cache_gb=gb) for gb in (0, 1, 1)
    )
    assert equal(plain, kept) and equal(plain, again)
    assert len(entries(tmp_path / ".cache/frames")) == 1
