"""Band powers: the power of a map in bands of scale, as a condition of a diffusion model.

True maps differ in their power. A map with more power than the mean at some small scale has more
at all of them. This is one number among thousands of pixels. A network that has to estimate it
while it denoises gives values too close to the mean. So the scatter of spectra is too small, and
with it their covariance. A network that is conditioned on the band powers does not need to
estimate them. Shirasaki & Ikeda (2024, arXiv:2310.17141) restored the scatter by conditions on the
variance of the field.

Notation: y is a transformed map, and s(y) are its band powers. s̃ = s + h ε are noisy band powers,
where the noise ε has the same correlations R as the band powers. The training maps i give the
density

    p(s̃) = mean over i of N(s̃; sᵢ, h² R),

from which the band powers of new maps are drawn. A network that was trained with s̃ makes maps
from p(y | s̃). So new maps have the density ∫ p(y | s̃) p(s̃) ds̃ = p(y), and the noise h smooths
nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..given import Realised
from ..maps import GaussianModes, MapGrid
from ..maps.grid import check_tensor, wide
from ..samplers import MapNoise


class BandPowers(nn.Module):
    """ln of the power of a map in bands of |ℓ|, relative to a Gaussian field, standardised.

        s = (ln Σ_ℓ w_ℓ |y_ℓ|² − mean) / scatter

    The weights w are zero outside a band. Several
    channels have bands of their own, one channel after the other.

    Args:
        weights: w of each band, shape ``(bands, n, n // 2 + 1)``, or for several channels
            ``(channels, bands, n, n // 2 + 1)``.
        mean: mean of ln Σ w |y_ℓ|² over the training maps, shape ``(channels · bands,)``.
        std: its standard deviation from map to map, same shape.
        values: band powers s of the training maps, shape ``(maps, channels · bands)``.
        kernel: standard deviation h of the noise of s̃, in units of the scatter.
    """

    def __init__(
        self, weights: Tensor, mean: Tensor, std: Tensor, values: Tensor, kernel: float = 0.2
    ):
        super().__init__()
        buffers = {"weights": weights, "mean": mean, "std": std, "values": values}
        for name, value in buffers.items():
            self.register_buffer(name, value.double().clone())
        self.register_buffer("kernel", torch.tensor(kernel, dtype=torch.float64))
        correlation = self.values.T @ self.values / len(values)
        eigenvalues, axes = torch.linalg.eigh(correlation)
        root = axes * eigenvalues.clamp(min=1e-6).sqrt() @ axes.T
        self.register_buffer("root", root)  # R^½

    @classmethod
    def fit(cls, y: Tensor, gaussian: GaussianModes, bands: int = 4) -> BandPowers:
        """Measure the band powers of transformed training maps.

        Args:
            y: transformed maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            gaussian: the Gaussian field fitted to them.
            bands: number of bands in each channel, of equal width in ln |ℓ|.

        Raises:
            ValueError: no tensor, or too few maps for this number of bands.
        """
        check_tensor("the set for band powers", y)
        numbers = gaussian.channels * max(bands, 1)
        if bands < 1 or len(y) < 2 * numbers:
            raise ValueError(
                f"power in {bands} bands needs at least {2 * numbers} maps, found {len(y)}"
            )
        variance = gaussian.variance.cpu()
        if gaussian.channels > 1:
            variance = torch.stack([variance[i, i] for i in range(gaussian.channels)])
        weights = _weights(variance, bands)
        blank = cls(weights, torch.zeros(numbers), torch.ones(numbers), torch.zeros(1, numbers))
        blank = blank.to(y.device)
        values = torch.cat([blank(part) for part in y.split(1024)])
        mean, std = values.mean(0), values.std(0)
        return cls(weights, mean, std, (values - mean) / std)

    @classmethod
    def of_shape(cls, n: int, maps: int, numbers: int, channels: int = 1) -> BandPowers:
        """An object for a checkpoint to fill.

        Args:
            n: pixels a side.
            maps: number of training maps.
            numbers: band powers of a map, those of all channels together.
            channels: number of channels.
        """
        weights = torch.ones(channels, numbers // channels, n, n // 2 + 1)
        if channels == 1:
            weights = weights[0]
        return cls(weights, torch.zeros(numbers), torch.ones(numbers), torch.zeros(maps, numbers))

    @property
    def bands(self) -> int:
        """Number of band powers of a map, those of all channels together."""
        return len(self.mean)

    def forward(self, y: Tensor) -> Tensor:
        """Band powers s of transformed maps, float64, shape ``(batch, bands)``.

        Args:
            y: ``(batch, n, n)`` or ``(batch, channels, n, n)``.
        """
        power = torch.fft.rfft2(wide(y), norm="ortho").abs().square().flatten(-2)
        weights = wide(self.weights).flatten(-2)
        if y.ndim == 3:
            in_bands = power @ weights.T
        else:
            in_bands = torch.einsum("mcp,cbp->mcb", power, weights).flatten(1)
        return (in_bands.log() - self.mean) / self.std

    def blur(self, values: Tensor, white: Tensor) -> Tensor:
        """s̃ = s + h R^½ ε for band powers and white noise ε, both ``(batch, bands)``."""
        return values + self.kernel * wide(white).to(values) @ self.root

    def sample(self, noise: MapNoise) -> Tensor:
        """Draw band powers s̃ of new maps from p(s̃), float64, shape ``(batch, bands)``."""
        white = self._white(noise, self.bands + 1)
        # The first number chooses a training map, the others are the noise.
        share = torch.special.ndtr(white[:, 0])
        chosen = (share * len(self.values)).long().clamp(max=len(self.values) - 1)
        return self.blur(self.values[chosen], white[:, 1:])

    def blurred(self, values: Tensor, noise: MapNoise) -> Tensor:
        """s̃ of maps with known band powers s, with noise from the generators of the maps."""
        return self.blur(values, self._white(noise, self.bands))

    def realised(self, y: Tensor, given: Tensor) -> Realised:
        """The band powers s of maps that were made with s̃, beside s̃.

        Since s̃ = s + h ε, where s and ε have unit variance, the regression of s on s̃ has

            slope 1 / (1 + h²),   residual scatter h / √(1 + h²).

        Args:
            y: transformed maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            given: s̃ of each map, drawn by :meth:`sample`, shape ``(maps, bands)``.
        """
        h = float(self.kernel)
        total = 1 + h**2
        found = torch.cat([self(part) for part in y.split(1024)])
        names = [f"band {i + 1}" for i in range(self.bands)]
        return Realised(
            given.cpu().numpy(), found.cpu().numpy(), 1 / total, h / math.sqrt(total), names
        )

    def _white(self, noise: MapNoise, numbers: int) -> Tensor:
        # Drawn as small square maps, so that a seed gives the same maps as in older versions.
        side = math.isqrt(self.bands) + 1
        return noise(side, self.values).flatten(1)[:, :numbers]

    def log_ratio(self, noisy: Tensor, values: Tensor) -> Tensor:
        """ln p(s̃) − ln p(s̃ | s), shape ``(batch,)``.

        Args:
            noisy: band powers s̃, shape ``(batch, bands)``.
            values: the band powers s without the noise, same shape.
        """
        noisy = self._whitened(noisy)
        values = self._whitened(values)
        known = self._whitened(self.values)
        squares = torch.cdist(noisy, known).square()
        mixture = torch.logsumexp(-squares / 2, -1) - math.log(len(known))
        return mixture + (noisy - values).square().sum(-1) / 2

    def _whitened(self, values: Tensor) -> Tensor:
        """Band powers in units in which the noise of s̃ is white."""
        return torch.linalg.solve(self.root, values, left=False) / self.kernel


def _weights(variance: Tensor, bands: int) -> Tensor:
    """Weights w of each band: multiplicity / variance of each mode in it, normalised.

    Args:
        variance: variances of the modes, ``(..., n, n // 2 + 1)``.
        bands: number of bands.

    Returns:
        ``(..., bands, n, n // 2 + 1)``.
    """
    n = variance.shape[-2]
    grid = MapGrid(n, 1.0)
    radius = grid.ell / grid.ell_min
    share = radius.clamp(min=0.5).log() / math.log(n / math.sqrt(2))
    band = (bands * share - 1e-9).floor().clamp(0, bands - 1)
    band = torch.where(radius < 0.9, -1, band)  # the mean of a map belongs to no band
    inside = band == torch.arange(bands)[:, None, None]
    variance = variance[..., None, :, :]
    weights = inside * grid.multiplicity / variance
    return weights / (weights * variance).sum((-2, -1), keepdim=True)
