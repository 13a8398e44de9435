"""A normalizing flow for data vectors: the density of a summary statistic, or of several joined, of one map.

Notation: v is a vector of statistics (what :mod:`lensnb.stats` gives for one map), y = C^(−1/2) (v − μ) / σ its whitened
form, z the latent vector with a standard normal density. μ and σ are the mean and scatter of each bin, C the correlation
matrix of the training vectors. As for maps,

    ln p(v) = ln p_normal(z) + ln |det ∂z/∂y| + ln |det ∂y/∂v|.

The map y → z is zuko's: a chain of masked autoregressive transforms (Papamakarios, Pavlakou & Murray 2017,
arXiv:1705.07057), each affine or a monotonic rational-quadratic spline (Durkan et al. 2019, arXiv:1906.04032). Such flows
are what Armijo, Thiele & Liu (2026, arXiv:2601.20669) use for data vectors. They start as the identity, so a new model is
the Gaussian with the mean and the covariance of the data, and learns only what is not Gaussian.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from ..maps import wide


class Whitening(nn.Module):
    """An affine map v → y, symmetric in the bins, after which they are uncorrelated with unit variance.

    Args:
        mean: μ, ``(bins,)``.
        std: σ, positive, ``(bins,)``.
        root: C^(1/2), symmetric and positive definite, ``(bins, bins)``.
    """

    def __init__(self, mean: Tensor, std: Tensor, root: Tensor):
        super().__init__()
        for name, value in (("mean", mean), ("std", std), ("root", root)):
            self.register_buffer(name, value.double().clone())
        self.register_buffer("inverse_root", torch.linalg.inv(self.root))

    @classmethod
    def fit(cls, vectors: Tensor, floor: float = 1e-6) -> Whitening:
        """Measure the map from vectors ``(maps, bins)``.

        Args:
            vectors: one vector a map.
            floor: least eigenvalue of C; the mean one is 1. Directions along which the vectors hardly vary (bins that
                sum to one, more bins than maps) get this variance.

        Raises:
            ValueError: the vectors are not finite or not a matrix, or a bin is the same in all of them.
        """
        v = vectors.double()
        if v.ndim != 2 or len(v) < 2 or not torch.isfinite(v).all():
            raise ValueError(
                f"whitening needs finite vectors of shape (maps, bins), found {tuple(v.shape)}"
            )
        mean, std = v.mean(0), v.std(0)
        constant = (std <= 1e-12 * mean.abs()).nonzero().flatten().tolist()
        if constant:
            raise ValueError(
                f"a density needs bins that vary; these are the same in every vector: {constant}"
            )
        value, direction = torch.linalg.eigh(
            torch.cov(((v - mean) / std).T).reshape(v.shape[1], -1)
        )
        return cls(mean, std, direction * value.clamp(min=floor).sqrt() @ direction.T)

    def forward(self, v: Tensor) -> Tensor:
        """v → y, float64, shape ``(maps, bins)``."""
        return ((wide(v) - self.mean) / self.std) @ self.inverse_root

    def inverse(self, y: Tensor) -> Tensor:
        """y → v, float64, shape ``(maps, bins)``."""
        return wide(y) @ self.root * self.std + self.mean

    def log_det(self) -> Tensor:
        """ln |det ∂y/∂v|, a float64 scalar."""
        return torch.linalg.slogdet(self.inverse_root)[1] - self.std.log().sum()


class VectorFlow(nn.Module):
    """An autoregressive flow for vectors of summary statistics.

    Args:
        bins: length of a vector.
        whitening: fitted to the training vectors; by default none is done.
        transform: ``"spline"`` or ``"affine"``, of each number given those before it.
        transforms: autoregressive transforms in a row; every other one goes through the bins backwards.
        hidden: width of the two hidden layers of each transform's network.

    Raises:
        ImportError: zuko is not installed.
        ValueError: there is no such transform, or the whitening is for vectors of another length.
    """

    family = "vectors"

    def __init__(
        self,
        bins: int,
        whitening: Whitening | None = None,
        transform: str = "spline",
        transforms: int = 3,
        hidden: int = 64,
    ):
        super().__init__()
        try:
            from zuko.flows import MAF
            from zuko.transforms import MonotonicRQSTransform
        except ImportError:
            raise ImportError(
                "a flow for data vectors needs zuko; install it with pip install 'lensnb[vectors]'"
            ) from None
        # zuko's NSF has bins of 1.25 as well, but ends at 5, where the tails of skewed statistics go on.
        knots = {
            "univariate": partial(MonotonicRQSTransform, bound=10.0),
            "shapes": [(16,), (16,), (15,)],
        }
        kinds = {"spline": knots, "affine": {}}
        if transform not in kinds:
            raise ValueError(
                f"the transforms of a vector flow are spline or affine, found {transform!r}"
            )
        if whitening is not None and len(whitening.mean) != bins:
            raise ValueError(
                f"the whitening is for vectors of {len(whitening.mean)} bins, expected {bins}"
            )
        self.config = {
            "bins": bins,
            "transform": transform,
            "transforms": transforms,
            "hidden": hidden,
        }
        self.bins = bins
        one = torch.eye(bins)
        self.whitening = (
            Whitening(torch.zeros(bins), torch.ones(bins), one) if whitening is None else whitening
        )
        self.flow = MAF(
            bins, transforms=transforms, hidden_features=(hidden, hidden), **kinds[transform]
        )
        for name, parameter in self.flow.named_parameters():
            if ".hyper." not in name or ".hyper.4." in name:  # the last layer of each network
                nn.init.zeros_(parameter)

    @classmethod
    def from_config(cls, config: dict) -> VectorFlow:
        """An untrained model of the same shape, for a checkpoint to fill."""
        return cls(
            config["bins"], None, config["transform"], config["transforms"], config["hidden"]
        )

    def to_noise(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors ``(maps, bins)`` → latent vectors and ln |det ∂z/∂v|, float64, ``(maps,)``."""
        if vectors.shape[-1] != self.bins:
            raise ValueError(
                f"the model was made for vectors of {self.bins} bins, found {vectors.shape[-1]}"
            )
        y = self.whitening(vectors).to(next(self.flow.parameters()).dtype)
        with torch.autocast(
            y.device.type, enabled=False
        ):  # the networks are small, and so are the vectors
            z, log_det = self.flow().transform.call_and_ladj(y)
        return z, wide(log_det) + self.whitening.log_det()

    def to_data(self, z: Tensor) -> Tensor:
        """Latent vectors ``(maps, bins)`` → vectors, the inverse of :meth:`to_noise`."""
        with torch.autocast(z.device.type, enabled=False):
            y = self.flow().transform.inv(z.to(next(self.flow.parameters()).dtype))
        return self.whitening.inverse(y).to(z.dtype)

    def log_prob(self, vectors: Tensor) -> Tensor:
        """ln p(v) in nats, in the units of the vectors, float64, shape ``(maps,)``."""
        z, log_det = self.to_noise(vectors)
        return log_det - 0.5 * (wide(z).square() + math.log(2 * math.pi)).sum(-1)

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension of vectors ``(maps, bins)``, a scalar."""
        return -self.log_prob(batch).mean() / (math.log(2) * self.bins)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, batch: int = 4096
    ) -> Tensor:
        """Draw ``n`` vectors, float32, shape ``(n, bins)``.

        Args:
            n: number of vectors.
            generator: source of randomness.
            batch: vectors made at once; does not change the result.
        """
        device = self.whitening.mean.device
        z = torch.randn(
            n, self.bins, generator=generator, device=generator.device if generator else device
        )
        return torch.cat([self.to_data(part) for part in z.to(device).split(batch)])
