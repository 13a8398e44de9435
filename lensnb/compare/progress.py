"""How faithful a model is while it trains: a few numbers, cheap enough to ask for every so often.

They are about the power spectrum, whose mean, scatter and correlations fail in that order of difficulty. G is what the
model draws, T the truth, as everywhere in :mod:`lensnb.compare`; for errors and for every other statistic there is
:func:`lensnb.compare.compare`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..data import MapSet
from ..ensemble import Ensemble, measure
from ..stats import suite
from .verdict import correlation_slope

EXPLODED = 3.0  # a map with a |κ| of so many times the truth's largest is no map


class Fidelity:
    """A ``check`` for :func:`lensnb.train.fit`: draws maps from the model and holds their spectra against true ones.

    The same noise is drawn each time, so that two checks differ by the model only. Slopes of 500 maps of either set are
    uncertain by some hundredths, and noise in the truth's correlations pulls them below 1: look at how they move.

    Args:
        truth: true maps, at least two.
        n: maps to draw, at least two.
        seed: of the draws.

    Attributes:
        samples: the κ-maps of the last call, ``(n, pixels, pixels)``, for early looks; None before.

    Raises:
        ValueError: there are fewer than two true maps, or fewer than two are to be drawn.
    """

    def __init__(self, truth: MapSet, n: int = 512, seed: int = 0):
        if min(n, len(truth)) < 2:
            raise ValueError(
                f"fidelity needs at least two maps of each set, found {len(truth)} true ones and n = {n}"
            )
        maps = truth.tensor()
        self.statistics = suite(maps, truth.side_deg, ["power"])
        self.truth = measure(self.statistics, truth)["power"]
        self.bound = EXPLODED * float(maps.abs().max())
        self.n, self.seed = n, seed
        self.samples: Tensor | None = None

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Draw from the model and compare.

        Returns:
            ``power_mean``: mean over the bins of ⟨C_ℓ⟩_G / ⟨C_ℓ⟩_T; ``power_worst``: that ratio in the bin where it is
            farthest from 1; ``power_scatter``: mean over the bins of σ_G/σ_T; ``power_slope``: correlation slope; all NaN
            where fewer than two maps are whole; ``broken_maps``: how many are not, because of NaN or a |κ| of more than
            three times the truth's largest. Those are left out of the other numbers.
        """
        self.samples = (
            model.sample(self.n, torch.Generator().manual_seed(self.seed)).detach().cpu()
        )
        whole = self.samples[
            self.samples.abs().amax((-2, -1)) <= self.bound
        ]  # NaN compares as False
        broken = {"broken_maps": self.n - len(whole)}
        if len(whole) < 2:
            return (
                dict.fromkeys(
                    ("power_mean", "power_worst", "power_scatter", "power_slope"), np.nan
                )
                | broken
            )
        return _ratios(measure(self.statistics, whole)["power"], self.truth) | broken


def _ratios(sample: Ensemble, truth: Ensemble) -> dict[str, float]:
    mean, scatter = sample.mean() / truth.mean(), sample.std() / truth.std()
    return {
        "power_mean": float(mean.mean()),
        "power_worst": float(mean[np.abs(mean - 1).argmax()]),
        "power_scatter": float(scatter.mean()),
        "power_slope": correlation_slope(sample.correlation(), truth.correlation()),
    }
