"""Questions about scenes, with the reasoning that answers them, in Video-R1's record format.

Options stand in one fixed order, so that a value has one letter. Looking the letter of a value up among shuffled
options is a skill of its own; models of two million weights learn it late, unreliably, and lose it when they learn to
see.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tasks.core.world.scene import COLOURS, DIRECTIONS, SHAPES, Scene

LETTERS = "ABCD"
PLACES = ("first", "second", "last")


class Question(NamedTuple):
    """A question about a scene, its answer, and the reasoning that leads there."""

    problem: str
    problem_type: str
    options: list[str]
    answer: str
    reasoning: str
    temporal: bool
    """Whether only frame order answers it."""
    skill: str


def caption(scene: Scene) -> str:
    """Every attribute of the scene in one sentence; what the mini models learn to see with."""
    return _see(scene)


def facts(scene: Scene) -> list[str]:
    """Sentences that follow from the caption by reading it again; empty where the caption says all."""
    if scene.kind == "order":
        shapes = [figure.shape for figure in scene.figures]
        places = [f"The {word} is {shape}." for word, shape in zip(PLACES, shapes, strict=True)]
        return places + [_next(before, after) for before, after in pairwise(shapes)]
    if scene.kind == "turn":
        return [_next(before, after) for before, after in pairwise(scene.figures[0].colours)]
    if scene.kind == "still":
        pairs = [(figure.shape, figure.colours[0]) for figure in scene.figures]
        return [f"The {a} is {b}." for a, b in pairs] + [f"The {b} one is {a}." for a, b in pairs]
    return []


def _next(before: str, after: str) -> str:
    return f"After {before} comes {after}."


def ask(scene: Scene, rng: np.random.Generator, skill: str | None = None) -> Question:
    """Draw one of the scene's questions (or the one named by `skill`)."""
    makers = _QUESTIONS[scene.kind]
    chosen = skill if skill is not None else str(rng.choice(list(makers)))
    return makers[chosen](scene, rng)


def skills(kind: str) -> tuple[str, ...]:
    """Names of the questions a kind of scene can be asked."""
    return tuple(_QUESTIONS[kind])


def _name(scene: Scene, i: int = 0) -> str:
    figure = scene.figures[i]
    return f"{figure.colours[0]} {figure.shape}"


_ENDS = {"left": ("right", "left"), "right": ("left", "right"), "up": ("bottom", "top"), "down": ("top", "bottom")}


def _see(scene: Scene) -> str:
    if scene.kind == "move":
        start, end = _ENDS[scene.direction]
        return f"The {_name(scene)} starts at the {start} and ends at the {end}, so it moves {scene.direction}."
    if scene.kind == "order":
        return f"First {_name(scene, 0)}, then {_name(scene, 1)}, then {_name(scene, 2)}."
    if scene.kind == "turn":
        a, b, c = scene.figures[0].colours
        return f"The {scene.figures[0].shape} is {a}, then {b}, then {c}."
    if scene.kind == "blink":
        return f"The {_name(scene)} shows at {', '.join(str(s) for s in scene.figures[0].seconds)}."
    if scene.kind == "enter":
        return f"The {_name(scene)} appears at {scene.figures[0].seconds[0]}."
    if scene.kind == "sign":
        return f"The sign says {scene.word}."
    return f"I see {', '.join(_name(scene, i) for i in range(len(scene.figures)))}."


def _choice(problem: str, value: str, pool: tuple[str, ...], reasoning: str, temporal: bool, skill: str) -> Question:
    """Multiple choice over all words of a pool of four, in the pool's order."""
    options = [f"{letter}. {word}" for letter, word in zip(LETTERS, pool, strict=True)]
    letter = LETTERS[pool.index(value)]
    return Question(problem, "multiple choice", options, letter, f"{reasoning} {value} is {letter}.", temporal, skill)


def _direction(scene: Scene, rng: np.random.Generator) -> Question:
    problem = f"Which way does the {scene.figures[0].shape} move?"
    return _choice(problem, scene.direction, DIRECTIONS, _see(scene), True, "direction")


def _motion(scene: Scene, rng: np.random.Generator) -> Question:
    answer = f"the {_name(scene)} moves {scene.direction}"
    return Question("Describe the motion.", "free-form", [], answer, _see(scene), True, "motion")


def _place(scene: Scene, rng: np.random.Generator) -> Question:
    place = int(rng.integers(3))
    word = PLACES[place]
    shapes = tuple(figure.shape for figure in scene.figures)
    value = shapes[place]
    reasoning = f"{_see(scene)} The {word} is {value}."
    return _choice(f"Which shape appears {word}?", value, SHAPES, reasoning, True, "order")


def _after(scene: Scene, rng: np.random.Generator) -> Question:
    place = int(rng.integers(2))
    shapes = tuple(figure.shape for figure in scene.figures)
    before, value = shapes[place], shapes[place + 1]
    reasoning = f"{_see(scene)} {_next(before, value)}"
    return _choice(f"Which shape appears right after the {before}?", value, SHAPES, reasoning, True, "after")


def _turned(scene: Scene, rng: np.random.Generator) -> Question:
    place = int(rng.integers(2))
    colours = scene.figures[0].colours
    before, value = colours[place], colours[place + 1]
    problem = f"Which colour does the {scene.figures[0].shape} turn right after {before}?"
    reasoning = f"{_see(scene)} {_next(before, value)}"
    return _choice(problem, value, tuple(COLOURS), reasoning, True, "turn")


def _often(scene: Scene, rng: np.random.Generator) -> Question:
    n = len(scene.figures[0].seconds)
    problem = f"How many times does the {scene.figures[0].shape} show?"
    return Question(problem, "numerical", [], str(n), f"{_see(scene)} That is {n}.", True, "often")


def _when(scene: Scene, rng: np.random.Generator) -> Question:
    second = scene.figures[0].seconds[0]
    problem = f"After how many seconds does the {scene.figures[0].shape} appear?"
    return Question(problem, "regression", [], str(second), _see(scene), True, "when")


def _colour(scene: Scene, rng: np.random.Generator) -> Question:
    figure = scene.figures[int(rng.integers(len(scene.figures)))]
    value = figure.colours[0]
    reasoning = f"{_see(scene)} The {figure.shape} is {value}."
    return _choice(f"What colour is the {figure.shape}?", value, tuple(COLOURS), reasoning, False, "colour")


def _shape(scene: Scene, rng: np.random.Generator) -> Question:
    figure = scene.figures[int(rng.integers(len(scene.figures)))]
    colour = figure.colours[0]
    reasoning = f"{_see(scene)} The {colour} one is {figure.shape}."
    return _choice(f"What shape is {colour}?", figure.shape, SHAPES, reasoning, False, "shape")


def _count(scene: Scene, rng: np.random.Generator) -> Question:
    n = len(scene.figures)
    return Question(
        "How many shapes are there?", "numerical", [], str(n), f"{_see(scene)} That is {n}.", False, "count"
    )


def _text(scene: Scene, rng: np.random.Generator) -> Question:
    return Question("What does the sign say?", "OCR", [], scene.word, _see(scene), False, "text")


def _describe(scene: Scene, rng: np.random.Generator) -> Question:
    answer = ", ".join(_name(scene, i) for i in range(len(scene.figures)))
    return Question("Describe what you see.", "free-form", [], answer, _see(scene), False, "describe")


_QUESTIONS = {
    "move": {"direction": _direction, "motion": _motion},
    "order": {"order": _place, "after": _after},
    "turn": {"turn": _turned},
    "blink": {"often": _often},
    "enter": {"when": _when},
    "still": {"colour": _colour, "shape": _shape, "count": _count, "describe": _describe},
    "sign": {"text": _text},
}
