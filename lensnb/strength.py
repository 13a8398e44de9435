"""How strong a map is, scale by scale: the labels that a diffusion model is told so that its maps differ as true maps do.

True maps differ in strength: if one of them has more power than the mean at some small scale, it has more at all of them.
That is one number in thousands, and a network that has to guess it while it denoises guesses too near to the mean, so the
scatter of spectra comes out too small, and with it the covariance. Told the number, it has nothing to guess (labels of the
field's variance restored the scatter for Shirasaki & Ikeda 2024, arXiv:2310.17141).

Notation: y is a transformed map, s(y) its labels, s̃ = s + h ε labels with noise of the same correlations. Training maps i
and noise make p(s̃) = mean over i of N(s̃; sᵢ, h² R), from which labels are drawn. A network that was taught with s̃ makes
maps of p(y | s̃), and so maps of ∫ p(y | s̃) p(s̃) ds̃ = p(y) with nothing smoothed away.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .maps import GaussianField, MapGrid, wide
from .samplers import MapNoise


class Strength(nn.Module):
    """ln of a map's power over that of a Gaussian field, in bands of |ℓ|, less its mean, over its scatter.

    Args:
        weights: weight of |y_ℓ|² in each band, shape ``(bands, n, n // 2 + 1)``.
        mean: mean of ln Σ weights |y_ℓ|² over the training maps, shape ``(bands,)``.
        std: its scatter from map to map, shape ``(bands,)``.
        labels: of the training maps, shape ``(maps, bands)``.
        kernel: noise h of the labels, in units of their scatter.
    """

    def __init__(
        self, weights: Tensor, mean: Tensor, std: Tensor, labels: Tensor, kernel: float = 0.2
    ):
        super().__init__()
        for name, value in (
            ("weights", weights),
            ("mean", mean),
            ("std", std),
            ("labels", labels),
        ):
            self.register_buffer(name, value.double().clone())
        self.register_buffer("kernel", torch.tensor(kernel, dtype=torch.float64))
        value, direction = torch.linalg.eigh(labels.double().T @ labels.double() / len(labels))
        self.register_buffer("root", direction * value.clamp(min=1e-6).sqrt() @ direction.T)  # R^½

    @classmethod
    def fit(cls, y: Tensor, gaussian: GaussianField, bands: int = 4) -> Strength:
        """Measure the labels of transformed training maps.

        Args:
            y: transformed maps, shape ``(maps, n, n)``.
            gaussian: the Gaussian field fitted to them.
            bands: number of bands, of equal width in ln |ℓ|.

        Raises:
            ValueError: too few maps for so many bands.
        """
        if bands < 1 or len(y) < 2 * bands:
            raise ValueError(
                f"the strength of maps in {bands} bands needs at least {2 * max(bands, 1)} maps, found {len(y)}"
            )
        grid = MapGrid(gaussian.n, 1.0)
        radius = (grid.ell / grid.ell_min).clamp(
            min=0.5
        )  # the mean of a map, 0.5, belongs to no band
        band = (
            (bands * radius.log() / math.log(gaussian.n / math.sqrt(2)) - 1e-9)
            .floor()
            .clamp(-1, bands - 1)
        )
        band = torch.where(radius < 0.9, -1, band.clamp(min=0))
        weights = (
            (band == torch.arange(bands)[:, None, None])
            * grid.multiplicity
            / gaussian.variance.cpu()
        )
        weights = weights / (weights * gaussian.variance.cpu()).sum((-2, -1), keepdim=True)
        bare = cls(weights, torch.zeros(bands), torch.ones(bands), torch.zeros(1, bands)).to(
            y.device
        )
        labels = torch.cat([bare(part) for part in y.split(1024)])
        mean, std = labels.mean(0), labels.std(0)
        return cls(weights, mean, std, (labels - mean) / std)

    @classmethod
    def of_shape(cls, n: int, maps: int, bands: int) -> Strength:
        """One for a checkpoint to fill."""
        ones = torch.ones(bands, n, n // 2 + 1)
        return cls(ones, torch.zeros(bands), torch.ones(bands), torch.zeros(maps, bands))

    @property
    def bands(self) -> int:
        """Labels a map."""
        return len(self.mean)

    def forward(self, y: Tensor) -> Tensor:
        """Labels s of transformed maps ``(batch, n, n)``, float64, shape ``(batch, bands)``."""
        power = torch.fft.rfft2(wide(y), norm="ortho").abs().square().flatten(1)
        return ((power @ wide(self.weights).flatten(1).T).log() - self.mean) / self.std

    def blur(self, labels: Tensor, white: Tensor) -> Tensor:
        """s̃ = s + h R^½ ε for labels and white noise ε, both ``(batch, bands)``."""
        return labels + self.kernel * wide(white).to(labels) @ self.root

    def sample(self, noise: MapNoise) -> Tensor:
        """Labels s̃ of new maps, float64, shape ``(batch, bands)``."""
        white = noise(math.isqrt(self.bands) + 1, self.labels).flatten(
            1
        )  # at least bands + 1 numbers a map
        chosen = (
            (torch.special.ndtr(white[:, 0]) * len(self.labels))
            .long()
            .clamp(max=len(self.labels) - 1)
        )
        return self.blur(self.labels[chosen], white[:, 1 : self.bands + 1])

    def log_ratio(self, noisy: Tensor, labels: Tensor) -> Tensor:
        """ln p(s̃) − ln p(s̃ | s) of noisy labels and the labels that they were made of, shape ``(batch,)``."""
        white = lambda s: torch.linalg.solve(self.root, s, left=False) / self.kernel
        squares = torch.cdist(white(noisy), white(self.labels)).square()
        mixture = torch.logsumexp(-squares / 2, -1) - math.log(len(self.labels))
        return mixture + (white(noisy) - white(labels)).square().sum(-1) / 2
