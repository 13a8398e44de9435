"""Spot the fake: a quiz on true against generated maps, with a running score.

Two maps stand side by side, one true and one generated, and the reader says which is which. Who guesses is right half of the
time; after N answers with k right the share is k / N, known to √((k + 1)(N − k + 1) / ((N + 2)² (N + 3))), the standard
deviation of what k of N leave open of it (a beta distribution). :func:`spot_the_fake` is the one to call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import traitlets
from scipy.stats import binom
from torch import Tensor

from .. import plot
from ..data import MapSet
from ..maps import smooth
from .pictures import (
    COLOUR_MAPS,
    Pictured,
    check_shapes,
    colour_table,
    field_of,
    pick,
    quantise,
    script,
)


class Score(NamedTuple):
    """How many answers, how many of them right, their share with its error, and how often guessing does as well or better."""

    answers: int
    right: int
    share: float
    error: float
    by_chance: float


def score(right: int, answers: int) -> Score:
    """The score of so many right answers; without an answer share and error are NaN and chance is 1."""
    if not answers:
        return Score(0, 0, math.nan, math.nan, 1.0)
    error = math.sqrt((right + 1) * (answers - right + 1) / ((answers + 2) ** 2 * (answers + 3)))
    return Score(answers, right, right / answers, error, float(binom.sf(right - 1, answers, 0.5)))


def spot_the_fake(
    sets: Mapping[str, MapSet | Tensor | np.ndarray],
    side_deg: float | None = None,
    *,
    questions: int = 100,
    smoothing_arcmin: float = 0.0,
    seed: int = 0,
) -> Quiz:
    """Ask which of two maps is generated: a true one and one of a generator's, side by side.

    The arrow keys, or the buttons, say left or right; Enter goes on. The score counts by generator, with its error and with
    how often guessing would do as well.

    Args:
        sets: name → κ-maps, a :class:`~lensnb.data.MapSet` or an array ``(maps, n, n)``; the first holds the true maps, the
            others those of generators, which take turns at random.
        side_deg: side of the field, degrees; not needed when one of the sets is a :class:`~lensnb.data.MapSet`.
        questions: how many there are; no map is shown twice while there are enough.
        smoothing_arcmin: smooth the maps, standard deviation in arcminutes.
        seed: of the questions: a class with one seed sees the same ones.

    Returns:
        A widget, shown when it is the last value of a cell. Its ``answers`` can be read; ``score()`` sums them up.

    Raises:
        ValueError: fewer than two sets, sets of different shapes or fields or with NaN, no field size, no questions.
    """
    if questions < 1:
        raise ValueError(f"a quiz needs at least one question, found {questions}")
    side_deg = field_of(sets, side_deg)
    chosen = {str(name): pick(name, one, questions) for name, one in sets.items()}
    check_shapes(chosen)
    maps = {name: smooth(one.kappa, smoothing_arcmin, side_deg) for name, one in chosen.items()}
    return Quiz(maps, side_deg, questions, seed)


class Quiz(Pictured):
    """The widget that :func:`spot_the_fake` makes.

    Attributes:
        answers: one entry a question answered, in order: which side was said to be generated, 0 left or 1 right.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
    """

    _esm = script("common.js", "quiz.js")

    answers = traitlets.List(traitlets.Int()).tag(sync=True)
    colours = traitlets.Enum(list(COLOUR_MAPS), "magma").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes

    def __init__(self, maps: Mapping[str, Tensor], side_deg: float, questions: int, seed: int):
        self._maps, self._side_deg = dict(maps), side_deg
        self.questions = _questions(
            {name: len(kappa) for name, kappa in maps.items()}, questions, seed
        )
        truth = next(iter(maps.values()))
        self._limits = np.percentile(
            truth.flatten()[:: max(1, truth.numel() // 10**6)], [0.5, 99.7]
        ).tolist()
        super().__init__(
            _about={
                "names": list(maps), "n": truth.shape[-1], "side_deg": side_deg, "limits": self._limits,
                "sets": {name: quantise(kappa) for name, kappa in maps.items()},
                "tables": {name: colour_table(name).tobytes() for name in COLOUR_MAPS},
                "questions": self.questions,
            },
        )  # fmt: skip

    @traitlets.validate("answers")
    def _check_answers(self, proposal):
        answers = proposal["value"]
        if len(answers) > len(self.questions) or not set(answers) <= {0, 1}:
            raise traitlets.TraitError(
                f"answers are 0 or 1, {len(self.questions)} at the most; found {answers}"
            )
        return answers

    def score(self, generator: str | None = None) -> Score:
        """How the answers so far went, over all generators or for one of them.

        Raises:
            ValueError: there is no such generator.
        """
        names = list(self._maps)[1:]
        if generator is not None and generator not in names:
            raise ValueError(
                f"there is no generator {generator!r} in the quiz; it shows {', '.join(names)}"
            )
        asked = [
            (q, a)
            for q, a in zip(self.questions, self.answers)
            if generator in (None, q["generator"])
        ]
        return score(sum(q["side"] == answer for q, answer in asked), len(asked))

    def figure(self) -> plot.Figure:
        """The question that is next."""
        question = self.questions[min(len(self.answers), len(self.questions) - 1)]
        truth = next(iter(self._maps))
        pair = [(truth, question["true"]), (question["generator"], question["fake"])]
        figure = plot.Figure(figsize=(7.2, 3.9), layout="constrained", facecolor="white")
        axes = figure.subplots(1, 2)
        for ax, (name, one), side in zip(
            axes, pair[:: 1 if question["side"] else -1], ("left", "right")
        ):
            image = plot.kappa_map(
                ax, self._maps[name][one], self._side_deg, tuple(self._limits), "magma"
            )
            image.set_interpolation("nearest")
            ax.set_title(side, fontsize=10)
        axes[1].set(ylabel="", yticklabels=[])
        figure.colorbar(
            image,
            ax=axes,
            orientation="horizontal",
            label="convergence κ",
            extend="both",
            aspect=45,
        )
        figure.suptitle(
            "One of the two is generated. Which? (Run the notebook to answer.)", fontsize=11
        )
        return figure

    def __repr__(self) -> str:
        found = self.score()
        said = f"{found.right} of {found.answers} right" if found.answers else "no answer yet"
        return f"Quiz: {', '.join(self._maps)}; {len(self.questions)} questions, {said}"

    def alt(self) -> str:
        return "Two κ maps side by side, one of them true and one generated."


def _questions(counts: Mapping[str, int], questions: int, seed: int) -> list[dict]:
    """What is asked: the generator, which of its maps and which true one, and on which side the generated one stands."""
    draw = torch.Generator().manual_seed(seed)
    truth, *generators = counts
    decks: dict[str, list[int]] = {name: [] for name in counts}

    def next_of(name: str) -> int:
        if not decks[name]:  # all were shown: shuffle them again
            decks[name] = torch.randperm(counts[name], generator=draw).tolist()
        return decks[name].pop()

    found = []
    for _ in range(questions):
        name = generators[int(torch.randint(len(generators), (1,), generator=draw))]
        side = int(torch.randint(2, (1,), generator=draw))
        found.append(
            {"generator": name, "true": next_of(truth), "fake": next_of(name), "side": side}
        )
    return found
