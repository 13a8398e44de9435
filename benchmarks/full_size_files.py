"""Files in the layouts of SLICS and CosmoGrid, at full size, with lognormal fields."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import fft

SIDE, GRID = 7745, 8192  # pixels of a map of SLICS, and of the field that it is cut out of
NSIDE = 512


def lognormal(gaussian: np.ndarray) -> np.ndarray:
    """κ of a Gaussian field, with a scatter of 0.02 and a bright tail; float32."""
    unit = (gaussian - gaussian.mean()) / gaussian.std()
    return (0.04 * (np.exp(0.45 * unit - 0.45**2 / 2) - 1)).astype(np.float32)


def write_slics(path: Path, seed: int) -> None:
    """κ / 64 as little-endian float32 numbers, 7745²."""
    white = np.random.default_rng(seed).standard_normal((GRID, GRID), dtype=np.float32)
    modes = fft.rfft2(white, overwrite_x=True)
    k2 = np.fft.fftfreq(GRID)[:, None] ** 2 + np.fft.rfftfreq(GRID) ** 2
    modes *= (1 + 4e4 * k2).astype(np.float32) ** -0.8
    field = fft.irfft2(modes, s=(GRID, GRID), overwrite_x=True)[:SIDE, :SIDE]
    whole(path, lambda part: (lognormal(field) / np.float32(64)).astype("<f4").tofile(part))


def write_cosmogrid(path: Path, seed: int) -> None:
    """Four tomographic bins of one sky in RING order."""
    import h5py
    import healpy

    ell = np.arange(2 * NSIDE)
    power = (1 + (ell / 300) ** 2) ** -1.6
    np.random.seed(seed)  # healpy draws from it
    sky = lognormal(healpy.synfast(power, NSIDE, lmax=2 * NSIDE - 1))

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            for number in range(1, 5):
                file[f"kg/stage3_lensing{number}"] = sky * np.float32(number / 4)

    whole(path, write)


def whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file that has its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")  # no pattern of the readers takes it
    write(part)
    os.replace(part, path)


def write_files(folder: Path, lines: int, skies: int) -> None:
    """Write what is not there yet."""
    for number in range(lines):
        path = folder / f"SLICS/2.899kappa_weight.dat_LOS{74 + number}"
        if not path.exists():
            write_slics(path, number)
            print(f"wrote {path}", flush=True)
    for number in range(skies):
        run = f"CosmoGrid/cosmo_{number:06d}/perm_0000/projected_probes_maps_nobaryons512.h5"
        if not (folder / run).exists():
            write_cosmogrid(folder / run, number)
