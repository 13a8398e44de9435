"""Which signs the two components of a catalogue's shear need: four pairs, of which one is right.

* One wrong component mixes E and B, and lensing makes no B mode. Each Fourier mode of noise has
  half of its power in E on average. So the mean share of E over modes tells which of the two is
  right, and how sure that is.
* Two wrong components change the sign of κ. Lensing makes its skewness positive; that of a
  Gaussian field has the variance 6 / N² Σ_ij ρ_ij³, with ρ the correlation of two pixels.
* A column of κ decides both.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from ..shear import kaiser_squires

_SURE = 5.0  # standard deviations; of 3000 catalogues of noise, none reached them
_CORRELATED = 0.2
_PAIRS = list(product((1, -1), (1, -1)))


def check_signs(path: Path, shear: Tensor, truth: Tensor | None, signs) -> dict[str, float]:
    """Refuse signs if another pair of them is the right one.

    Args:
        path: the catalogue.
        shear: mean shear in pixels, γ₁ + iγ₂ with the signs of the caller, ``(n, n)``.
        truth: mean of the table's own κ in pixels, or None.
        signs: those of the caller.

    Returns:
        What was found, for the provenance.

    Raises:
        ValueError: the sentence names the best pair.
    """
    signs = (int(signs[0]), int(signs[1]))
    share, sure = e_mode_share(shear)
    found = {"e_mode_share": share, "e_mode_sigma": sure}
    if truth is not None:
        found["correlation_with_kappa"] = _check_correlation(path, shear, truth, signs)
        return found
    best = signs
    kind = ""
    other_share, other_sure = e_mode_share(shear.conj())
    if other_sure > max(_SURE, sure):
        shear, best = shear.conj(), (signs[0], -signs[1])
        kind = f"{share:.0%} of the power of long modes in E, and {other_share:.0%} with others"
    skewness, sure_of_skewness = _skewness(kaiser_squires(shear)[0])
    if sure_of_skewness < -_SURE:
        best = (-best[0], -best[1])
        kind = kind or f"κ with the skewness {skewness:.2f}, which lensing makes positive"
    if best != signs:
        words = f"{best}"
        if abs(sure_of_skewness) < _SURE:
            words += f" or {(-best[0], -best[1])}"
        raise ValueError(
            f"{path} has, with the signs {signs}, {kind}; expected the signs {words} of the shear"
        )
    return found


def _check_correlation(path: Path, shear: Tensor, truth: Tensor, signs) -> float:
    """The correlation of the map with the κ of the table, which must be the best of four."""
    found = {}
    for change in _PAIRS:
        turned = torch.complex(change[0] * shear.real, change[1] * shear.imag)
        kappa, _ = kaiser_squires(turned)
        both = torch.stack([kappa.flatten(), truth.flatten()])
        found[signs[0] * change[0], signs[1] * change[1]] = float(torch.corrcoef(both)[0, 1])
    best = max(found, key=found.get)
    if best != signs and found[best] > max(_CORRELATED, 5 / len(shear)):
        raise ValueError(
            f"{path} gives a map that has the correlation {found[signs]:.2f} with its own column "
            f"kappa; expected other signs of the shear than {signs}: {best}, "
            f"with the correlation {found[best]:.2f}"
        )
    return found[signs]


def e_mode_share(shear: Tensor) -> tuple[float, float]:
    """The mean share of the E mode, |κ_E|² / (|κ_E|² + |κ_B|²), over long Fourier modes.

    Each mode counts the same, so that the largest ones do not decide alone. How long the modes
    must be for the shear to stand out of the noise is not known. So several limits are tried, and
    the clearest answer is taken.

    Args:
        shear: γ₁ + iγ₂, complex, shape ``(n, n)``.

    Returns:
        The share, 1 for a shear without noise and edges, 1/2 for noise; and how many standard
        deviations it lies from 1/2, where one mode of noise has 1/√12.
    """
    kappa_e, kappa_b = kaiser_squires(shear - shear.mean(), periodic=True)
    e, b = (torch.fft.rfft2(one).abs().square() for one in (kappa_e, kappa_b))
    n = len(shear)
    row = torch.fft.fftfreq(n, 1 / n)[:, None]
    column = torch.fft.rfftfreq(n, 1 / n)[None]
    radius = torch.hypot(row, column)
    seen = (radius > 0) & (e + b > 0)
    best = 0.5, 0.0
    for limit in (n / 16, n / 8, n / 4, n / 2):
        modes = seen & (radius <= max(4, limit))
        if not modes.any():
            continue
        share = float((e[modes] / (e + b)[modes]).mean())
        sure = (share - 0.5) * math.sqrt(12 * int(modes.sum()))
        if abs(sure) > abs(best[1]):
            best = share, sure
    return best


def _skewness(kappa: Tensor) -> tuple[float, float]:
    """The skewness of a map, and how many standard deviations of a Gaussian field that is."""
    x = kappa - kappa.mean()
    n = len(x)
    skewness = float((x**3).mean() / (x**2).mean() ** 1.5)
    # The sum over all pairs of pixels of a periodic field, by its correlation function.
    power = torch.fft.fft2(x).abs().square()
    correlation = torch.fft.ifft2(power).real
    correlation = correlation / correlation[0, 0]
    variance = 6 / n**2 * float((correlation**3).sum().clamp(min=1))
    return skewness, skewness / math.sqrt(variance)
