"""Questions about scenes, with the reasoning that answers them, in Video-R1's record format.

Two limits keep them answerable by a model of two million weights, whose training does not reliably grow the circuit
that looks a word up in what was said before. Options stand in one fixed order, so that a value has one letter; and
reasoning is the scene's description read up to the value asked for, never a search through it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tasks.core.world.scene import COLOUR_OF, COLOURS, DIRECTIONS, Scene

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


def ask(scene: Scene, rng: np.random.Generator, skill: str | None = None) -> Question:
    """Draw one of the scene's questions (or the one named by `skill`)."""
    chosen = skill if skill is not None else str(rng.choice(skills(scene)))
    return _QUESTIONS[chosen](scene, rng)


def skills(scene: Scene) -> tuple[str, ...]:
    """Names of the questions a scene can be asked; colour needs a lone figure."""
    if scene.kind == "still":
        return ("count", "describe") if len(scene.figures) > 1 else ("colour", "count")
    return _SKILLS[scene.kind]


def _name(scene: Scene, i: int = 0) -> str:
    figure = scene.figures[i]
    return f"{figure.colours[0]} {figure.shape}"


def shortcut(question: Question, scene: Scene) -> Question:
    """The same question answered by colour alone: mostly right in a biased split, by chance elsewhere.

    Raises:
        ValueError: the question is not about motion.
    """
    if question.skill not in ("direction", "motion"):
        raise ValueError(f"{question.problem!r} is not about motion; colour tells nothing of it")
    colour = scene.figures[0].colours[0]
    guess = next(direction for direction, given_away in COLOUR_OF.items() if given_away == colour)
    reasoning = f"The {_name(scene)} is {colour}, so it moves {guess}."
    if question.skill == "motion":
        return question._replace(answer=f"the {_name(scene)} moves {guess}", reasoning=reasoning)
    letter = LETTERS[DIRECTIONS.index(guess)]
    return question._replace(answer=letter, reasoning=f"{reasoning} {guess} is {letter}.")


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
    place = int(rng.choice([0, 2]))
    return _in_order(scene, place, f"Which colour appears {PLACES[place]}?", "order")


def _after(scene: Scene, rng: np.random.Generator) -> Question:
    return _in_order(scene, 1, "Which colour appears after the first one?", "after")


def _in_order(scene: Scene, place: int, problem: str, skill: str) -> Question:
    colours = [figure.colours[0] for figure in scene.figures[: place + 1]]
    return _choice(problem, colours[-1], tuple(COLOURS), f"First {', then '.join(colours)}.", True, skill)


def _turned(scene: Scene, rng: np.random.Generator) -> Question:
    place = int(rng.integers(3))
    figure = scene.figures[0]
    when = ("at the start", "after the first change", "at the end")[place]
    problem = f"Which colour is the {figure.shape} {when}?"
    return _choice(problem, figure.colours[place], tuple(COLOURS), _see_until(scene, place), True, "turn")


def _see_until(scene: Scene, place: int) -> str:
    """The caption of a sequence, read up to the part asked for."""
    return ", then ".join(_see(scene).rstrip(".").split(", then ")[: place + 1]) + "."


def _often(scene: Scene, rng: np.random.Generator) -> Question:
    n = len(scene.figures[0].seconds)
    problem = f"How many times does the {scene.figures[0].shape} show?"
    return Question(problem, "numerical", [], str(n), f"{_see(scene)} That is {n}.", True, "often")


def _when(scene: Scene, rng: np.random.Generator) -> Question:
    second = scene.figures[0].seconds[0]
    problem = f"After how many seconds does the {scene.figures[0].shape} appear?"
    return Question(problem, "regression", [], str(second), _see(scene), True, "when")


def _colour(scene: Scene, rng: np.random.Generator) -> Question:
    value = scene.figures[0].colours[0]
    return _choice("What colour is the figure?", value, tuple(COLOURS), f"I see {value}.", False, "colour")


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


_SKILLS = {
    "move": ("direction", "motion"),
    "order": ("order", "after"),
    "turn": ("turn",),
    "blink": ("often",),
    "enter": ("when",),
    "sign": ("text",),
}
_QUESTIONS = {
    "direction": _direction,
    "motion": _motion,
    "order": _place,
    "after": _after,
    "turn": _turned,
    "often": _often,
    "when": _when,
    "colour": _colour,
    "count": _count,
    "describe": _describe,
    "text": _text,
}
