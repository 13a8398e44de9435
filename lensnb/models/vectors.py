"""A normalizing flow for data vectors: the density of summary statistics of one map.

Notation: v is a vector of statistics of one map (from :mod:`lensnb.stats`), of one kind or of
several joined. y = C^(−1/2) (v − μ) / σ is its whitened form, and z is the latent vector, which
has a standard normal density. μ and σ are the mean and the standard deviation of each bin, and C
is the correlation matrix of the training vectors. As for maps,

    ln p(v) = ln p_normal(z) + ln |det ∂z/∂y| + ln |det ∂y/∂v|.

The map y → z comes from zuko. It is a chain of masked autoregressive transforms (Papamakarios,
Pavlakou & Murray 2017, arXiv:1705.07057). Each is affine, or a monotonic rational-quadratic spline
(Durkan et al. 2019, arXiv:1906.04032). Armijo, Thiele & Liu (2026, arXiv:2601.20669) use such
flows for data vectors. The chain starts as the identity. So a new model is the Gaussian with the
mean and covariance of the data, and learns only what is not Gaussian.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from ..given import Condition, Conditions, Given, check_given
from ..maps.grid import wide
from .contract import register


class Whitening(nn.Module):
    """An affine map v → y. The bins of y are uncorrelated and have unit variance.

    Args:
        mean: μ, ``(bins,)``.
        std: σ, positive, ``(bins,)``.
        root: C^(1/2), symmetric and positive definite, ``(bins, bins)``.
    """

    def __init__(self, mean: Tensor, std: Tensor, root: Tensor):
        super().__init__()
        buffers = {"mean": mean, "std": std, "root": root}
        for name, value in buffers.items():
            self.register_buffer(name, value.double().clone())
        self.register_buffer("inverse_root", torch.linalg.inv(self.root))

    @classmethod
    def fit(cls, vectors: Tensor, floor: float = 1e-6) -> Whitening:
        """Measure the map from vectors ``(maps, bins)``.

        Args:
            vectors: one vector for each map.
            floor: smallest eigenvalue of C, whose mean eigenvalue is 1. Vectors hardly vary along
                some directions, for example if their bins sum to one, or if there are more bins
                than maps. These directions get this variance.

        Raises:
            ValueError: the vectors are not finite or not a matrix, or a bin is the same in all of
                them.
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
        bins = v.shape[1]
        correlation = torch.cov(((v - mean) / std).T).reshape(bins, bins)
        value, direction = torch.linalg.eigh(correlation)
        root = direction * value.clamp(min=floor).sqrt() @ direction.T
        return cls(mean, std, root)

    def forward(self, v: Tensor) -> Tensor:
        """v → y, float64, shape ``(maps, bins)``."""
        return ((wide(v) - self.mean) / self.std) @ self.inverse_root

    def inverse(self, y: Tensor) -> Tensor:
        """y → v, float64, shape ``(maps, bins)``."""
        return wide(y) @ self.root * self.std + self.mean

    def log_det(self) -> Tensor:
        """ln |det ∂y/∂v|, a float64 scalar."""
        return torch.linalg.slogdet(self.inverse_root)[1] - self.std.log().sum()


@register("vectors")
class VectorFlow(nn.Module):
    """An autoregressive flow for vectors of summary statistics.

    Args:
        bins: length of a vector.
        whitening: fitted to the training vectors; by default vectors are not whitened.
        transform: ``"spline"`` or ``"affine"``, the transform of each number given those before
            it.
        transforms: number of autoregressive transforms in a row; every second one takes the bins
            in reverse order.
        hidden: width of the two hidden layers in the network of each transform.
        conditions: numbers that the flow is conditioned on, fitted to the training set; None for
            none.

    Attributes:
        given: the conditions by name.

    Raises:
        ImportError: zuko is not installed.
        ValueError: an unknown transform, a whitening for vectors of another length, or a condition
            that is a map.
    """

    def __init__(
        self,
        bins: int,
        whitening: Whitening | None = None,
        transform: str = "spline",
        transforms: int = 3,
        hidden: int = 64,
        conditions: Conditions | None = None,
    ):
        super().__init__()
        try:
            from zuko.flows import MAF
            from zuko.transforms import MonotonicRQSTransform
        except ImportError:
            raise ImportError(
                "a flow for data vectors needs zuko; install it with pip install 'lensnb[vectors]'"
            ) from None
        # The bins of zuko's NSF are also 1.25 wide, but they end at 5. Skewed statistics have
        # tails beyond that.
        spline = partial(MonotonicRQSTransform, bound=10.0)
        kinds = {
            "spline": {"univariate": spline, "shapes": [(16,), (16,), (15,)]},
            "affine": {},
        }
        if transform not in kinds:
            raise ValueError(
                f"the transforms of a vector flow are spline or affine, found {transform!r}"
            )
        if whitening is None:
            whitening = Whitening(torch.zeros(bins), torch.ones(bins), torch.eye(bins))
        if len(whitening.mean) != bins:
            raise ValueError(
                f"the whitening is for vectors of {len(whitening.mean)} bins, expected {bins}"
            )
        if conditions is None:
            conditions = Conditions({})
        maps = list(conditions.maps)
        if maps:
            raise ValueError(f"a vector flow is conditioned on numbers; {maps[0]} is a map")
        self.bins = bins
        self.conditions = conditions
        self.config = {
            "bins": bins,
            "transform": transform,
            "transforms": transforms,
            "hidden": hidden,
            "given": conditions.config,
        }
        self.whitening = whitening
        self.flow = MAF(
            bins,
            context=conditions.numbers,
            transforms=transforms,
            hidden_features=(hidden, hidden),
            **kinds[transform],
        )
        for name, parameter in self.flow.named_parameters():
            # zero-initialise the last layer of each network, and parameters outside networks
            if ".hyper." not in name or ".hyper.4." in name:
                nn.init.zeros_(parameter)

    @classmethod
    def from_config(cls, config: dict) -> VectorFlow:
        """An untrained model of the same shape, for a checkpoint to fill."""
        config = dict(config)
        conditions = Conditions.from_config(config.pop("given", {}))
        return cls(conditions=conditions, **config)

    @property
    def given(self) -> dict[str, Condition]:
        """The conditions that the flow needs, by name."""
        return self.conditions.known

    def _flow(self, given: Given, count: int):
        """zuko's distribution under these conditions."""
        given = check_given("this VectorFlow", self.given, given, count)
        if not given:
            return self.flow()
        numbers = self.conditions.as_numbers(given)
        return self.flow(numbers.to(self._dtype()))

    def _dtype(self) -> torch.dtype:
        return next(self.flow.parameters()).dtype

    def to_noise(self, vectors: Tensor, given: Given | None = None) -> tuple[Tensor, Tensor]:
        """Vectors ``(maps, bins)`` → latent vectors and ln |det ∂z/∂v|, float64, ``(maps,)``."""
        if vectors.shape[-1] != self.bins:
            raise ValueError(
                f"the model was made for vectors of {self.bins} bins, found {vectors.shape[-1]}"
            )
        y = self.whitening(vectors).to(self._dtype())
        # Mixed precision would not help: the networks and the vectors are small.
        with torch.autocast(y.device.type, enabled=False):
            z, log_det = self._flow(given, len(vectors)).transform.call_and_ladj(y)
        return z, wide(log_det) + self.whitening.log_det()

    def to_data(self, z: Tensor, given: Given | None = None) -> Tensor:
        """Latent vectors ``(maps, bins)`` → vectors, the inverse of :meth:`to_noise`."""
        with torch.autocast(z.device.type, enabled=False):
            y = self._flow(given, len(z)).transform.inv(z.to(self._dtype()))
        return self.whitening.inverse(y).to(z.dtype)

    def log_prob(self, vectors: Tensor, given: Given | None = None) -> Tensor:
        """ln p(v) in nats, in the units of the vectors, float64, shape ``(maps,)``."""
        z, log_det = self.to_noise(vectors, given)
        return log_det - 0.5 * (wide(z).square() + math.log(2 * math.pi)).sum(-1)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits per dimension of vectors ``(maps, bins)``, a scalar."""
        return -self.log_prob(batch, given).mean() / (math.log(2) * self.bins)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 4096,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` vectors, float32, shape ``(n, bins)``.

        Args:
            n: number of vectors.
            generator: source of randomness.
            batch: vectors made at once; does not change the result.
            given: conditions, one value for each vector or one for all.
        """
        given = check_given("this VectorFlow", self.given, given, n)
        device = self.whitening.mean.device
        source = device
        if generator is not None:
            source = generator.device
        z = torch.randn(n, self.bins, generator=generator, device=source).to(device)
        drawn = []
        for start in range(0, n, batch):
            part = slice(start, start + batch)
            conditions = {name: values[part].to(device) for name, values in given.items()}
            drawn.append(self.to_data(z[part], conditions))
        return torch.cat(drawn)
