"""Media inside archives are read as files are, and what is wrong with an archive costs the members that it hits."""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tasks.core.video import ReaderError, VideoError, guarded, open_clip
from tasks.core.video.archive import contents, folder_of, is_media, read_member, split, state_of
from tasks.core.video.cache import file_sha256
from tasks.core.video.probe import probe
from tests.support import bad_readers

ROOT = Path(__file__).parents[3]
CLIPS = ROOT / "tests/fixtures/clips"
SLIDE = CLIPS / "slide.mp4"
SAMPLING = {"frames": 8, "fps": 2.0, "min_frames": 4, "min_pixels": 3136, "max_pixels": 12544}


def make_zip(path, method=zipfile.ZIP_STORED, files=("slide.mp4", "turn.mp4", "scene.gif")):
    with zipfile.ZipFile(path, "w", method) as file:
        for name in files:
            file.write(CLIPS / name, f"inner/{name}")
    return path


def make_tar(path, files=("slide.mp4", "turn.mp4", "scene.gif")):
    with tarfile.open(path, "w") as file:
        for name in files:
            file.add(CLIPS / name, f"./inner/{name}")
    return path


@pytest.fixture(
    params=[
        pytest.param(make_zip, id="zip-stored"),
        pytest.param(lambda path: make_zip(path, zipfile.ZIP_DEFLATED), id="zip-deflated"),
        pytest.param(lambda path: make_tar(path.with_suffix(".tar")), id="tar"),
    ]
)
def archive(request, tmp_path):
    return request.param(tmp_path / "clips.zip")


@pytest.mark.parametrize("name", ["slide.mp4", "turn.mp4", "scene.gif"])
def test_a_member_is_the_file_that_it_was(archive, name):
    path = archive / "inner" / name
    assert guarded(probe, path, "video") == guarded(probe, CLIPS / name, "video")
    assert guarded(file_sha256, path) == file_sha256(path) == file_sha256(CLIPS / name)
    assert state_of(path).size_bytes == (CLIPS / name).stat().st_size
    inside, outside = (open_clip(str(path), "video", **SAMPLING) for path in (path, CLIPS / name))
    assert np.array_equal(inside.frames, outside.frames) and inside.seconds == outside.seconds


@pytest.mark.parametrize("stored", ["./inner//slide.mp4", "/inner/./slide.mp4", "inner\\slide.mp4"])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_a_member_has_the_name_that_a_path_can_spell(tmp_path, stored, suffix):
    path, data = tmp_path / f"clips{suffix}", SLIDE.read_bytes()
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(stored, data)
    else:
        with tarfile.open(path, "w") as file:
            info = tarfile.TarInfo(stored)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    # Windows programs write backslashes into zip files alone.
    name = stored if "\\" in stored and suffix == ".tar" else "inner/slide.mp4"
    assert read_member(path / name) == data


def test_frames_of_a_member_are_kept_until_the_archive_changes(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(archive / "inner/slide.mp4")
    first = open_clip(path, "video", **SAMPLING, disk_cache_gb=0.1)
    monkeypatch.setattr("tasks.core.video.open.guarded", None)
    assert np.array_equal(open_clip(path, "video", **SAMPLING, disk_cache_gb=0.1).frames, first.frames)
    assert not any(folder.name.startswith("media-members") for folder in tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_pictures_are_read_too(tmp_path, suffix):
    picture = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (64, 48), (200, 30, 30)).save(picture, "PNG")
    (tmp_path / "a.png").write_bytes(picture.getvalue())
    path = tmp_path / f"pictures{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.write(tmp_path / "a.png", "a.png")
    else:
        with tarfile.open(path, "w") as file:
            file.add(tmp_path / "a.png", "a.png")
    assert guarded(probe, path / "a.png", "image") == guarded(probe, tmp_path / "a.png", "image")


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "name", "words"),
    [
        pytest.param(
            lambda path: None, "inner/gone.mp4", "clips.zip holds no file 'inner/gone.mp4'", id="no-such-member"
        ),
        pytest.param(lambda path: None, "inner", "clips.zip holds no file 'inner'", id="a-folder"),
        pytest.param(lambda path: flip(path, 2000), "inner/slide.mp4", "damaged in clips.zip", id="checksum"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:5000]),
            "inner/slide.mp4",
            "not a readable zip archive",
            id="cut",
        ),
        pytest.param(lambda path: path.write_bytes(b""), "inner/slide.mp4", "not a readable zip archive", id="empty"),
    ],
)
def test_what_is_wrong_with_a_zip_is_told_by_file_and_member(tmp_path, damage, name, words):
    path = make_zip(tmp_path / "clips.zip")
    damage(path)
    with pytest.raises(VideoError, match=words) as caught:
        guarded(probe, path / name, "video")
    assert str(path / name) in str(caught.value)


def test_a_compression_that_is_not_read_and_a_password_are_told(tmp_path):
    path = make_zip(tmp_path / "a.zip", zipfile.ZIP_LZMA)
    with pytest.raises(VideoError, match="compressed by method 14; stored and deflated are read"):
        read_member(path / "inner/slide.mp4")
    path = make_zip(tmp_path / "b.zip")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"))
    with pytest.raises(VideoError, match="encrypted"):
        read_member(path / "inner/slide.mp4")


def test_members_before_the_end_of_a_torn_tar_are_read(tmp_path):
    path = make_tar(tmp_path / "shard.tar", ("slide.mp4", "scene.gif", "turn.mp4"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    members, fault, _ = contents(path)
    assert list(members)[0] == "inner/slide.mp4" and "shard.tar is damaged" in fault
    assert read_member(path / "inner/slide.mp4") == SLIDE.read_bytes()
    with pytest.raises(VideoError, match=r"holds no file 'inner/turn.mp4' \(shard.tar is damaged"):
        read_member(path / "inner/turn.mp4")
    with pytest.raises(VideoError, match="cut off"):
        read_member(path / list(members)[-1])


def test_a_member_that_hangs_or_crashes_costs_itself_and_leaves_nothing(tmp_path):
    path = make_zip(tmp_path / "clips.zip")
    before = set(folder_of(0).parent.glob("media-members-*"))
    with pytest.raises(ReaderError, match="not read within"):
        guarded(bad_readers.sleep, path / "inner/slide.mp4", limit_seconds=1.0)
    with pytest.raises(ReaderError, match="crashed"):
        guarded(bad_readers.crash, path / "inner/slide.mp4")
    assert guarded(probe, path / "inner/turn.mp4", "video").codec == "h264"
    assert set(folder_of(0).parent.glob("media-members-*")) <= before


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        pytest.param("clips.zip/a.mp4", ("clips.zip", "a.mp4"), id="member"),
        pytest.param("clips.zip/x.tar/a.mp4", ("clips.zip", "x.tar/a.mp4"), id="an-archive-in-an-archive"),
        pytest.param("folder.zip/a.mp4", None, id="a-folder-of-that-name"),
        pytest.param("clips.zip", None, id="the-archive-itself"),
        pytest.param("gone.zip/a.mp4", None, id="no-archive"),
        pytest.param("a.mp4", None, id="a-file"),
    ],
)
def test_split(tmp_path, monkeypatch, path, inside):
    monkeypatch.chdir(tmp_path)
    Path("clips.zip").write_bytes(b"")
    Path("folder.zip").mkdir()
    assert split(path) == (inside and (Path(inside[0]), inside[1]))
    assert not is_media(path) or path == "clips.zip"


def test_a_changed_archive_is_looked_at_again(tmp_path):
    path = make_tar(tmp_path / "shard.tar", ["slide.mp4"])
    assert not is_media(path / "inner/turn.mp4")
    make_tar(path)
    os.utime(path, ns=(1, 1))
    assert is_media(path / "inner/turn.mp4")
    assert hashlib.sha256(read_member(path / "inner/turn.mp4")).hexdigest() == file_sha256(CLIPS / "turn.mp4")
