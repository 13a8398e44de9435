"""A Gaussian field whose pixels are mapped to the one-point distribution of true maps.

    κ = q(Φ(g)),    g a Gaussian field of unit variance,

where q is the quantile function of all pixels of the training maps and Φ the normal distribution.
A pixel of rank r among Gaussian pixels gets the value of rank r among true ones. The mapping
changes correlations, and the field g is corrected for it (:mod:`lensnb.maps.mapping`). So the maps
have the correlation function of the training maps too. Chen et al. (2020, arXiv:2001.10765) use
such maps to predict lensing peaks, and call the method inverse Gaussianization. They found that
the scatter of the mean from map to map must not be lost, because much of the covariance of peak
counts comes from it. Here the field has this scatter; it can be left out to see its effect.

The model is fast, needs no training, and has an exact density. What it cannot have is anything
beyond one and two points, such as clusters of the right shape.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from ..given import Given
from ..maps import CutOutField, GaussianField, GaussianModes
from ..maps.cut_out import correlation, is_small
from ..maps.fields import floored, mode_power
from ..maps.grid import check_fittable, wide
from ..maps.mapping import gaussian_correlation, hermite_coefficients, rank_mapping
from .contract import blank_field, check_batch, check_draw, map_shape, register

_WORTH_SAYING = 0.01  # of the variance


@register("rank-mapped")
class RankMappedField(nn.Module):
    """A Gaussian field with the one-point distribution of true maps.

    Args:
        gaussian: the field g, of zero mean and unit variance.
        reach: the mapping is known from g = −reach to reach, and continues in straight lines.
        quantiles: κ at evenly spaced g from −reach to reach, increasing, ``(knots,)``; for several
            channels ``(channels, knots)``.

    Attributes:
        n: pixels a side.
        channels: number of channels.
        given: the conditions that the model needs: none.

    Raises:
        ValueError: quantiles that do not increase.
    """

    given: dict = {}

    def __init__(self, gaussian: GaussianModes, reach: float | Tensor, quantiles: Tensor):
        super().__init__()
        quantiles = torch.as_tensor(quantiles, dtype=torch.float64)
        if not (quantiles.diff() > 0).all():
            raise ValueError("the quantiles of a rank-mapped field must increase")
        self.gaussian = gaussian
        self.register_buffer("reach", torch.as_tensor(reach, dtype=torch.float64).clone())
        self.register_buffer("quantiles", quantiles.clone())
        self.n, self.channels = gaussian.n, gaussian.channels
        self.config = {
            "n": self.n,
            "channels": self.channels,
            "field": gaussian.kind,
            "knots": quantiles.shape[-1],
        }

    @classmethod
    def from_config(cls, config: dict) -> RankMappedField:
        """A model of the same shape, for a checkpoint to fill."""
        gaussian = blank_field(config["field"], config["n"], config["channels"])
        quantiles = torch.linspace(-1, 1, config["knots"])
        if gaussian.channels > 1:
            quantiles = quantiles.expand(gaussian.channels, -1)
        return cls(gaussian, 1.0, quantiles)

    @classmethod
    def fit(cls, maps: Tensor, periodic: bool | None = None, knots: int = 257) -> RankMappedField:
        """The field with the one-point distribution and the correlation function of maps.

        Args:
            maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            periodic: whether opposite edges of the maps touch. By default they do not, up to 64²
                pixels; larger maps need a periodic field.
            knots: points of the mapping, between which it is a straight line.

        Raises:
            ValueError: no tensor of maps, or maps that are not finite or flat.

        Warns:
            UserWarning: no Gaussian field has the correlation function that the mapping needs;
                that of the maps differs by more than 1 % of the variance.
        """
        check_fittable("the set for a rank-mapped field", maps)
        if periodic is None:
            periodic = not is_small(maps)
        x = wide(maps.cpu())
        if maps.ndim == 3:
            x = x[:, None]
        scores, quantiles = rank_mapping(x, knots)
        mean = x.mean((0, 2, 3))
        if periodic:
            modes = mode_power(x - mean[:, None, None])
            xi = torch.fft.irfft2(modes, s=x.shape[-2:])
        else:
            xi = correlation(x, mean)
        rho = gaussian_correlation(xi, hermite_coefficients(scores, quantiles))
        if maps.ndim == 3:
            rho, quantiles = rho[0, 0], quantiles[0]
        return cls(_unit_field(rho, periodic), scores[-1], quantiles)

    # ------------------------------------------------------------ the mapping

    def to_kappa(self, g: Tensor) -> Tensor:
        """Gaussian maps → κ, float64: the straight line between the two knots about each g."""
        knots = self.quantiles.shape[-1]
        place = (wide(g) + self.reach) * ((knots - 1) / (2 * self.reach))
        left = place.floor().clamp(0, knots - 2).long()
        low, high = self._ends(left)
        return low + (place - left) * (high - low)

    def to_gaussian(self, kappa: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of :meth:`to_kappa`, and ln dg/dκ of every pixel, float64."""
        knots = self.quantiles.shape[-1]
        width = 2 * self.reach / (knots - 1)
        x = wide(kappa)
        left = self._per_channel(_interval, x)
        low, high = self._ends(left)
        slope = width / (high - low)
        g = left * width - self.reach + (x - low) * slope
        return g, slope.log()

    def _ends(self, left: Tensor) -> tuple[Tensor, Tensor]:
        """κ at the knots number ``left`` and at the next ones."""
        return self._per_channel(_taken, left), self._per_channel(_taken, left + 1)

    def _per_channel(self, function, maps: Tensor) -> Tensor:
        """``function(maps, quantiles)``, with each channel's own quantiles."""
        if self.channels == 1:
            return function(maps, self.quantiles)
        parts = zip(maps.unbind(-3), self.quantiles)
        return torch.stack([function(*part) for part in parts], -3)

    # ------------------------------------------------------------ samples and density

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        given: Given | None = None,
        mean_scatter: bool = True,
    ) -> Tensor:
        """Draw ``n`` κ-maps.

        Args:
            n: number of maps.
            generator: source of randomness.
            given: no conditions; the contract has this argument.
            mean_scatter: False removes the mean of each Gaussian map and scales what remains to
                unit variance. So the means of the κ-maps hardly scatter. Such mocks have too small
                a covariance.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        check_draw(self, n, given)
        g = self.gaussian.sample(n, generator)
        if not mean_scatter:
            rest = (1 - self.variance_of_the_mean()).sqrt()
            g = (g - g.mean((-2, -1), keepdim=True)) / rest
        return self.to_kappa(g).float()

    def variance_of_the_mean(self) -> Tensor:
        """Variance of the mean of a Gaussian map, to broadcast against its channels."""
        field = self.gaussian
        channel = wide(torch.eye(self.channels, device=self.reach.device))
        flat = channel[:, :, None, None].expand(-1, -1, self.n, self.n) / self.n**2
        modes = field.modes(flat.reshape(-1, *map_shape(self)), centred=True)
        shares = modes.abs().square() * field.multiplicity * field.eigenvalues
        variance = shares.flatten(1).sum(1)
        if self.channels == 1:
            return variance
        return variance[:, None, None]

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """Exact ln p(κ) in nats, float64, shape ``(batch,)``."""
        check_batch(self, kappa, given)
        g, log_slope = self.to_gaussian(kappa)
        return self.gaussian.log_prob(g) + self.gaussian.sum_of_pixels(log_slope)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits per dimension of κ-maps, a scalar."""
        pixels = math.prod(map_shape(self))
        return -self.log_prob(batch, given).mean() / (math.log(2) * pixels)


def _interval(x: Tensor, quantiles: Tensor) -> Tensor:
    """The number of the knot to the left of each value."""
    return (torch.searchsorted(quantiles, x.contiguous()) - 1).clamp(0, len(quantiles) - 2)


def _taken(index: Tensor, quantiles: Tensor) -> Tensor:
    return quantiles[index]


def _unit_field(rho: Tensor, periodic: bool) -> GaussianModes:
    """The Gaussian field with this correlation, and unit variance."""
    kind = CutOutField
    if periodic:
        kind = GaussianField
        rho = floored(torch.fft.rfft2(rho).real)
    field = kind(rho)
    # Modes that would need a negative variance get a tiny one, so the others are too strong.
    variances = field.eigenvalues * field.multiplicity
    excess = float(variances.sum()) / math.prod(field.map_shape) - 1
    if excess > _WORTH_SAYING:
        warnings.warn(
            "no Gaussian field has exactly the correlation function that the rank mapping needs: "
            f"{excess:.1%} of the variance comes from modes without any; expected more maps",
            stacklevel=3,
        )
    if excess > 0:
        field = kind(rho / (1 + excess))
    return field
