"""What SFT and RL share."""

import pytest
import torch

from tasks.core.train.clips import ClipStore
from tasks.core.train.curve import curve_csv, mean_of_last
from tasks.core.train.rows import pad_rows
from tasks.core.video import VideoError


def test_clip_store_decodes_once_and_forgets_the_oldest(make_clip):
    read = []

    def reader(path, data_type):
        read.append(path)
        if path == "broken":
            raise VideoError(path, "torn")
        return make_clip(frames=2)

    size = make_clip(frames=2).frames.nbytes
    store = ClipStore(reader, 2.5 * size / 2**30)
    for path in ("a", "b", "a", "c", "a", "b"):
        store.get(path, "video")
    assert read == ["a", "b", "c", "b"], "c pushed out b, which was used longest ago"
    for _ in range(2):
        with pytest.raises(VideoError, match="torn"):
            store.get("broken", "video")
    assert read.count("broken") == 1


def test_a_clip_larger_than_the_store_is_still_given(make_clip):
    store = ClipStore(lambda path, data_type: make_clip(frames=4), 1e-9)
    assert len(store.get("a", "video").frames) == 4


def test_curve_leaves_out_the_summary_and_not_a_number():
    log = [{"step": 1, "loss": 0.5, "kl": float("nan")}, {"step": 2, "loss": 0.25, "kl": 0.125}, {"train_loss": 1.0}]
    columns = {"step": "step", "loss": "loss", "kl": "divergence", "extra": "extra"}
    assert curve_csv(log, columns) == "step,loss,divergence,extra\n1,0.5,,\n2,0.25,0.125,\n"
    assert mean_of_last(log, "kl") == 0.125
    assert mean_of_last(log, "missing") is None


@pytest.mark.parametrize(("side", "expected"), [("left", [[0, 0, 1], [1, 2, 3]]), ("right", [[1, 0, 0], [1, 2, 3]])])
def test_pad_rows(side, expected):
    assert pad_rows([torch.tensor([1]), torch.tensor([1, 2, 3])], 0, side).tolist() == expected
