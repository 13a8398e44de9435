"""Scattering spectra: some hundred numbers that say how a map looks, with gradients.

Take a standardised map x, wavelets ψ_{jl} of scale 2^j pixels (j = 0 … J − 1) and direction
θ_l = π l / 4, and the amplitudes U_{jl} = |x * ψ_{jl}|. With ⟨⟩ an average over the map and over
directions, the coefficients are

    mean           ⟨x⟩
    tails          ⟨m(x − t)²⟩^½ and ⟨m(−x − t)²⟩^½, at a few thresholds t
    power          ln P_j,  P_j = ⟨|x * ψ_{jl}|²⟩
    sparsity       ln (⟨U_{jl}⟩ / √P_j)
    phases         S3 = Re ⟨(x * ψ_{bl′}) (U_{al} * ψ_{bl′})*⟩ / √(P_a P_b),        a ≤ b
    modulations    S4 = Re ⟨(U_{al} * ψ_{cl″}) (U_{bl′} * ψ_{cl″})*⟩ / √(P_a P_b),  a ≤ b < c

with m(u) = ln(1 + e^(2u)) / 2, a smooth max(u, 0), so that the tails of every map differ (Cheng,
Morel, Allys, Ménard & Mallat 2024, arXiv:2306.17210; the tails are ours). S3 says whether fine
structure is strong where coarse structure is high. S4 says how the strengths of two scales vary
together, on a third one. Directions enter S3 and S4 relative to the first one only. So no
coefficient changes under the 8 symmetries of the square.

Maps are not periodic. They continue by mirror images beyond their edges, so opposite edges do not
meet, and the edge has no step. In Fourier space a wavelet is cos(π/2 log₂(k/k_j)) within one
octave on both sides of its centre k_j, times cos³(θ − θ_l) in its own half of the plane (the
steerable pyramid, Simoncelli & Freeman 1995). The first centre is the Nyquist frequency, and each
is half of the one before. Scale j is computed on a grid of 4n / 2^j points a side at most.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..maps.grid import wide

_DIRECTIONS = 4
_ABOVE = (0.0, 1.0, 2.0, 3.0, 4.0)  # thresholds of the upper tail, in standard deviations
_BELOW = (0.0, 1.0, 1.5, 2.0)


class ScatteringSpectra(nn.Module):
    """Scattering spectra of square maps.

    Args:
        n: pixels a side.
        scales: J; by default log₂ n, so that the longest wave is about as long as the map.

    Attributes:
        bins: how many coefficients a map has: 390 for 64² pixels.

    Raises:
        ValueError: no scales, or waves longer than the map.
    """

    def __init__(self, n: int, scales: int | None = None):
        super().__init__()
        most = int(math.log2(n))
        if scales is None:
            scales = most
        if not 1 <= scales <= most:
            raise ValueError(f"maps of {n}² pixels have 1 to {most} scales, found {scales}")
        self.n, self.scales = n, scales
        buffers = {
            "pairs": _relative(_pair),
            "triples": _relative(_triple),
            "symmetric_triples": _relative(_symmetric_triple),
        }
        for j in range(scales):
            wavelets = _wavelets(n, j)
            buffers[f"wavelets_{j}"] = wavelets
            buffers[f"energy_{j}"] = _energy(wavelets)
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)
        self.bins = self(torch.eye(n)[None]).shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Standardised maps ``(maps, n, n)`` → coefficients, float64, ``(maps, bins)``."""
        x = wide(x)
        modes = torch.fft.fft2(_mirrored(x), norm="forward")
        powers, means, amplitudes, products = [], [], [], []
        for j in range(self.scales):
            band = _cropped(modes, len(self._wavelets(j)[0]))
            amplitude = self._amplitude(band, j)
            means.append(amplitude.mean((1, 2, 3)))
            amplitudes.append(torch.fft.rfft2(amplitude, norm="forward"))
            gram = self._products(band, amplitudes, j)
            powers.append(gram[:, 0, 0].mean(-1))
            products.append(gram)
        power = torch.stack(powers, 1)
        std = power.sqrt()
        parts = [x.mean((1, 2))[:, None], *_tails(x), power.log()]
        parts.append((torch.stack(means, 1) / std).log())
        for j, gram in enumerate(products):
            parts.append(self._phases(gram, std[:, : j + 1]))
            parts += self._modulations(gram, std[:, :j])
        return torch.cat(parts, 1)

    def _wavelets(self, j: int) -> Tensor:
        return getattr(self, f"wavelets_{j}")

    def _amplitude(self, band: Tensor, j: int) -> Tensor:
        """U_{jl}, shape ``(maps, directions, m, m)``, from the modes of x."""
        waves = torch.fft.ifft2(band[:, None] * self._wavelets(j), norm="forward")
        squares = torch.view_as_real(waves).square().sum(-1)
        # The smallest number keeps the gradient at zero finite.
        return (squares + torch.finfo(squares.dtype).tiny).sqrt()

    def _products(self, band: Tensor, amplitudes: list[Tensor], j: int) -> Tensor:
        """Re ⟨(f * ψ_{jl}) (g * ψ_{jl})*⟩ of all f and g among x and the amplitudes so far.

        Sums over half of Fourier space, since all f are real.

        Returns:
            Shape ``(maps, fields, fields, directions)``; x is the first field.
        """
        m = band.shape[-1]
        fields = [band[:, None, :, : m // 2 + 1]]
        fields += [_cropped_half(amplitude, m) for amplitude in amplitudes]
        flat = torch.view_as_real(torch.cat(fields, 1)).flatten(2)
        weighted = flat[:, None] * getattr(self, f"energy_{j}")[:, None]
        gram = weighted.flatten(1, 2) @ flat.mT
        return gram.unflatten(1, (_DIRECTIONS, -1)).movedim(1, -1)

    def _phases(self, gram: Tensor, std: Tensor) -> Tensor:
        """S3(a, b) of all a up to b, the scale of ``gram``; ``std`` are √P of these scales."""
        with_x = gram[:, 0, 1:].unflatten(1, (-1, _DIRECTIONS)).flatten(2)
        scaled = with_x / (std * std[:, -1:])[..., None]
        return (scaled @ self.pairs).flatten(1)

    def _modulations(self, gram: Tensor, std: Tensor) -> list[Tensor]:
        """S4(a, b, c) of all a and b below c, the scale of ``gram``."""
        scales = std.shape[1]
        if not scales:
            return []
        finer = slice(1, 1 + scales * _DIRECTIONS)
        sides = (scales, _DIRECTIONS)
        blocks = gram[:, finer, finer].unflatten(2, sides).unflatten(1, sides)
        blocks = blocks.transpose(2, 3).flatten(3)  # (maps, a, b, directions of all three)
        blocks = blocks / (std[:, :, None] * std[:, None])[..., None]
        found = []
        for a, b in combinations_with_replacement(range(scales), 2):
            average = self.triples
            if a == b:
                average = self.symmetric_triples
            found.append(blocks[:, a, b] @ average)
        return found


def _tails(x: Tensor) -> list[Tensor]:
    """Root mean squares beyond the thresholds, each ``(maps, 1)``."""
    beyond = [x - t for t in _ABOVE] + [-x - t for t in _BELOW]
    smooth = [F.softplus(excess, beta=2) for excess in beyond]
    return [part.square().mean((1, 2)).sqrt()[:, None] for part in smooth]


# ---------------------------------------------------------------- Fourier space


def _mirrored(x: Tensor) -> Tensor:
    """Maps and their mirror images, ``(maps, n, n)`` → ``(maps, 2n, 2n)``."""
    rows = torch.cat([x, x.flip(-1)], -1)
    return torch.cat([rows, rows.flip(-2)], -2)


def _cropped(modes: Tensor, m: int) -> Tensor:
    """The modes of a coarser grid of m × m points, in the order of ``fft2``."""
    half = m // 2
    last = modes.shape[-1] - half
    rows = _cropped_rows(modes, m)
    return torch.cat([rows[..., :half], rows[..., last:]], -1)


def _cropped_half(modes: Tensor, m: int) -> Tensor:
    """The same in the order of ``rfft2``."""
    return _cropped_rows(modes, m)[..., : m // 2 + 1]


def _cropped_rows(modes: Tensor, m: int) -> Tensor:
    half = m // 2
    last = modes.shape[-2] - half
    return torch.cat([modes[..., :half, :], modes[..., last:, :]], -2)


def _wavelets(n: int, j: int) -> Tensor:
    """Responses of the wavelets of scale j, ``(directions, m, m)``, in the order of ``fft2``."""
    m = min(2 * n, 4 * n // 2**j)
    k = torch.fft.fftfreq(m, 1 / m, dtype=torch.float64)
    length = torch.hypot(k[:, None], k).clamp(min=0.5)
    octaves = torch.log2(n / length) - j
    if j == 0:
        octaves = octaves.clamp(min=0)  # the corners belong to the finest scale
    radial = torch.where(octaves.abs() < 1, torch.cos(math.pi / 2 * octaves), 0.0)
    responses = []
    for direction in range(_DIRECTIONS):
        theta = math.pi * direction / _DIRECTIONS
        cosine = (k * math.cos(theta) + k[:, None] * math.sin(theta)) / length
        responses.append(radial * cosine.clamp(min=0) ** (_DIRECTIONS - 1))
    response = torch.stack(responses)
    response[:, m // 2, :] = 0  # these modes have no counterparts
    response[:, :, m // 2] = 0
    return response


def _energy(wavelets: Tensor) -> Tensor:
    """|ψ̂|² for sums over ``rfft2`` modes, ``(directions, numbers)``; twice, for Re and Im."""
    m = wavelets.shape[-1]
    back = -torch.arange(m) % m  # k → −k
    squares = wavelets.square()
    both = squares + squares[:, back][:, :, back]
    half = both[:, :, : m // 2 + 1].clone()
    half[:, :, 0] /= 2  # both halves of this column are among the modes
    return half.repeat_interleave(2, -1).flatten(1)


# ---------------------------------------------------------------- averages over directions


def _pair(a: int, b: int, _) -> tuple[int, ...]:
    """What the directions a and b have in common with their turned and mirrored copies."""
    between = (b - a) % _DIRECTIONS
    return (min(between, -between % _DIRECTIONS),)


def _triple(a: int, b: int, c: int) -> tuple[int, ...]:
    """The same of three directions."""
    first, second = b - a, c - a
    copies = [(first, second), (-first, -second)]
    return min((p % _DIRECTIONS, q % _DIRECTIONS) for p, q in copies)


def _symmetric_triple(a: int, b: int, c: int) -> tuple[int, ...]:
    """The same where a and b may change places."""
    return min(_triple(a, b, c), _triple(b, a, c))


def _relative(kind) -> Tensor:
    """Averages over the directions of one ``kind``, a matrix ``(directions, kinds)``."""
    axes = 3
    if kind is _pair:
        axes = 2
    every = list(product(range(_DIRECTIONS), repeat=axes))
    kinds = [kind(*(one + (0,))[:3]) for one in every]
    columns = sorted(set(kinds))
    member = [[float(found == column) for column in columns] for found in kinds]
    weights = torch.tensor(member, dtype=torch.float64)
    return weights / weights.sum(0)
