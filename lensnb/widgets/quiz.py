"""Spot the fake: a quiz on true and generated maps, with a running score.

Two maps stand side by side, one true and one generated, and the reader says which is generated.
A guess is correct half of the time. After k correct answers of N the share is k / N. Its error is
the standard deviation of a beta distribution, the posterior of a flat prior:

    √((k + 1)(N − k + 1) / ((N + 2)² (N + 3))).

The function to call is :func:`spot_the_fake`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import traitlets
from scipy.stats import binom
from torch import Tensor

from .. import plot
from ..maps import smooth
from ..plot.style import blank_figure
from ..ramps import SEQUENTIAL
from .pictures import (
    Maps,
    Pictured,
    colour_limits,
    colour_tables,
    draw_colour_bar,
    draw_map,
    field_side,
    pick_all,
    quantise,
    script,
)


class Score(NamedTuple):
    """How well a reader did.

    Attributes:
        answers: how many answers.
        right: how many of them are correct.
        share: of correct answers; NaN without an answer.
        error: standard error of the share; NaN without an answer.
        by_chance: how often guessing does as well or better.
    """

    answers: int
    right: int
    share: float
    error: float
    by_chance: float


def _score(right: int, answers: int) -> Score:
    """The score of so many correct answers."""
    if not answers:
        return Score(0, 0, math.nan, math.nan, 1.0)
    variance = (right + 1) * (answers - right + 1) / ((answers + 2) ** 2 * (answers + 3))
    by_chance = float(binom.sf(right - 1, answers, 0.5))
    return Score(answers, right, right / answers, math.sqrt(variance), by_chance)


def spot_the_fake(
    sets: Mapping[str, Maps],
    side_deg: float | None = None,
    *,
    questions: int = 100,
    smoothing_arcmin: float = 0.0,
    seed: int = 0,
) -> Quiz:
    """Ask which of two maps is generated: a true one and one of a generator, side by side.

    The arrow keys, or the buttons, say left or right; Enter shows the next question. Every
    generator has its score, with the error and with how often guessing would do as well.

    Args:
        sets: name → κ-maps, a :class:`~lensnb.data.MapSet` or an array ``(maps, n, n)``. The first
            holds the true maps, the others those of generators, which are asked about at random.
        side_deg: side of the field, degrees; not needed when one of the sets is a
            :class:`~lensnb.data.MapSet`.
        questions: how many there are; no map is shown twice while there are enough.
        smoothing_arcmin: standard deviation of a Gaussian smoothing of the maps, arcminutes.
        seed: of the questions; with one seed, all students of a class see the same ones.

    Returns:
        A widget; make it the last value of a cell. Its ``answers`` can be read, and ``score()``
        sums them up.

    Raises:
        ValueError: fewer than two sets; sets of different shapes or fields, of several source bins
            or with NaN; no field size; no questions.
    """
    if questions < 1:
        raise ValueError(f"a quiz needs at least one question, found {questions}")
    if not isinstance(sets, Mapping) or len(sets) < 2:
        raise ValueError(
            "a quiz needs true maps and at least one other set: {name: maps, other name: maps}"
        )
    side_deg = field_side(sets, side_deg)
    chosen = pick_all(sets, questions)
    maps = {name: smooth(one.kappa, smoothing_arcmin, side_deg) for name, one in chosen.items()}
    return Quiz(maps, side_deg, questions, seed)


class Quiz(Pictured):
    """The widget that :func:`spot_the_fake` makes.

    Attributes:
        answers: one entry for each question answered, in order: the side that was said to be
            generated, 0 left or 1 right.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        large: whether letters and lines are larger, for a projector.
        questions: what is asked, in order: the ``"generator"``, the numbers of the ``"true"`` and
            of the ``"fake"`` map, and the ``"side"`` of the fake one, 0 left or 1 right.
    """

    _esm = script("common.js", "quiz.js")

    answers = traitlets.List(traitlets.Int()).tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)
    large = traitlets.Bool(False).tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes

    def __init__(self, maps: Mapping[str, Tensor], side_deg: float, questions: int, seed: int):
        self._maps = dict(maps)
        self._truth, *self._generators = maps
        self._side_deg = side_deg
        counts = {name: len(kappa) for name, kappa in maps.items()}
        self.questions = _draw_questions(counts, questions, seed)
        self._limits = colour_limits(maps[self._truth])
        about = {
            "names": list(maps),
            "n": maps[self._truth].shape[-1],
            "side_deg": side_deg,
            "limits": self._limits,
            "sets": {name: quantise(kappa) for name, kappa in maps.items()},
            "tables": colour_tables(),
            "questions": self.questions,
        }
        super().__init__(_about=about)

    @traitlets.validate("answers")
    def _check_answers(self, proposal):
        answers, most = proposal["value"], len(self.questions)
        if len(answers) > most or not set(answers) <= {0, 1}:
            raise traitlets.TraitError(f"answers are 0 or 1, {most} at the most; found {answers}")
        return answers

    def score(self, generator: str | None = None) -> Score:
        """The score so far, over all generators or for one of them.

        Raises:
            ValueError: there is no such generator.
        """
        if generator is not None and generator not in self._generators:
            known = ", ".join(self._generators)
            raise ValueError(f"there is no generator {generator!r} in the quiz; it shows {known}")
        answers = right = 0
        for question, answer in zip(self.questions, self.answers):
            if generator in (None, question["generator"]):
                answers += 1
                right += question["side"] == answer
        return _score(right, answers)

    def figure(self) -> plot.Figure:
        """The next question."""
        number = min(len(self.answers), len(self.questions) - 1)
        question = self.questions[number]
        pair = [
            self._maps[self._truth][question["true"]],
            self._maps[question["generator"]][question["fake"]],
        ]
        if question["side"] == 0:  # the generated map is on the left
            pair.reverse()
        figure = blank_figure(7.2, 3.9)
        axes = figure.subplots(1, 2)
        for ax, kappa, side in zip(axes, pair, ("left", "right")):
            image = draw_map(ax, kappa, self._side_deg, self._limits, "magma", side)
        axes[1].set(ylabel="", yticklabels=[])
        draw_colour_bar(figure, image, axes, aspect=45)
        text = "One of the two maps is generated. Which? (Run the notebook to answer.)"
        figure.suptitle(text, fontsize=11)
        return figure

    def __repr__(self) -> str:
        found = self.score()
        so_far = "no answer yet"
        if found.answers:
            so_far = f"{found.right} of {found.answers} right"
        return f"Quiz: {', '.join(self._maps)}; {len(self.questions)} questions, {so_far}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        return "Two κ maps side by side, one of them true and one generated."


def _draw_questions(counts: Mapping[str, int], questions: int, seed: int) -> list[dict]:
    """What is asked, at random.

    Args:
        counts: maps in each set, the true maps first.
        questions: how many to draw.
        seed: of the questions.

    Returns:
        For each question the ``"generator"``, the number of the ``"true"`` and of the ``"fake"``
        map, and the ``"side"`` of the fake one, 0 left or 1 right.
    """
    generator = torch.Generator().manual_seed(seed)
    truth, *generators = counts
    decks: dict[str, list[int]] = {name: [] for name in counts}

    def one_below(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    def next_map(name: str) -> int:
        if not decks[name]:  # all were shown: shuffle them again
            decks[name] = torch.randperm(counts[name], generator=generator).tolist()
        return decks[name].pop()

    asked = []
    for _ in range(questions):
        name = generators[one_below(len(generators))]
        side = one_below(2)
        true, fake = next_map(truth), next_map(name)
        asked.append({"generator": name, "true": true, "fake": fake, "side": side})
    return asked
