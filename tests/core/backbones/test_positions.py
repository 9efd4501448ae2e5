"""Positions of text, images and videos in one batch, against the published rule worked out by hand."""

from types import SimpleNamespace

import pytest
import torch

from tasks.core.backbones.positions import grid_positions, rope_index

VISION = SimpleNamespace(spatial_merge_size=2, tokens_per_second=2)
INNER = SimpleNamespace(config=SimpleNamespace(vision_config=VISION))


def kinds(*blocks):
    return [kind for kind, count in blocks for _ in range(count)]


@pytest.mark.parametrize(
    ("grid", "step", "times"),
    [
        pytest.param([4, 2, 2], 1.0, [0, 1, 2, 3], id="one position per temporal patch"),
        pytest.param([4, 2, 2], 0.5, [0, 0, 1, 1], id="fast clip: rounded down after multiplying, not before"),
        pytest.param([4, 2, 2], 1.5, [0, 1, 3, 4], id="fractions accumulate"),
        pytest.param([1, 2, 2], 9.0, [0], id="an image has one time"),
    ],
)
def test_time_positions(grid, step, times):
    assert grid_positions(grid, 2, step)[0].tolist() == times


def test_rows_and_columns_come_from_merged_patches():
    assert grid_positions([1, 4, 6], 2, 1.0)[1:].tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize(
    ("types", "images", "videos", "seconds", "after"),
    [
        pytest.param(kinds((0, 3), (2, 8), (0, 1)), None, [[8, 2, 2]], [1.0], 3 + 15, id="long clip: time decides"),
        pytest.param(kinds((0, 3), (2, 8), (0, 1)), None, [[2, 4, 4]], [1.0], 3 + 3, id="two patches, two apart"),
        pytest.param(kinds((0, 3), (2, 8), (0, 1)), None, [[8, 2, 2]], [0.1], 3 + 2, id="all patches within a second"),
        pytest.param(kinds((0, 3), (1, 12), (0, 1)), [[1, 6, 8]], None, None, 3 + 4, id="image: longer side decides"),
        pytest.param(kinds((0, 5)), None, None, None, 4, id="text alone counts up"),
    ],
)
def test_text_continues_after_the_largest_position(types, images, videos, seconds, after):
    ids = torch.zeros(1, len(types), dtype=torch.long)
    positions, deltas = rope_index(
        INNER,
        ids,
        torch.tensor([types]),
        image_grid_thw=None if images is None else torch.tensor(images),
        video_grid_thw=None if videos is None else torch.tensor(videos),
        second_per_grid_ts=None if seconds is None else torch.tensor(seconds),
    )
    assert positions[:, 0, -1].tolist() == [after] * 3
    assert deltas.tolist() == [[after + 1 - len(types)]]


def test_padding_and_neighbours_change_nothing():
    row = kinds((0, 2), (2, 4), (0, 3))
    grid = torch.tensor([[4, 2, 2]])
    alone, delta = rope_index(INNER, torch.zeros(1, 9).long(), torch.tensor([row]), video_grid_thw=grid)
    types = torch.tensor([[0, 0, 0, *row], kinds((0, 4), (2, 2), (0, 6))])
    mask = torch.ones(2, 12).long()
    mask[0, :3] = 0
    grids = torch.tensor([[4, 2, 2], [2, 2, 2]])
    both, deltas = rope_index(INNER, torch.zeros(2, 12).long(), types, video_grid_thw=grids, attention_mask=mask)
    assert torch.equal(both[:, 0, 3:], alone[:, 0])
    assert deltas[0] == delta[0]
