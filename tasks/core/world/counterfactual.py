"""Counterfactuals of a scene: the same question on a clip changed in one respect, with the exact answer of each.

    forward      as drawn
    reversed     played backwards: direction, order and turns reverse, how often stays
    recoloured   colours exchanged in a cycle: only questions of colour change
    mirrored     left and right exchanged: only left and right change

A model that reads the motion is right on all four. One that reads colour in place of motion gives the same answer
forward and reversed, so that it is never right on both, and another answer when only colours changed.
(Pairs of clips with a change-or-stay relation: CRPO, arXiv 2605.21988; pair accuracy: DyBench and TimeBlind,
arXiv 2602.00288. There pairs are filmed or edited, here both sides are rendered.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tasks.core.world.questions import Question, ask
from tasks.core.world.scene import COLOURS, DURATION_SECONDS, Figure, Scene

STATIC_ON_MOVING = ("colour", "count")
"""Questions of static evidence that a lone moving figure can be asked too."""
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
_MIRRORED = {"left": "right", "right": "left"}
_NEXT = dict(zip(COLOURS, [*list(COLOURS)[1:], next(iter(COLOURS))], strict=True))


class Variant(NamedTuple):
    """One counterfactual of a scene and the question asked of it."""

    name: str
    scene: Scene
    question: Question


def reverse_scene(scene: Scene) -> Scene | None:
    """The scene played backwards; None where its question would ask for something else (when a figure appears)."""
    if scene.kind == "enter":
        return None

    def turned(figure: Figure) -> Figure:
        x0, y0, x1, y1 = figure.path
        return replace(
            figure,
            path=(x1, y1, x0, y0),
            seconds=tuple(sorted(DURATION_SECONDS - 1 - second for second in figure.seconds)),
            colours=figure.colours[::-1],
            colour_changes=tuple(sorted(DURATION_SECONDS - change for change in figure.colour_changes)),
        )

    figures = tuple(turned(figure) for figure in scene.figures)
    if scene.kind == "order":  # figures are listed as they appear
        figures = figures[::-1]
    return replace(scene, figures=figures, direction=_OPPOSITE.get(scene.direction, ""))


def recolour_scene(scene: Scene) -> Scene:
    """The scene with every colour replaced by the next one."""
    figures = tuple(replace(f, colours=tuple(_NEXT[colour] for colour in f.colours)) for f in scene.figures)
    return replace(scene, figures=figures)


def mirror_scene(scene: Scene) -> Scene | None:
    """The scene with left and right exchanged; None for a word, which would be mirror writing."""
    if scene.kind == "sign":
        return None

    def flipped(figure: Figure) -> Figure:
        x0, y0, x1, y1 = figure.path
        return replace(figure, path=(1 - x0, y0, 1 - x1, y1))

    direction = _MIRRORED.get(scene.direction, scene.direction)
    figures = tuple(flipped(figure) for figure in scene.figures)
    if scene.kind == "still":  # figures are listed by quadrant, row by row
        figures = tuple(sorted(figures, key=lambda figure: (figure.path[1] > 0.5, figure.path[0] > 0.5)))
    return replace(scene, figures=figures, direction=direction)


CHANGES: dict[str, Callable[[Scene], Scene | None]] = {
    "forward": lambda scene: scene,
    "reversed": reverse_scene,
    "recoloured": recolour_scene,
    "mirrored": mirror_scene,
}


def variants(scene: Scene, skill: str, seed: int | tuple[int, ...]) -> list[Variant]:
    """The counterfactuals that a scene has, each asked the same question.

    Args:
        scene: of moving pictures.
        skill: what to ask.
        seed: of the question's own choices, equal for all.
    """
    asked = []
    for name, change in CHANGES.items():
        changed = change(scene)
        if changed is not None:
            asked.append(Variant(name, changed, ask(changed, np.random.default_rng(seed), skill)))
    return asked
