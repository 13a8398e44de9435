"""Maps from vectors: draw scattering spectra of a map, then make a map that has them.

Notation: κ is a map, x = T(κ) its transform, v its coefficients and σ their scatter among the
training maps. The coefficients are ln C of κ in some annuli of |ℓ|, and the scattering spectra of
x (:mod:`lensnb.models.scattering_spectra`); together 404 for 64² pixels. A map is made in two
steps:

1. A flow for data vectors (:class:`lensnb.models.VectorFlow`) draws the target v*.
2. A draw x₀ = C^½ w of the Gaussian field is moved until its map has the coefficients v*. This
   minimises over w, from the white draw on,

    D(w) = mean over the coefficients of ((v(T⁻¹(C^½ w)) − v*) / σ)².

(Cheng, Morel, Allys, Ménard & Mallat 2024, arXiv:2306.17210, who start from white noise and follow
one target; there the scatter between maps is lost). Here each map follows a target of its
own, and the white draw makes the Gaussian field a preconditioner. The minimiser is L-BFGS.

The flow learns from a few thousand vectors in minutes. Each map then costs about 60 gradients,
100 to 200 times the time of a map of a normalizing flow. There is no density of maps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..given import Condition, Given
from ..maps import GaussianField, GaussianModes
from ..maps.grid import wide
from ..samplers import MapNoise
from ..transform import KappaTransform
from .contract import (
    blank_field,
    channels_of,
    check_batch,
    check_draw,
    families,
    in_batches,
    register,
)
from .scattering_spectra import ScatteringSpectra

_HISTORY = 20  # steps that L-BFGS remembers


@register("synthesis")
class Synthesis(nn.Module):
    """A generator of square maps of one channel that follow drawn scattering spectra.

        blank = Synthesis(64, transform, field)
        vectors = VectorFlow(blank.bins, Whitening.fit(blank.coefficients(maps)))
        model = Synthesis(64, transform, field, vectors)

    It is trained by :func:`lensnb.train.fit` on maps. Or its ``vectors`` are trained on the
    coefficients of all maps, measured once; this is faster, but has no augmentation.

    Args:
        n: pixels a side.
        transform: the fitted κ transform.
        field: Gaussian field fitted to the *transformed* maps, such as by
            :func:`lensnb.maps.fit_field`; by default white noise.
        vectors: the flow for the coefficients, with its whitening fitted to them. Conditions of
            this flow are those of the model.
        scales: scales of the wavelets; by default log₂ n.
        steps: steps of L-BFGS; 0 gives maps of the Gaussian field.

    Attributes:
        bins: number of coefficients of a map.
        channels: 1.
        given: the conditions that the model needs, by name.

    Raises:
        ValueError: ``transform`` or ``field`` of several channels; a flow for vectors of another
            length; see also :class:`~lensnb.models.scattering_spectra.ScatteringSpectra`.
        ImportError: zuko is not installed.
    """

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        field: GaussianModes | None = None,
        vectors: nn.Module | None = None,
        scales: int | None = None,
        steps: int = 60,
    ):
        super().__init__()
        self.n = n
        self.channels = channels_of("synthesis", transform=transform, field=field)
        if self.channels > 1:
            raise ValueError(f"a synthesis makes maps of one channel, found {self.channels}")
        if transform is None:
            transform = KappaTransform()
        if field is None:
            field = GaussianField.white(n)
        self.transform = transform
        self.field = field
        self.spectra = ScatteringSpectra(n, scales)
        self.steps = steps
        self.register_buffer("annuli", _annuli(n), persistent=False)
        self.bins = self.annuli.shape[1] + self.spectra.bins
        if vectors is None:
            vectors = families()["vectors"](self.bins)
        if vectors.bins != self.bins:
            raise ValueError(
                f"the flow of a synthesis is for vectors of {vectors.bins} bins; maps of {n}² "
                f"pixels have {self.bins} coefficients"
            )
        self.vectors = vectors
        self.config = {
            "n": n,
            "field": field.kind,
            "vectors": vectors.config,
            "scales": self.spectra.scales,
            "steps": steps,
        }

    @classmethod
    def from_config(cls, config: dict) -> Synthesis:
        """An untrained model of the same shape, for a checkpoint to fill."""
        config = dict(config)
        field = blank_field(config.pop("field"), config["n"], 1)
        vectors = families()["vectors"].from_config(config.pop("vectors"))
        return cls(field=field, vectors=vectors, **config)

    @property
    def given(self) -> dict[str, Condition]:
        """The conditions that the model needs, by name."""
        return self.vectors.given

    # ------------------------------------------------------------ coefficients and training

    def coefficients(self, kappa: Tensor) -> Tensor:
        """κ-maps ``(maps, n, n)`` → their coefficients, float64, ``(maps, bins)``.

        The band powers come first, then the scattering spectra.
        """
        kappa = wide(kappa)
        modes = torch.fft.fft2(kappa, norm="ortho")
        squares = torch.view_as_real(modes).square().sum(-1)
        powers = (squares.flatten(1) @ self.annuli).log()
        return torch.cat([powers, self.spectra(self.transform(kappa))], 1)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits per dimension of the coefficients of κ-maps, a scalar."""
        given = check_batch(self, batch, given)
        with torch.no_grad():
            measured = self.coefficients(batch)
        return self.vectors.loss(measured, generator, given)

    # ------------------------------------------------------------ maps

    def synthesise(self, targets: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make a map for each vector of coefficients.

        Args:
            targets: v*, such as the :meth:`coefficients` of true maps, ``(maps, bins)``.
            generator: source of randomness.

        Returns:
            κ, float32, shape ``(maps, n, n)``.

        Raises:
            ValueError: vectors of another length, or not finite.
        """
        if targets.ndim != 2 or targets.shape[1] != self.bins:
            raise ValueError(
                f"the targets have the shape {tuple(targets.shape)}; expected (maps, {self.bins})"
            )
        if not torch.isfinite(targets).all():
            raise ValueError("the targets have NaN or infinity; expected finite coefficients")
        return self._followed(targets, MapNoise(len(targets), generator))

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps, each with coefficients drawn from the flow.

        Args:
            n: number of maps.
            generator: source of randomness.
            batch: vectors drawn at once; does not change the result.
            given: conditions, one value for each map or one for all.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)``.
        """
        given = check_draw(self, n, given)
        noise = MapNoise(n, generator)
        drawn = []
        for part, conditions in in_batches(n, batch, given, self.annuli.device):
            own = noise[part]
            targets = self._targets(own, conditions)
            drawn.append(self._followed(targets, own))
        return torch.cat(drawn)

    @torch.no_grad()
    def _targets(self, noise: MapNoise, given: Given) -> Tensor:
        """Coefficients from the flow, float64."""
        latents = noise((self.bins,), self.annuli)
        return wide(self.vectors.to_data(latents, given))

    def _followed(self, targets: Tensor, noise: MapNoise) -> Tensor:
        """A map for each target, one after the other: a map must not depend on its batch."""
        targets = wide(targets.to(self.annuli.device))
        white = noise(self.n, self.annuli)
        maps = [self._minimised(*pair) for pair in zip(white.split(1), targets.split(1))]
        return torch.cat(maps).float()

    def _kappa(self, white: Tensor) -> Tensor:
        """White maps → κ, float64."""
        return self.transform.inverse(self.field.colour(white))

    def distance(self, kappa: Tensor, targets: Tensor) -> Tensor:
        """D of maps and their targets, float64, shape ``(maps,)``."""
        scatter = self.vectors.whitening.std
        return ((self.coefficients(kappa) - targets) / scatter).square().mean(1)

    @torch.enable_grad()
    def _minimised(self, white: Tensor, target: Tensor) -> Tensor:
        """The map at the end of L-BFGS, ``(1, n, n)``."""
        white = white.clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [white],
            max_iter=self.steps,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=_HISTORY,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            distance = self.distance(self._kappa(white), target).sum()
            distance.backward()
            return distance

        if self.steps:
            optimiser.step(closure)
        return self._kappa(white.detach())


def _annuli(n: int) -> Tensor:
    """Averages over annuli of |ℓ|, from ``fft2`` modes, a matrix ``(n², annuli)``.

    Their edges are in units of the fundamental mode, and grow by a quarter from one to the next.
    The last annulus has the corners too.
    """
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    length = torch.hypot(k[:, None], k).flatten()
    edges = [1]
    while edges[-1] < n / 2:
        edges.append(max(edges[-1] + 1, round(1.25 * edges[-1])))
    which = torch.bucketize(length, torch.tensor(edges) - 0.5)
    inside = [which == number for number in range(1, len(edges) + 1)]
    weights = torch.stack(inside, 1).double()
    return weights / weights.sum(0)
