"""When which frame is shown: arithmetic on timestamps."""

from fractions import Fraction

import pytest

from tasks.core.video.packets import Packet, is_invisible, spans
from tasks.core.video.timeline import mended_ticks, on_screen, part_of, sample_times, timeline, usable_ticks

MILLI = Fraction(1, 1000)
SAMPLING = {"frames": 16, "fps": 2.0, "min_frames": 4}


def shown(ticks, base=MILLI, end=None, rates=()):
    return timeline(ticks, base, ticks[-1] + 40 if end is None else end, rates)


@pytest.mark.parametrize(
    ("shown_at", "decoded_at", "ticks"),
    [
        pytest.param([0, 40, 80], [0, 40, 80], [0, 40, 80], id="as-shown"),
        pytest.param([24, 72, 48, 96], [48, 72, 96, None], [48, 72, 96, 120], id="made-up-by-avi-with-b-frames"),
        pytest.param([0, None, 80], [0, 40, 80], [0, 40, 80], id="one-is-missing"),
        pytest.param([0, 40, 0, 40], [0, 40, 0, 40], None, id="both-step-back"),
        pytest.param([None] * 4, [None] * 4, None, id="none-at-all"),
        pytest.param([0, 40] + [None] * 20, [None] * 22, None, id="hardly-any"),
    ],
)
def test_of_both_timestamps_those_that_ascend_are_taken(shown_at, decoded_at, ticks):
    assert usable_ticks(shown_at, decoded_at) == ticks


@pytest.mark.parametrize(
    ("ticks", "mended"),
    [
        pytest.param([0, 40, 80, 0, 40, 80], [0, 40, 80, 120, 160, 200], id="joined-on"),
        pytest.param([7, 47, 47, 127], [0, 40, 80, 120], id="two-frames-of-one-timestamp"),
        pytest.param([0, 40, 80, 80], [0, 40, 80, 120], id="the-last-two-of-one"),
        pytest.param([0, 0, 0, 90], [0, 30, 60, 90], id="the-first-three-of-one"),
        pytest.param([5, 5, 5], None, id="none-steps-forward"),
    ],
)
def test_timestamps_that_do_not_ascend_are_mended(ticks, mended):
    assert mended_ticks(ticks) == mended


@pytest.mark.parametrize(
    ("ticks", "base", "rates", "rate", "is_constant", "duration"),
    [
        pytest.param(range(0, 4000, 40), MILLI, (25,), 25, True, 4.0, id="as-the-header-says"),
        pytest.param(range(0, 4000, 40), MILLI, (1000,), 25, True, 4.0, id="header-of-1000-frames-a-second"),
        pytest.param(range(0, 4000, 40), MILLI, (None, None), 25, True, 4.0, id="no-rate-in-the-header"),
        pytest.param(range(0, 4000, 40), MILLI, (1000, 25), 25, True, 4.0, id="the-second-rate-is-right"),
        pytest.param([round(i * 1000 / 30) for i in range(900)], MILLI, (30,), 30, True, 30.0, id="rounded-to-ms"),
        pytest.param(
            [round(i * 1001 / 30) for i in range(900)], MILLI, (30,), 29.97, True, 30.03, id="29.97-is-not-30"
        ),
        pytest.param(
            [i * 1001 for i in range(90)], Fraction(1, 30000), (Fraction(30000, 1001),), 29.97, True, 3.003, id="ntsc"
        ),
        pytest.param(range(512, 51712, 512), Fraction(1, 12800), (25,), 25, True, 4.0, id="begins-after-zero"),
        pytest.param([0, 40, 80, 1000, 2000], MILLI, (25,), 5 / 2.04, False, 2.04, id="variable"),
        pytest.param([0, 1000], MILLI, (25,), 1, True, 2.0, id="two-frames"),
        pytest.param([7], MILLI, (25,), 25, True, 0.04, id="one-frame"),
    ],
)
def test_rate_and_duration_come_from_the_timestamps(ticks, base, rates, rate, is_constant, duration):
    made = shown(list(ticks), base, rates=[rate and Fraction(rate) for rate in rates])
    assert made.rate == pytest.approx(rate, rel=1e-4)
    assert (made.is_constant, made.starts_seconds[0]) == (is_constant, 0.0)
    assert made.duration_seconds == pytest.approx(duration, rel=1e-3)


def test_a_variable_rate_is_sampled_evenly_over_time():
    """100 frames in the first second, then one a second for 30: most moments show the late frames."""
    ticks = [*range(0, 1000, 10), *range(1000, 31000, 1000)]
    made = shown(ticks, end=31000)
    choice = sample_times(made, frames=16, fps=2.0, min_frames=4)
    seconds = made.starts_seconds[choice.indices]
    assert len(seconds) == 16 and seconds[0] == 0 and seconds[-1] == 30
    assert all(abs(second - 2 * place) <= 1 for place, second in enumerate(seconds))
    assert choice.span_seconds == pytest.approx(31)


def test_the_frame_on_the_screen_is_the_last_that_appeared():
    made = shown([0, 40, 500, 900])
    assert on_screen(made, [-1, 0, 0.03, 0.04, 0.4999, 0.5, 0.9, 99]) == [0, 0, 0, 1, 1, 2, 3, 3]


def test_a_constant_rate_keeps_the_published_rule():
    choice = sample_times(shown(list(range(0, 4000, 100)), rates=(Fraction(10),)), **SAMPLING)
    assert choice.indices == [0, 6, 11, 17, 22, 28, 33, 39]
    assert choice.span_seconds == 4.0


@pytest.mark.parametrize("rates", [(Fraction(4),), ()], ids=["constant", "variable"])
def test_a_part_is_between_its_moments(rates):
    ticks = list(range(0, 20000, 250)) if rates else [*range(0, 10000, 250), *range(10010, 20000, 250)]
    made = shown(ticks, end=20000, rates=rates)
    choice = sample_times(made, **SAMPLING, window_seconds=(5.0, 9.0))
    assert (choice.indices[0], choice.indices[-1]) == (20, 36)
    assert choice.span_seconds == pytest.approx(17 / 4)
    assert part_of(made, None) == (0, 79)


@pytest.mark.parametrize("window", [(100.0, 110.0), (5.06, 5.1)], ids=["behind-the-end", "shorter-than-two-frames"])
@pytest.mark.parametrize("rates", [(Fraction(4),), ()], ids=["constant", "variable"])
def test_a_part_without_two_frames_is_told(window, rates):
    ticks = list(range(0, 20000, 250)) if rates else [0, *range(300, 20000, 250)]
    with pytest.raises(ValueError, match="no two frames"):
        part_of(shown(ticks, rates=rates), window)


@pytest.mark.parametrize("end", [0, 5], ids=["no-time-at-all", "no-rate"])
def test_what_cannot_be_timed_is_told(end):
    with pytest.raises(ValueError, match="frame"):
        sample_times(timeline([0], Fraction(0) if not end else MILLI, 0, ()), **SAMPLING)


# Stored as I0 P3 B1 B2 | I6 B4 B5 P9 B7 B8: the second I begins an open group, B4 and B5 refer back across it.
OPEN = [(0, 1), (3, 0), (1, 0), (2, 0), (6, 1), (4, 0), (5, 0), (9, 0), (7, 0), (8, 0)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param([2], [(0, 2)], id="only-as-far-as-needed"),
        pytest.param([7], [(4, 7)], id="from-the-nearest-key"),
        pytest.param([0, 9], [(0, 0), (4, 9)], id="what-lies-between-is-not-decoded"),
        pytest.param([5], [(0, 5)], id="a-frame-before-its-key-starts-at-the-key-before"),
        pytest.param([3, 4], [(0, 4)], id="spans-that-meet-are-one"),
        pytest.param([4, 6], [(0, 6)], id="a-later-frame-may-start-earlier"),
        pytest.param([2, 2], [(0, 2)], id="twice-is-once"),
    ],
)
def test_packets_that_frames_need(wanted, expected):
    packets = [Packet(tick, bool(is_key), False, False) for tick, is_key in OPEN]
    assert spans(packets, wanted) == expected


@pytest.mark.parametrize(
    ("codec", "data", "is_hidden"),
    [
        pytest.param("vp8", [0b00010000, 1], False, id="vp8-shown"),
        pytest.param("vp8", [0b00000001, 1], True, id="vp8-reference-only"),
        pytest.param("vp9", [0b10000110, 1], False, id="vp9-shown"),
        pytest.param("vp9", [0b10000100, 1], True, id="vp9-reference-only"),
        pytest.param("vp9", [0b10001000, 1], False, id="vp9-shows-an-earlier-one"),
        pytest.param("vp9", [0b10110001, 1], False, id="vp9-profile-3-shown"),
        pytest.param("vp9", [0b10110000, 1], True, id="vp9-profile-3-reference-only"),
        pytest.param("vp9", [0b10000100, 0b11000001], False, id="vp9-several-in-one-packet"),
    ],
)
def test_pictures_that_nobody_sees(codec, data, is_hidden):
    assert is_invisible(codec, bytes(data)) is is_hidden
