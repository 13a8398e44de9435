"""Covariances of few maps whose eigenvalues are shrunk: linearly, or each by its own amount.

The eigenvalues of a covariance of n maps with p bins spread too far: the largest are too large
and the smallest too small, and more so the larger p/n. Shrinkage moves them back. Linear shrinkage
moves all towards one value, by the same share. Non-linear shrinkage keeps the eigenvectors and
moves each eigenvalue by what random-matrix theory expects for its neighbourhood.

All estimators act on vectors in units of their scatter. Units of bins therefore do not matter.
Their inverses take no Hartlap factor, which holds for the plain covariance only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .held import Ensemble

FEWEST = 12  # the support of the kernel, 1 ± √5 n^(−1/3), is positive from 12 on


def standardised(ensemble: Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """Vectors about their mean in units of their scatter, ``(maps, bins)``, and the scatter."""
    std = ensemble.std()
    safe = np.where(std > 0, std, 1.0)
    return (ensemble.vectors - ensemble.mean()) / safe, std


def shrunk_covariance(ensemble: Ensemble) -> tuple[np.ndarray, float]:
    """Covariance whose correlations are shrunk towards zero, the more the noisier they are.

    This is the estimator of Ledoit & Wolf 2004. It is applied to vectors in units of their
    scatter, so that the target is the diagonal of the covariance and the units of the bins do not
    matter. All maps are taken to be independent: with several maps a simulation it shrinks too
    little.

    Returns:
        The covariance ``(bins, bins)`` and the shrinkage, from 0 (unchanged) to 1 (diagonal).
    """
    vectors, std = standardised(ensemble)
    correlations, shrinkage = ledoit_wolf(vectors)
    return correlations * np.outer(std, std), shrinkage


def ledoit_wolf(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Covariance of vectors about zero, shrunk towards a multiple of the unit matrix.

    With C the mean of the matrices x xᵀ of n maps and μ the mean of its diagonal, it is
    (1 − s) C + s μ, and

        s = Σ ‖x xᵀ − C‖² / n² / ‖C − μ‖²,   at most 1

    (Ledoit & Wolf 2004, section 3.3). ``sklearn.covariance.ledoit_wolf`` gives the same,
    but multiplies two more large matrices, where Σ ‖x xᵀ‖² = Σ |x|⁴ is enough.

    Args:
        vectors: shape ``(maps, bins)``; their mean is taken to be zero.

    Returns:
        The covariance ``(bins, bins)`` and s.
    """
    maps, bins = vectors.shape
    covariance = vectors.T @ vectors / maps
    target = np.trace(covariance) / bins
    square = (covariance**2).sum()
    distance = square - bins * target**2
    noise = (((vectors**2).sum(1) ** 2).sum() / maps - square) / maps
    shrinkage = 0.0
    if distance > 0:
        shrinkage = float(np.clip(noise / distance, 0, 1))
    return (1 - shrinkage) * covariance + shrinkage * target * np.eye(bins), shrinkage


def rotation_invariant_covariance(ensemble: Ensemble, maps: float | None = None) -> np.ndarray:
    """Covariance with the eigenvectors of the correlation matrix and shrunk eigenvalues.

    C = S E(R) S, with the scatters S, the correlation matrix R, and :func:`nonlinear_shrinkage` E.

    Farina et al. 2026 (arXiv:2604.13851) use an estimator of this class for galaxy clustering. The
    eigenvalues here are those of Ledoit & Wolf 2020, which need not be theirs. The variances
    change a little as well, since the diagonal of E(R) is not exactly 1.

    Do not invert it where n is close to p, from 0.9 to 1.3 maps a bin: its smallest eigenvalues
    are up to ten times too small there. :func:`~lensnb.ensemble.nercome_covariance` has no such
    range, and needs no number of maps.

    Args:
        ensemble: the vectors.
        maps: number n of independent maps; by default :meth:`Ensemble.effective_maps`. The theory
            is for independent maps, and for correlated maps this number is an approximation.

    Returns:
        The covariance, shape ``(bins, bins)``. It has an inverse even with fewer maps than bins.

    Raises:
        ValueError: a bin without scatter, or a case that :func:`nonlinear_shrinkage` refuses.
    """
    std = ensemble.std()
    if (std == 0).any():
        flat = int((std == 0).argmax())
        raise ValueError(f"bin {flat} has no scatter: leave it out before the shrinkage")
    if maps is None:
        maps = ensemble.effective_maps()
    return nonlinear_shrinkage(ensemble.correlation(), maps) * np.outer(std, std)


def nonlinear_shrinkage(covariance: np.ndarray, maps: float) -> np.ndarray:
    """The same eigenvectors with the eigenvalues that random-matrix theory expects to be best.

    Each eigenvalue λ becomes λ / {[π c λ f(λ)]² + [1 − c − π c λ Hf(λ)]²}, with c = p/(n − 1), the
    density f of the eigenvalues and its Hilbert transform Hf. With p ≥ n a nonzero eigenvalue
    becomes 1 / {π² λ [f(λ)² + Hf(λ)²]}, and a zero one 1 / [π (c − 1) Hf(0)]. There, f and Hf are
    those of the nonzero eigenvalues.

    (Ledoit & Wolf 2020; eqs 4.3 and 4.7–4.9 in their Working Paper 264, and C.4, C.5 and C.8 for
    p ≥ n.) It estimates the oracle uᵀCu for each eigenvector u, from Ledoit & Péché 2011.
    Subtracting the mean costs one map. Rotating the covariance rotates the result.

    Args:
        covariance: the plain covariance, shape ``(bins, bins)``.
        maps: number n of independent maps; with several maps a simulation, the effective number,
            rounded down.

    Returns:
        The matrix of the same shape.

    Raises:
        ValueError: fewer than 13 maps, or a covariance of lower rank than n − 1 and p allow.
    """
    bins = len(covariance)
    free = int(maps) - 1
    if free < FEWEST:
        raise ValueError(
            f"non-linear shrinkage needs at least {FEWEST + 1} independent maps, found {maps:.4g}"
        )
    values, eigenvectors = np.linalg.eigh(covariance)
    kept = values[max(bins - free, 0) :]
    rank = int((kept > bins * np.finfo(float).eps * kept[-1]).sum())
    if rank < len(kept):
        raise ValueError(
            f"non-linear shrinkage of {bins} bins with {maps:.4g} independent maps needs a "
            f"covariance of rank {len(kept)}, found {rank}: leave out bins that follow from others"
        )
    ratio = bins / free
    bandwidth = free ** (-1 / 3)
    density, transform = _density(kept, kept, bandwidth)
    if ratio <= 1:
        real = 1 - ratio - np.pi * ratio * kept * transform
        imaginary = np.pi * ratio * kept * density
        shrunk = kept / (real**2 + imaginary**2)
    else:
        _, at_zero = _density(np.zeros(1), kept, bandwidth)
        null = 1 / (np.pi * (ratio - 1) * at_zero)
        nonzero = 1 / (np.pi**2 * kept * (density**2 + transform**2))
        shrunk = np.concatenate([np.repeat(null, bins - free), nonzero])
    return (eigenvectors * shrunk) @ eigenvectors.T


def _density(
    points: np.ndarray, values: np.ndarray, bandwidth: float
) -> tuple[np.ndarray, np.ndarray]:
    """The density of eigenvalues and its Hilbert transform, from Epanechnikov kernels.

    (Ledoit & Wolf, Working Paper 264, eqs 4.7–4.9). The kernel of eigenvalue λ has the standard
    deviation ``bandwidth`` × λ.

    Returns:
        Both at the points, shape ``(points,)``.
    """
    width = bandwidth * values
    x = (points[:, None] - values) / width
    parabola = 1 - x**2 / 5
    density = 3 / (4 * np.sqrt(5)) * np.maximum(parabola, 0)
    return (density / width).mean(1), (_hilbert(x) / width).mean(1)


def _hilbert(x: np.ndarray) -> np.ndarray:
    """Hilbert transform of the Epanechnikov kernel with variance 1."""
    root = np.sqrt(5)
    near = np.clip(x, -1e3, 1e3)
    parabola = 1 - near**2 / 5
    edge = np.isclose(np.abs(near), root, rtol=1e-12)  # there the logarithm is infinite, times 0
    ratio = np.abs((root - near) / np.where(edge, 1.0, root + near))
    logarithm = np.log(np.where(edge, 1.0, ratio))
    value = -0.3 * near + 3 / (4 * root) * parabola * logarithm
    # Far away both terms grow and cancel, and the first two terms of 1/x are more precise.
    safe = np.where(np.abs(x) < 1e3, 1e3, x)
    far = -1 / safe - 1 / safe**3
    return np.where(np.abs(x) < 1e3, value, far) / np.pi
