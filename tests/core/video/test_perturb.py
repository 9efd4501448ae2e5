"""Perturbed clips: the frames that their names promise, at the same rate."""

import numpy as np
import pytest

from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.perturb import PERTURBATIONS, backwards_of, perturb


def clip(frames=4):
    """Frame i is i everywhere, but for a left column of 100 + i."""
    pixels = np.tile(np.arange(frames, dtype=np.uint8)[:, None, None, None], (1, 2, 3, 3))
    pixels[:, :, 0] += 100
    return Clip(pixels, [10 * i for i in range(frames)], 25.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("name", "shown", "left"),
    [
        ("reverse", [3, 2, 1, 0], 0),
        ("freeze", [2, 2, 2, 2], 0),
        ("one_frame", [2, 2], 0),
        ("mirror", [0, 1, 2, 3], 2),
    ],
)
def test_frames_shown(name, shown, left):
    changed = perturb(clip(), name)
    assert changed.frames[:, 0, 1, 0].tolist() == shown
    assert changed.indices == [10 * i for i in shown]
    assert changed.frames[:, 0, left, 0].tolist() == [100 + i for i in shown]
    assert changed.sample_fps == 2.0


def test_a_shuffle_is_drawn_by_its_seed_and_never_the_true_order():
    orders = {tuple(perturb(clip(), "shuffle", seed).indices) for seed in range(40)}
    assert len(orders) > 10 and (0, 10, 20, 30) not in orders
    assert perturb(clip(), "shuffle", 3).indices == perturb(clip(), "shuffle", 3).indices


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_single_frame_is_refused(name):
    with pytest.raises(ValueError, match=f"a clip of 1 frame has nothing to {name}"):
        perturb(clip(1), name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no perturbation 'blur'; one of shuffle, reverse, freeze, one_frame, mirror"):
        perturb(clip(), "blur")


def test_a_reversed_row_of_one_frame_names_its_file():
    assert backwards_of(clip(), "a.mp4").indices == [30, 20, 10, 0]
    with pytest.raises(VideoError, match=r"a.mp4: a clip of one frame has no reverse"):
        backwards_of(clip(1), "a.mp4")
