"""Fields that are Gaussian but for their band powers, which have the scatter of true maps.

The power of a Gaussian field in a band of scales hardly differs from map to map. True maps differ
more, and if one band is stronger, so are the others. This is much of the covariance of spectra.
A field with the right distribution of band powers that is else as random as possible has

    p(x) = p_G(x) p(t(x)) / p_G(t(x)).

p_G is the Gaussian field. Its power in a band, q = Σ_k |x_k|² / λ_k over the N modes of the band,
has a χ² distribution with N degrees of freedom. t is the cube root of q, in units in which the χ²
distribution is nearly standard normal (Wilson & Hilferty 1931),

    t = ((q / N)^(1/3) − 1 + 2 / (9N)) / √(2 / (9N)),

and p(t) is a normal distribution with the mean and covariance of the t of maps. A map is made from
a Gaussian one by multiplying its bands. The inverse is exact as well, so normalizing flows can use
such a field as their base.
"""

from __future__ import annotations

import math

import torch
from scipy.stats import chi2
from torch import Tensor

from .cut_out import fit_field
from .fields import GaussianModes
from .grid import check_fittable, wide

_SMALLEST = 1e-3  # of the cube root of a relative power, where the normal distribution has no rest


def bands_of(radius: Tensor, n: int, bands: int) -> Tensor:
    """The band of modes at |ℓ| / ℓ_min, of equal width in ln |ℓ|; −1 for the mean of a map."""
    share = radius.clamp(min=0.5).log() / math.log(n / math.sqrt(2))
    band = (bands * share - 1e-9).floor().clamp(0, bands - 1).long()
    return torch.where(radius < 0.9, -1, band)


class BandField(GaussianModes):
    """A field whose band powers have the mean, scatter and correlations of those of maps.

    Args:
        field: the Gaussian field, of one channel.
        mean: mean of t, shape ``(bands,)``.
        covariance: covariance of t, shape ``(bands, bands)``.

    Attributes:
        bands: number of bands, of equal width in ln |ℓ|.

    Raises:
        ValueError: a field of several channels, or a covariance that is not positive definite.
    """

    def __init__(self, field: GaussianModes, mean: Tensor, covariance: Tensor):
        super().__init__()
        if field.channels > 1:
            raise ValueError(
                f"a field with band powers has one channel, found {field.channels} channels"
            )
        self.field = field
        self.channels = 1
        self.bands = len(mean)
        self.kind = f"{field.kind}, {self.bands} bands"
        self.register_buffer("t_mean", torch.as_tensor(mean, dtype=torch.float64).clone())
        covariance = torch.as_tensor(covariance, dtype=torch.float64)
        root, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            raise ValueError("the covariance of band powers must be positive definite")
        self.register_buffer("t_root", root)
        # What follows from the Gaussian field is not in checkpoints.
        for name in ("band", "weights", "numbers"):
            self.register_buffer(name, None, persistent=False)
        self._sort_modes()
        self.register_load_state_dict_post_hook(_sort_again)

    def _sort_modes(self) -> None:
        """Find the band of each mode, and how many real numbers a band has."""
        field = self.field
        self.band = bands_of(field.radius(), field.n, self.bands)
        inside = self.band.flatten() == torch.arange(self.bands, device=self.band.device)[:, None]
        self.weights = inside * field.multiplicity.expand(self.band.shape).flatten()
        self.numbers = self.weights.sum(1)

    @classmethod
    def fit(cls, maps: Tensor, field: GaussianModes | None = None, bands: int = 8) -> BandField:
        """The field with the mean, the correlation function and the band powers of maps.

        Args:
            maps: shape ``(maps, n, n)``.
            field: the Gaussian field fitted to them; by default that of
                :func:`~lensnb.maps.fit_field`.
            bands: number of bands; fewer for small maps, where some would have no modes.

        Raises:
            ValueError: no tensor of maps, or fewer than twice as many maps as bands.
        """
        check_fittable("the set for a field with band powers", maps)
        if len(maps) < 2 * bands:
            raise ValueError(
                f"a field with {bands} band powers needs {2 * bands} maps, found {len(maps)}"
            )
        if field is None:
            field = fit_field(maps)
        blank = cls.blank(field, bands)
        while not blank.numbers.all():
            bands -= 1
            blank = cls.blank(field, bands)
        t = torch.cat([blank.powers(part) for part in maps.split(1024)])
        return cls(field, t.mean(0), torch.cov(t.T).reshape(bands, bands))

    @classmethod
    def blank(cls, field: GaussianModes, bands: int) -> BandField:
        """A field with hardly more scatter of its powers than the Gaussian one, to be filled."""
        return cls(field, torch.zeros(bands), torch.eye(bands))

    # ------------------------------------------------------------ the modes of the Gaussian field

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.field.n

    @property
    def mean(self) -> Tensor:
        """Mean of the field."""
        return self.field.mean

    @property
    def eigenvalues(self) -> Tensor:
        """Variances of the modes of the Gaussian field."""
        return self.field.eigenvalues

    @property
    def multiplicity(self) -> Tensor:
        """How many real numbers each mode stands for."""
        return self.field.multiplicity

    def to_plain(self, x: Tensor) -> Tensor:
        return self.field.to_plain(x)

    def from_plain(self, plain: Tensor) -> Tensor:
        return self.field.from_plain(plain)

    def radius(self) -> Tensor:
        return self.field.radius()

    # ------------------------------------------------------------ band powers

    def powers(self, x: Tensor) -> Tensor:
        """t of each band of maps ``(maps, n, n)``, float64, shape ``(maps, bands)``."""
        return self._t_of_power(self._power(self.field.modes(wide(x))))

    def _power(self, modes: Tensor) -> Tensor:
        """q of each band, ``(maps, bands)``."""
        squares = modes.abs().square()
        if modes.is_complex():  # the gradient of the modulus is slow
            squares = modes.real.square() + modes.imag.square()
        relative = (squares / self.eigenvalues).flatten(1)
        return relative @ self.weights.T

    def _unit(self) -> Tensor:
        """√(2 / (9N)) of each band."""
        return (2 / (9 * self.numbers)).sqrt()

    def _t_of_power(self, q: Tensor) -> Tensor:
        unit = self._unit()
        return ((q / self.numbers) ** (1 / 3) - 1 + unit.square()) / unit

    def _power_of_t(self, t: Tensor) -> Tensor:
        unit = self._unit()
        root = 1 - unit.square() + t * unit
        return self.numbers * root.clamp(min=_SMALLEST) ** 3

    def _scaled(self, modes: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Modes whose bands have the power ``after`` in the place of ``before``."""
        factor = (after / before).sqrt()
        factor = torch.cat([factor, torch.ones_like(factor[:, :1])], 1)  # for modes in no band
        return modes * factor[:, self.band]

    # ------------------------------------------------------------ samples and density

    def colour(self, white: Tensor) -> Tensor:
        """White maps → maps of the field; exactly invertible."""
        modes = self.field.modes(white, centred=True) * self.eigenvalues.sqrt()
        before = self._power(modes)
        normal = torch.special.ndtri(self._probability(before))
        after = self._power_of_t(self.t_mean + normal @ self.t_root.T)
        return self.field.from_modes(self._scaled(modes, before, after)).to(white.dtype)

    def whiten(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`colour`."""
        modes = self.field.modes(x)
        before = self._power(modes)
        centred = self._t_of_power(before) - self.t_mean
        normal = torch.linalg.solve_triangular(self.t_root, centred.T, upper=False).T
        after = self._power_with(torch.special.ndtr(normal))
        white = self._scaled(modes, before, after) * self.eigenvalues.rsqrt()
        return self.field._from_modes(white).to(x.dtype)

    def _probability(self, q: Tensor) -> Tensor:
        """The χ² distribution function of each band."""
        found = chi2.cdf(q.cpu().numpy(), self.numbers.cpu().numpy())
        return torch.as_tensor(found).to(q)

    def _power_with(self, probability: Tensor) -> Tensor:
        """The inverse of :meth:`_probability`."""
        found = chi2.ppf(probability.cpu().numpy(), self.numbers.cpu().numpy())
        return torch.as_tensor(found).to(probability)

    def log_prob_of_modes(self, modes: Tensor) -> Tensor:
        gaussian = self.field.log_prob_of_modes(modes)
        q = self._power(modes)
        return gaussian + self._log_density(self._t_of_power(q)) - self._log_gaussian(q)

    def _log_density(self, t: Tensor) -> Tensor:
        """ln p(t) of the maps, ``(maps,)``."""
        centred = (t - self.t_mean).T
        normal = torch.linalg.solve_triangular(self.t_root, centred, upper=False)
        square = normal.square().sum(0)
        size = self.t_root.diagonal().log().sum() + self.bands / 2 * math.log(2 * math.pi)
        return -0.5 * square - size

    def _log_gaussian(self, q: Tensor) -> Tensor:
        """ln p_G(t): that of the χ² distribution, less ln dt/dq, ``(maps,)``."""
        half = self.numbers / 2
        chi_square = (half - 1) * q.log() - q / 2 - half * math.log(2) - torch.lgamma(half)
        slope = -2 / 3 * q.log() - self.numbers.log() / 3 - self._unit().log() - math.log(3)
        return (chi_square - slope).sum(-1)

    def score(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Not known in closed form.

        Raises:
            ValueError: always.
        """
        raise ValueError("a field with band powers has no closed score; use its Gaussian field")

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Not known in closed form.

        Raises:
            ValueError: always.
        """
        raise ValueError("a field with band powers has no closed denoiser; use its Gaussian field")


def _sort_again(field: BandField, _keys) -> None:
    """After a checkpoint was loaded: the bands of its modes."""
    field._sort_modes()
