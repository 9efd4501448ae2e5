"""Which step drew which row."""

import pytest

from tasks.sft.seen import drawings, keep_order, kept_orders

IDS = [10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("orders", "rows_per_step", "steps", "expected"),
    [
        pytest.param(
            {0: [4, 0, 1, 2, 3]},
            2,
            3,
            [(1, 0, 14), (1, 0, 10), (2, 0, 11), (2, 0, 12), (3, 0, 13)],
            id="the last step of an epoch has what is left",
        ),
        pytest.param(
            {1: [1, 0], 0: [0, 1]}, 2, 2, [(1, 0, 10), (1, 0, 11), (2, 1, 11), (2, 1, 10)], id="a second epoch"
        ),
        pytest.param(
            {0: [0, 1, 2], 1: [2, 1, 0]},
            2,
            3,
            [(1, 0, 10), (1, 0, 11), (2, 0, 12), (3, 1, 12), (3, 1, 11)],
            id="a run that ends within an epoch",
        ),
        pytest.param({}, 2, 0, [], id="no training"),
    ],
)
def test_drawings(orders, rows_per_step, steps, expected):
    rows = list(drawings(orders, rows_per_step, steps, IDS))
    assert [(row["step"], row["epoch"], row["problem_id"]) for row in rows] == expected


def test_orders_are_kept_by_epoch_and_a_resumed_epoch_replaces_its_own(tmp_path):
    for epoch, order in ((10, [1, 0]), (2, [0, 1]), (10, [0, 1])):
        keep_order(tmp_path, epoch, order)
    assert list(kept_orders(tmp_path).items()) == [(2, [0, 1]), (10, [0, 1])]
