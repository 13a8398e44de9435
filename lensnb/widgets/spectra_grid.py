"""Theory's C_ℓ on a grid of Ω_m and σ₈, so that it is known at once for any values in between.

ln C_ℓ is smooth in both parameters. At Chebyshev nodes, five of Ω_m and four of σ₈, the polynomial
through them is right to a few parts in a thousand. The grid for sources at z = 1 and the other
parameters of the shipped maps comes with lensnb; another one takes ten seconds and needs pyccl.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np

from ..data.shipped import SAMPLE
from ..theory import Cosmology, convergence_power

OMEGA_M = (0.2, 0.4)
SIGMA8 = (0.6, 1.0)
FILE = SAMPLE / "spectra.json"
_ELL = (8.0, 20_000.0)  # from an eighth of the shipped maps' fundamental mode to their aliases
_NODES = {"omega_m": 5, "sigma8": 4, "ell": 41}


def chebyshev_nodes(low: float, high: float, count: int) -> np.ndarray:
    """Where a polynomial through ``count`` points is closest to a smooth function."""
    angle = math.pi * (np.arange(count) + 0.5) / count
    return (low + high) / 2 - (high - low) / 2 * np.cos(angle)


def spectra_grid(
    z_source: float, cosmology: Cosmology, ell_range: tuple[float, float] = _ELL
) -> dict:
    """ln C_ℓ at the nodes of Ω_m and σ₈.

    Args:
        z_source: redshift of all sources.
        cosmology: gives the other parameters.
        ell_range: lowest and highest ℓ that is needed.

    Returns:
        ``{"z_source", "others", "omega_m", "sigma8", "ell", "log_power"}``; the last one has the
        shape (Ω_m, σ₈, ℓ).

    Raises:
        ImportError: pyccl is not installed, and the grid is not the one that comes with lensnb.
    """
    others = _others(cosmology)
    shipped = json.loads(FILE.read_text()) if FILE.exists() else {}
    same = shipped.get("z_source") == z_source and shipped.get("others") == others
    if same and _ELL[0] <= ell_range[0] and ell_range[1] <= _ELL[1]:
        return shipped
    return _computed(z_source, cosmology, ell_range)


def _others(cosmology: Cosmology) -> dict[str, float]:
    """The parameters of a cosmology that stay."""
    values = cosmology.as_dict()
    return {name: value for name, value in values.items() if name not in ("omega_m", "sigma8")}


def _computed(z_source: float, cosmology: Cosmology, ell_range: tuple[float, float]) -> dict:
    omega_m = chebyshev_nodes(*OMEGA_M, _NODES["omega_m"])
    sigma8 = chebyshev_nodes(*SIGMA8, _NODES["sigma8"])
    ell = np.geomspace(*ell_range, _NODES["ell"])
    log_power = np.empty((len(omega_m), len(sigma8), len(ell)))
    for i, j in np.ndindex(log_power.shape[:2]):
        at = replace(cosmology, omega_m=float(omega_m[i]), sigma8=float(sigma8[j]))
        log_power[i, j] = np.log(convergence_power(ell, z_source, at))
    grid = {"omega_m": omega_m, "sigma8": sigma8, "ell": ell, "log_power": log_power.round(6)}
    about = {"z_source": z_source, "others": _others(cosmology)}
    return about | {name: values.tolist() for name, values in grid.items()}


def at_multipoles(grid: dict, ell) -> np.ndarray:
    """ln C_ℓ of a grid at other ℓ, linear in ln ℓ between its own; shape (Ω_m, σ₈, ℓ)."""
    log_power, own = np.asarray(grid["log_power"]), np.log(grid["ell"])
    rows = [np.interp(np.log(ell), own, row) for row in log_power.reshape(-1, len(own))]
    return np.reshape(rows, (*log_power.shape[:2], -1))


def at_cosmology(grid: dict, log_power: np.ndarray, omega_m: float, sigma8: float) -> np.ndarray:
    """ln C_ℓ at one cosmology: the polynomial through all nodes of :func:`at_multipoles`."""
    first = _lagrange(np.asarray(grid["omega_m"]), omega_m)
    second = _lagrange(np.asarray(grid["sigma8"]), sigma8)
    return np.einsum("i,j,ijl->l", first, second, log_power)


def _lagrange(nodes: np.ndarray, x: float) -> np.ndarray:
    """The weight of each node in the polynomial through all of them, at x."""
    weights = []
    for k, node in enumerate(nodes):
        rest = np.delete(nodes, k)
        weights.append(np.prod((x - rest) / (node - rest)))
    return np.array(weights)
