"""Index, size and order arithmetic: no file is opened."""

import numpy as np
import pytest

from tasks.core.video import Clip, frame_count, frame_indices, resize_clip, shuffle_clip, shuffle_order, smart_resize


def clip(frames=4, height=56, width=56):
    pixels = np.zeros((frames, height, width, 3), np.uint8)
    pixels[:] = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return Clip(pixels, list(range(0, 10 * frames, 10)), 10.0, 1.0, float(frames))


@pytest.mark.parametrize(
    ("total", "fps", "count"),
    [
        pytest.param(300, 30.0, 16, id="long-clip-hits-the-bound"),
        pytest.param(150, 30.0, 10, id="five-seconds-at-two"),
        pytest.param(165, 30.0, 10, id="eleven-becomes-even"),
        pytest.param(30, 30.0, 4, id="lower-bound"),
        pytest.param(3, 30.0, 2, id="fewer-frames-than-the-lower-bound"),
        pytest.param(2, 1000.0, 2, id="two-frames"),
        pytest.param(5, 0.5, 4, id="slower-than-aimed-at"),
    ],
)
def test_frame_count(total, fps, count):
    assert frame_count(total, fps, frames=16, fps=2.0, min_frames=4) == count


@pytest.mark.parametrize(("total", "fps"), [(1, 30.0), (0, 30.0), (30, 0.0), (30, float("nan"))])
def test_frame_count_refuses(total, fps):
    with pytest.raises(ValueError):
        frame_count(total, fps, frames=16, fps=2.0, min_frames=4)


@pytest.mark.parametrize("total", [2, 3, 16, 17, 299, 300, 4999, 100001])
def test_frame_indices_equal_the_published_ones(total):
    torch = pytest.importorskip("torch")
    for count in range(2, min(total, 65), 2):
        assert frame_indices(total, count) == torch.linspace(0, total - 1, count).round().long().tolist()


def test_frame_indices_hold_both_ends():
    assert frame_indices(10, 4) == [0, 3, 6, 9]
    assert frame_indices(5, 1) == [0]


@pytest.mark.parametrize(
    ("height", "width", "low", "high", "size"),
    [
        pytest.param(56, 56, 3136, 3136, (56, 56), id="fits"),
        pytest.param(1080, 1920, 100352, 105369, (224, 420), id="1080p-published"),
        pytest.param(480, 640, 100352, 105369, (280, 364), id="vga-published"),
        pytest.param(224, 224, 100352, 105369, (336, 336), id="small-goes-up-published"),
        pytest.param(1080, 1920, 100352, 200704, (336, 588), id="1080p-larger-budget-published"),
        pytest.param(10, 10, 784, 3136, (28, 28), id="never-under-one-unit"),
        pytest.param(28, 5000, 784, 3136, (28, 728), id="a-thin-strip-keeps-one-unit"),
        pytest.param(42, 70, 784, 100000, (56, 56), id="halves-round-to-even"),
    ],
)
def test_smart_resize(height, width, low, high, size):
    assert smart_resize(height, width, min_pixels=low, max_pixels=high) == size


def test_smart_resize_by_another_factor():
    assert smart_resize(1080, 1920, min_pixels=100352, max_pixels=200704, factor=32) == (320, 576)


def test_a_fixed_side_overrides_budget_and_ratio():
    assert resize_clip(clip(2, 60, 120), 784, 784, 1, 48).frames.shape == (2, 48, 48, 3)


def test_smart_resize_refuses_extreme_ratios():
    with pytest.raises(ValueError, match="200 times"):
        smart_resize(10, 2001, min_pixels=784, max_pixels=3136)


def test_resize_clip_scales_every_frame_and_keeps_times():
    given = clip(4, 112, 112)
    small = resize_clip(given, 3136, 3136)
    assert small.frames.shape == (4, 56, 56, 3)
    assert (small.indices, small.sample_fps) == (given.indices, given.sample_fps)
    assert [int(frame[0, 0, 0]) for frame in small.frames] == [0, 1, 2, 3]
    assert resize_clip(small, 3136, 3136) is small


@pytest.mark.parametrize("unit", ["frame", "temporal_patch"])
@pytest.mark.parametrize("n", [4, 5, 8, 16])
def test_shuffle_is_a_permutation_and_never_the_true_order(n, unit):
    for seed in range(200):
        order = shuffle_order(n, seed, unit)
        assert sorted(order) == list(range(n))
        assert order != list(range(n))


def test_two_frames_swap_and_one_stays():
    assert all(shuffle_order(2, seed) == [1, 0] for seed in range(20))
    assert shuffle_order(1, 0) == [0]
    assert shuffle_order(2, 0, "temporal_patch") == [0, 1]
    assert shuffle_order(0, 0) == []


def test_temporal_patches_stay_together():
    order = shuffle_order(8, 3, "temporal_patch")
    assert all(order[i] % 2 == 0 and order[i + 1] == order[i] + 1 for i in range(0, 8, 2))


def test_shuffle_depends_on_the_seed_alone():
    assert shuffle_order(16, 5) == shuffle_order(16, 5)
    assert len({tuple(shuffle_order(16, seed)) for seed in range(50)}) == 50


def test_every_other_order_of_three_is_reached():
    assert len({tuple(shuffle_order(3, seed)) for seed in range(200)}) == 5


def test_unknown_unit():
    with pytest.raises(ValueError, match="one of frame, temporal_patch"):
        shuffle_order(4, 0, "second")


def test_shuffle_clip_moves_frames_and_indices():
    shuffled = shuffle_clip(clip(4), [2, 0, 3, 1])
    assert [int(frame[0, 0, 0]) for frame in shuffled.frames] == [2, 0, 3, 1]
    assert shuffled.indices == [20, 0, 30, 10]
    assert shuffled.sample_fps == 1.0


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 0, 1, 2], [1, 2, 3, 4]])
def test_shuffle_clip_refuses_what_is_no_permutation(order):
    with pytest.raises(ValueError, match="not a permutation"):
        shuffle_clip(clip(4), order)


@pytest.mark.parametrize(
    ("frames", "indices"),
    [
        pytest.param(np.zeros((2, 4, 4, 3), np.float32), [0, 1], id="float"),
        pytest.param(np.zeros((2, 3, 4, 4), np.uint8), [0, 1], id="channels-first"),
        pytest.param(np.zeros((2, 4, 4, 3), np.uint8), [0], id="index-missing"),
    ],
)
def test_clip_refuses(frames, indices):
    with pytest.raises(ValueError):
        Clip(frames, indices, 1.0, 1.0, 1.0)


def test_clip_prints_its_shape_not_its_pixels():
    assert repr(clip(4)) == "Clip(4x56x56x3, 1 of 10 fps, 4 s)"
