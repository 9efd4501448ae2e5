"""Clips decoded ahead: each is decoded once, and an error is raised where its clip is used."""

import pytest

from tasks.core.train.clips import ClipStore
from tasks.core.video import VideoError


def test_expected_clips_are_given_once_decoded_and_errors_where_they_are_used(make_clip):
    read = []

    def reader(path, data_type):
        read.append(path)
        if path == "broken":
            raise VideoError(path, "torn")
        return make_clip(frames=2, seed=ord(path))

    with ClipStore(reader, 1.0, workers=2) as store:
        store.expect([("a", "video"), ("broken", "video"), ("b", "video"), ("a", "video")])
        assert store.get("a", "video") is store.get("a", "video")
        assert (store.get("b", "video").frames == make_clip(frames=2, seed=ord("b")).frames).all()
        for _ in range(2):
            with pytest.raises(VideoError, match="torn"):
                store.get("broken", "video")
        seen = len(read)
        store.expect([("a", "video"), ("broken", "video")])
        assert store.get("a", "video") is not None
    assert len(read) == seen and read.count("a") == read.count("b") == 1


def test_a_clip_held_and_expected_outlives_one_held_only(make_clip):
    read = []

    def reader(path, data_type):
        read.append(path)
        return make_clip(frames=2)

    size = make_clip(frames=2).frames.nbytes
    with ClipStore(reader, 4 / 3 * 2.5 * size / 2**30, workers=1) as store:
        for path in "ab":
            store.get(path, "video")
        store.expect([("a", "video"), ("c", "video")])
        for path in "ca":
            store.get(path, "video")
    assert sorted(read) == ["a", "b", "c"], "c pushed out b, not a, which was used longest ago"
