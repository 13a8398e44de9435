"""A generator whose maps are drawn again if they look too little like training maps.

A discriminant t(κ) estimates the ratio of two densities,

    t(κ) = ln p_data(κ) − ln p_model(κ) = a + Σ_k w_k f_k(κ),

from numbers f of a map (:mod:`lensnb.models.map_numbers`). It is a logistic regression between
training maps and maps of the model. A map of the model is kept with the probability
min(1, e^(t − t₀)) (rejection sampling with a discriminator: Azadi et al. 2019, arXiv:1810.06758),
so that the maps that are kept have the density of the data, as far as t knows it. Maps
beyond t₀, one in a hundred, are always kept. Instead, all maps can be kept and weighted by e^t.

The discriminant sees training maps only. So what a report finds on other simulations is a test of
it. How many maps are kept, the *share*, says how far the model was from its training maps.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..given import Condition, Given
from ..maps.grid import check_tensor
from ..transform import KappaTransform
from .contract import check_batch, check_draw, families, register
from .map_numbers import numbers_of_maps

_ALWAYS = 0.01  # share of the model's maps beyond t₀
_BLOCK = 512  # maps that are drawn at least, and numbers of maps that are measured at once
_FOLDS = 4
_PENALTIES = np.geomspace(1e-5, 1e-1, 9)  # 1 / strength of the ridge penalty, to choose from


@register("refined")
class Refined(nn.Module):
    """A trained model with a discriminant that decides which of its maps are kept.

        refined = Refined.fit(model, train.tensor(), train.simulation)
        maps = refined.sample(1000)

    Args:
        model: the model, of a registered family, without conditions.
        transform: the κ transform of the numbers, fitted to the training maps.
        weights: w, ``(numbers,)``.
        constant: a.
        limit: t₀.
        share: the share of maps that is kept.

    Attributes:
        n: pixels a side.
        channels: number of channels.
        given: the conditions that the model needs: none.

    Raises:
        ValueError: the model needs conditions.
    """

    given: dict[str, Condition] = {}

    def __init__(
        self,
        model: nn.Module,
        transform: KappaTransform,
        weights: Tensor,
        constant: float | Tensor = 0.0,
        limit: float | Tensor = 0.0,
        share: float | Tensor = 1.0,
    ):
        super().__init__()
        if model.given:
            raise ValueError(
                f"a refined model needs a model without conditions; this {type(model).__name__} "
                f"needs {', '.join(model.given)}"
            )
        self.model = model.requires_grad_(False)
        self.n = model.n
        self.channels = model.channels
        self.transform = transform
        buffers = {"weights": weights, "constant": constant, "limit": limit, "share": share}
        for name, value in buffers.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())
        self.config = {
            "family": model.family,
            "model": model.config,
            "numbers": len(self.weights),
        }

    @classmethod
    def from_config(cls, config: dict) -> Refined:
        """A model of the same shape, for a checkpoint to fill."""
        model = families()[config["family"]].from_config(config["model"])
        transform = KappaTransform.blank(model.channels)
        return cls(model, transform, torch.zeros(config["numbers"]))

    @classmethod
    def fit(
        cls,
        model: nn.Module,
        train: Tensor,
        simulation=None,
        drawn: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Refined:
        """Fit the discriminant to training maps and to maps of the model.

        The strength of the ridge penalty is the one that leaves the smallest loss on simulations
        that the fit did not see.

        Args:
            model: the trained model.
            train: its training maps, κ, ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            simulation: simulation of each training map; None if every map is independent.
            drawn: maps that are drawn from the model; by default as many as training maps.
            generator: source of randomness.

        Raises:
            ValueError: no training maps, maps of another shape, or not one simulation a map.
        """
        check_tensor("the training set of a refined model", train)
        check_batch(model, train)
        if simulation is None:
            simulation = np.arange(len(train))
        if len(simulation) != len(train) or len(train) < 2 * _FOLDS:
            raise ValueError(
                f"a discriminant needs at least {2 * _FOLDS} training maps and one simulation a "
                f"map, found {len(train)} maps and {len(simulation)} simulations"
            )
        made = model.sample(drawn or len(train), generator)
        transform = KappaTransform.fit(train)
        true_numbers = _numbers(train, transform)
        made_numbers = _numbers(made, transform)
        weights, constant = _regression(true_numbers, made_numbers, np.asarray(simulation))
        ratio = made_numbers @ weights + constant
        limit = float(ratio.quantile(1 - _ALWAYS))
        share = float((ratio - limit).clamp(max=0).exp().mean())
        return cls(model, transform, weights, constant, limit, share)

    def log_ratio(self, kappa: Tensor) -> Tensor:
        """t, the estimated ln p_data − ln p_model of maps, float64, shape ``(maps,)``.

        Its exponential is the weight of a map of the model in means over the data.
        """
        check_batch(self, kappa)
        return _numbers(kappa, self.transform) @ self.weights + self.constant

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """The loss of the model inside; a refined model itself is fitted, not trained."""
        return self.model.loss(batch, generator, given)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Draw ``n`` κ-maps, float32, of the shape of the model's.

        Args:
            n: number of maps.
            generator: source of randomness.
            given: not used; the model has no conditions.
        """
        check_draw(self, n, given)
        kept, missing = [], n
        while missing > 0:
            maps = self._some(missing, generator)[:missing]
            kept.append(maps)
            missing -= len(maps)
        return torch.cat(kept)

    def _some(self, missing: int, generator: torch.Generator | None) -> Tensor:
        """About as many maps as are missing, or more."""
        maps = self.model.sample(max(_BLOCK, int(missing / self.share)), generator)
        source = maps.device
        if generator is not None:
            source = generator.device
        chance = torch.rand(len(maps), generator=generator, device=source).to(maps.device)
        return maps[chance < (self.log_ratio(maps) - self.limit).exp()]


def _numbers(maps: Tensor, transform: KappaTransform) -> Tensor:
    """The numbers of maps, block by block, so that they need little memory."""
    found = [numbers_of_maps(block, transform) for block in maps.split(_BLOCK)]
    return torch.cat(found)


def _regression(true: Tensor, made: Tensor, simulation: np.ndarray) -> tuple[Tensor, float]:
    """Weights and constant of the discriminant."""
    # scikit-learn takes a second to import, and only fitting needs it
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    mean, scatter = true.mean(0), true.std(0)
    scatter = torch.where(scatter > 0, scatter, torch.inf)  # what never varies has no weight
    inputs = ((torch.cat([true, made]) - mean) / scatter).cpu().numpy()
    is_true = np.arange(len(inputs)) < len(true)
    folds = list(_folds(is_true, simulation))
    # balanced: training maps and made maps have the same weight, however many there are
    ridges = [LogisticRegression(C=c, class_weight="balanced", max_iter=1000) for c in _PENALTIES]
    scores = [
        cross_val_score(ridge, inputs, is_true, cv=folds, scoring="neg_log_loss").mean()
        for ridge in ridges
    ]
    fitted = ridges[np.argmax(scores)].fit(inputs, is_true)
    weights = torch.as_tensor(fitted.coef_[0]).to(scatter) / scatter
    constant = float(fitted.intercept_[0]) - float(weights @ mean)
    return weights, constant


def _folds(is_true: np.ndarray, simulation: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts to fit and parts to check, which share no simulation."""
    from sklearn.model_selection import GroupKFold

    made = int((~is_true).sum())
    _, own = np.unique(simulation, return_inverse=True)
    groups = np.concatenate([own, own.max() + 1 + np.arange(made)])
    folds = min(_FOLDS, own.max() + 1)
    yield from GroupKFold(folds, shuffle=True, random_state=0).split(groups, is_true, groups)
