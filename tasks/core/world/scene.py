"""Scenes: what is on screen at which second. Pure; no pixels here.

A clip lasts `DURATION_SECONDS`; its canvas is the unit square, x to the right, y down.

    move    one figure crosses the canvas            -> direction
    order   three figures appear one after another   -> which first, which after
    turn    one figure changes colour twice          -> which colour after
    blink   one figure shows 1-4 times               -> how often
    enter   one figure appears and stays             -> when
    still   1-4 figures in the quadrants, unmoving   -> colour, shape, count
    sign    a word                                   -> text
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DURATION_SECONDS = 8
COLOURS = {
    "red": (226, 44, 44),
    "green": (40, 190, 70),
    "blue": (50, 90, 235),
    "yellow": (240, 215, 40),
}
SHAPES = ("circle", "square", "triangle", "cross")
DIRECTIONS = ("left", "right", "up", "down")
WORDS = ("STOP", "GO", "EXIT", "OPEN", "HELP", "TAXI", "MENU", "ZOO")
VIDEO_KINDS = ("move", "order", "turn", "blink", "enter", "still", "sign")

SIDE_OF = {"right": "top", "left": "bottom", "up": "left", "down": "right"}
COLOUR_OF = {"left": "red", "right": "green", "up": "blue", "down": "yellow"}
BACKGROUND_OF = {"left": (15, 30), "right": (30, 45), "up": (45, 60), "down": (60, 75)}
"""What gives a direction away in a biased split: the side along which a figure travels, its colour, the grey level of
the background. Every direction stays possible with each of them."""
SHORTCUTS = ("side", "colour")
"""Those of a biased split unless others are named; `background` is left for questions that no tuning has seen."""


@dataclass(frozen=True)
class Figure:
    """One figure: where it is (a straight path over the clip), when it shows, and its colour over time."""

    shape: str
    colours: tuple[str, ...]
    path: tuple[float, float, float, float]
    """x0, y0, x1, y1 in canvas units."""
    seconds: tuple[int, ...]
    """Seconds (0-based) during which it shows."""
    colour_changes: tuple[int, ...] = ()
    """Second at which colours[1], colours[2].. begin."""
    size: float = 0.13
    """Half width, canvas units."""

    def colour_at(self, second: float) -> str:
        """Colour it has at a time."""
        return self.colours[sum(second >= change for change in self.colour_changes)]


@dataclass(frozen=True)
class Scene:
    """What a clip or image shows."""

    kind: str
    figures: tuple[Figure, ...]
    word: str = ""
    direction: str = ""
    background: int = 40
    """Grey level."""


def sample_scene(
    kind: str, rng: np.random.Generator, *, shortcut_bias: float = 0.0, shortcuts: Sequence[str] = SHORTCUTS
) -> Scene:
    """Draw a scene.

    Args:
        kind: one of the kinds above.
        rng: draws the same numbers whatever the bias.
        shortcut_bias: share of `move` scenes whose direction is given away.
        shortcuts: by what: side, colour, background.
    """
    makers = {
        "order": _order,
        "turn": _turn,
        "blink": _blink,
        "enter": _enter,
        "still": _still,
    }
    background = int(rng.integers(15, 75))
    if kind == "move":
        return _move(rng, shortcut_bias, frozenset(shortcuts), background)
    if kind == "sign":
        return Scene("sign", (), word=str(rng.choice(WORDS)), background=background)
    return Scene(kind, makers[kind](rng), background=background)


def _pick(rng: np.random.Generator, values: tuple[str, ...], n: int) -> tuple[str, ...]:
    return tuple(str(value) for value in rng.choice(values, size=n, replace=False))


def _size(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.13, 0.18))


def _spot(rng: np.random.Generator) -> tuple[float, float, float, float]:
    x, y = (float(value) for value in rng.uniform(0.2, 0.8, size=2))
    return (x, y, x, y)


_ALWAYS = tuple(range(DURATION_SECONDS))


def _move(rng: np.random.Generator, shortcut_bias: float, shortcuts: frozenset[str], background: int) -> Scene:
    direction = str(rng.choice(DIRECTIONS))
    low_side = bool(rng.integers(2))
    given_away = shortcuts if rng.uniform() < shortcut_bias else frozenset()
    if "side" in given_away:
        low_side = SIDE_OF[direction] in ("top", "left")
    across = float(rng.uniform(0.17, 0.36) if low_side else rng.uniform(0.64, 0.83))
    start, end = float(rng.uniform(0.14, 0.26)), float(rng.uniform(0.74, 0.86))
    if direction in ("left", "up"):
        start, end = end, start
    path = (start, across, end, across) if direction in ("left", "right") else (across, start, across, end)
    shape, colours = str(rng.choice(SHAPES)), _pick(rng, tuple(COLOURS), 1)
    if "colour" in given_away:
        colours = (COLOUR_OF[direction],)
    if "background" in given_away:
        low, high = BACKGROUND_OF[direction]
        background = low + (background - 15) * (high - low) // 60
    figure = Figure(shape, colours, path, _ALWAYS, size=_size(rng))
    return Scene("move", (figure,), direction=direction, background=background)


def _order(rng: np.random.Generator) -> tuple[Figure, ...]:
    # Three turns of two or three seconds that tile the clip.
    lengths = [3, 3, 2]
    rng.shuffle(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shapes, colours = _pick(rng, SHAPES, 3), _pick(rng, tuple(COLOURS), 3)
    return tuple(
        Figure(shapes[i], (colours[i],), _spot(rng), tuple(range(starts[i], starts[i + 1])), size=_size(rng))
        for i in range(3)
    )


def _turn(rng: np.random.Generator) -> tuple[Figure, ...]:
    changes = (int(rng.integers(2, 4)), int(rng.integers(5, 7)))
    colours = _pick(rng, tuple(COLOURS), 3)
    return (Figure(str(rng.choice(SHAPES)), colours, _spot(rng), _ALWAYS, changes, _size(rng)),)


def _blink(rng: np.random.Generator) -> tuple[Figure, ...]:
    times = int(rng.integers(1, 5))
    # Single seconds, never two in a row: choose positions in the compressed line, then spread.
    compressed = np.sort(rng.choice(DURATION_SECONDS - times + 1, size=times, replace=False))
    seconds = tuple(int(position + i) for i, position in enumerate(compressed))
    return (Figure(str(rng.choice(SHAPES)), _pick(rng, tuple(COLOURS), 1), _spot(rng), seconds, size=_size(rng)),)


def _enter(rng: np.random.Generator) -> tuple[Figure, ...]:
    start = int(rng.integers(1, DURATION_SECONDS - 1))
    seconds = tuple(range(start, DURATION_SECONDS))
    return (Figure(str(rng.choice(SHAPES)), _pick(rng, tuple(COLOURS), 1), _spot(rng), seconds, size=_size(rng)),)


def _still(rng: np.random.Generator) -> tuple[Figure, ...]:
    n = int(rng.integers(1, 5))
    shapes, colours = _pick(rng, SHAPES, n), _pick(rng, tuple(COLOURS), n)
    quadrants = np.sort(rng.choice(4, size=n, replace=False))
    figures = []
    for i, quadrant in enumerate(quadrants):
        x = 0.25 + 0.5 * (quadrant % 2) + float(rng.uniform(-0.06, 0.06))
        y = 0.25 + 0.5 * (quadrant // 2) + float(rng.uniform(-0.06, 0.06))
        figures.append(Figure(shapes[i], (colours[i],), (x, y, x, y), _ALWAYS, size=_size(rng)))
    return tuple(figures)
