"""Sets of convergence maps: load, save, split by simulation, augment; and the shipped sample.

A :class:`MapSet` keeps the maps together with the size of their field, the redshift of their sources and, for every
map, the *simulation* it was cut from. Maps of one simulation share structure, so sets are split and
errors are bootstrapped by simulation, never by map. κ is dimensionless, ``side_deg`` is in degrees.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import atomic_write
from .maps import MapGrid, turned
from .renamed import old_attribute, renamed
from .store import StoredMaps, pieces

SAMPLE = Path(__file__).parent / "sample"


@renamed(labels="simulation")
@dataclass
class MapSet:
    """Convergence maps with what is known about them.

    Attributes:
        maps: κ, dimensionless, shape ``(maps, n, n)``, a floating dtype; may be a read-only memory map, or
            :class:`~lensnb.store.StoredMaps`, of which a part is read when it is asked for; subsets and splits of those
            read nothing.
        side_deg: side of the field, degrees.
        z_source: redshift of the sources; NaN when not known.
        simulation: number of the simulation that each map was cut from, shape ``(maps,)``; by default every map is its own.
        provenance: how the maps were made, plain JSON values.

    Raises:
        ValueError: shapes do not fit, the maps are not square, or the field size is not positive.
    """

    maps: np.ndarray
    side_deg: float
    z_source: float = float("nan")
    simulation: np.ndarray | None = None
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        if isinstance(self.maps, Tensor):
            self.maps = self.maps.detach().cpu().numpy()
        if self.maps.ndim != 3 or self.maps.shape[1] != self.maps.shape[2]:
            raise ValueError(f"maps must have the shape (maps, n, n), found {self.maps.shape}")
        if not np.issubdtype(self.maps.dtype, np.floating):
            raise ValueError(f"maps must be floating-point κ, found {self.maps.dtype}")
        if self.side_deg is None or not self.side_deg > 0:
            raise ValueError(
                f"side_deg must be the side of the field in degrees, found {self.side_deg}"
            )
        self.simulation = (
            np.arange(len(self.maps)) if self.simulation is None else np.asarray(self.simulation)
        )
        if self.simulation.shape != (len(self.maps),):
            raise ValueError(
                f"{len(self.maps)} maps need one simulation number each, found {self.simulation.shape}"
            )

    labels = old_attribute("labels", "simulation")

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index) -> MapSet:
        """A subset: a slice, a boolean mask or an array of indices. One map is ``set.maps[i]``."""
        if isinstance(index, int | np.integer):
            index = [index]
        return MapSet(
            self.maps[index], self.side_deg, self.z_source, self.simulation[index], self.provenance
        )

    @property
    def grid(self) -> MapGrid:
        """The maps' grid."""
        return MapGrid(self.maps.shape[-1], self.side_deg)

    @property
    def simulations(self) -> np.ndarray:
        """The distinct simulations, sorted."""
        return np.unique(self.simulation)

    def tensor(self, device: str | torch.device = "cpu") -> Tensor:
        """All maps as a float32 tensor, shape ``(maps, n, n)``; of a set larger than memory, take some: ``set[:1000]``."""
        return torch.from_numpy(np.array(self.maps, dtype=np.float32)).to(device)

    # ------------------------------------------------------------ split

    def split(self, *fractions: float, seed: int = 0) -> list[MapSet]:
        """Split into disjoint sets of whole simulations.

        Args:
            fractions: the share of the *simulations* in each part; they may sum to less than 1.
            seed: decides which simulation goes where.

        Returns:
            One set a fraction, in the order of the fractions; maps keep their order.

        Raises:
            ValueError: a part would get no simulation, or the fractions sum to more than 1.
        """
        if sum(fractions) > 1 + 1e-9 or min(fractions) <= 0:
            raise ValueError(f"fractions must be positive and sum to at most 1, found {fractions}")
        order = np.random.default_rng(seed).permutation(self.simulations)
        edges = np.round(np.cumsum([0, *fractions]) * len(order)).astype(int)
        if (np.diff(edges) == 0).any():
            raise ValueError(
                f"{len(order)} simulations cannot be split into the parts {fractions}: one would be empty"
            )
        return [self[np.isin(self.simulation, order[a:b])] for a, b in pairwise(edges)]

    def spread(self, n: int, seed: int = 0) -> MapSet:
        """A random subset of ``n`` maps from as many simulations as can be: each gives one before any gives a second.

        Args:
            n: how many maps.
            seed: decides which, and their order.

        Raises:
            ValueError: there are fewer maps than that.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"a subset of {n} maps cannot be drawn from a set of {len(self)}")
        order = np.random.default_rng(seed).permutation(len(self))
        turn = np.empty(
            len(self), int
        )  # the how-manieth of its simulation a map is, in that order
        for simulation in self.simulations:
            own = np.flatnonzero(self.simulation[order] == simulation)
            turn[own] = np.arange(len(own))
        return self[order[np.argsort(turn, kind="stable")[:n]]]

    # ------------------------------------------------------------ files

    def save(self, path: str | Path) -> Path:
        """Write the set to one ``.npz`` file, atomically: an older file stays until the new one is whole.

        Raises:
            OSError: the file could not be written (no space left, no such folder); nothing old is lost.
        """
        path = Path(path)
        about = {
            "side_deg": self.side_deg,
            "z_source": self.z_source,
            "provenance": self.provenance,
        }
        with atomic_write(path) as file:
            np.savez(file, maps=self.maps, simulation=self.simulation, about=json.dumps(about))
        return path

    @classmethod
    def load(cls, path: str | Path) -> MapSet:
        """Read a set that :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated or was not written by :meth:`save`.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                about = json.loads(str(archive["about"]))
                maps = archive["maps"]
                known = "simulation" if "simulation" in archive.files else "labels"  # its old name
                simulation = archive[known]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} does not exist; expected a map set written by MapSet.save"
            ) from None
        except Exception as error:
            raise ValueError(
                f"{path} is not a whole map set written by MapSet.save ({error})"
            ) from None
        return cls(maps, about["side_deg"], about["z_source"], simulation, about["provenance"])

    # ------------------------------------------------------------ show

    def __repr__(self) -> str:
        n = self.maps.shape[-1]
        return (
            f"MapSet: {len(self)} maps of {n} × {n} pixels over {self.side_deg:g}°, z_s = {self.z_source:g}, "
            f"from {len(self.simulations)} simulations"
        )

    def _repr_html_(self) -> str:
        if not len(self):
            return f"<div>{self!r}</div>"
        shown = np.asarray(self.maps[: min(6, len(self))], np.float64)
        return (
            f'<div>{self!r}<br><img alt="the first {len(shown)} maps of the set" '
            'style="image-rendering:pixelated;height:110px;margin-top:4px" '
            f'src="data:image/png;base64,{_strip(shown)}"></div>'
        )


def _strip(maps: np.ndarray) -> str:
    """The maps side by side as a PNG in base64, through a dark-to-bright ramp that reads on light and dark pages."""
    from PIL import Image

    lo, hi = np.percentile(maps, [1, 99.5])
    level = np.clip((maps - lo) / max(hi - lo, 1e-12), 0, 1)
    level = (
        np.pad(level, ((0, 0), (0, 0), (0, 2)), constant_values=np.nan)
        .transpose(1, 0, 2)
        .reshape(maps.shape[1], -1)
    )
    anchors = np.array(
        [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]
    )  # magma at quarters
    at = np.linspace(0, 1, len(anchors))
    rgba = np.stack([np.interp(np.nan_to_num(level), at, anchors[:, c]) for c in range(3)], -1)
    rgba = np.concatenate([rgba, np.where(np.isnan(level), 0, 255)[..., None]], -1).astype(
        np.uint8
    )
    buffer = io.BytesIO()
    Image.fromarray(rgba, "RGBA").save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


# ---------------------------------------------------------------- the shipped sample


def load_sample(name: str = "train") -> MapSet:
    """The N-body maps that come with lensnb: 5° × 5° at z_s = 1, 64 × 64 pixels, 1,024 maps a set.

    Args:
        name: ``"train"``, ``"truth"`` or ``"null"``; the three come from disjoint sets of N-body boxes.

    Returns:
        A :class:`MapSet` over a read-only memory map (float16), labelled by box.
    """
    names = ("train", "truth", "null")
    if name not in names:
        raise ValueError(f"the sample has the sets {', '.join(names)}; found {name!r}")
    about = json.loads((SAMPLE / "sample.json").read_text())
    maps = np.load(SAMPLE / f"{name}.npy", mmap_mode="r")
    simulation = np.repeat(np.arange(*about["boxes"][name]), about["provenance"]["maps_per_box"])
    return MapSet(maps, about["side_deg"], about["z_source"], simulation, about["provenance"])


# ---------------------------------------------------------------- augmentation


def random_symmetry(maps: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Turn and mirror each map of ``(maps, n, n)`` by a random one of the 8 symmetries of the square."""
    pick = torch.randint(
        8, (len(maps),), generator=generator, device=generator.device if generator else "cpu"
    )
    out = torch.empty_like(maps)
    for k in range(8):
        chosen = (pick == k).to(maps.device)
        out[chosen] = turned(maps[chosen], k)
    return out


def random_crop(maps: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Cut a random ``n`` × ``n`` window out of each map of ``(maps, m, m)``, m ≥ n: 10° → 5° fields, for example.

    The price is the large scales: modes longer than the window are lost.
    """
    m = maps.shape[-1]
    if n > m:
        raise ValueError(f"cannot cut {n} × {n} windows out of {m} × {m} maps")
    device = generator.device if generator else "cpu"
    corner = torch.randint(m - n + 1, (2, len(maps)), generator=generator, device=device).to(
        maps.device
    )
    step = torch.arange(n, device=maps.device)
    rows, columns = corner[0, :, None] + step, corner[1, :, None] + step
    index = torch.arange(len(maps), device=maps.device)[:, None, None]
    return maps[index, rows[:, :, None], columns[:, None, :]]


# ---------------------------------------------------------------- pixels and fields of another size


def block_average(maps: MapSet, factor: int) -> MapSet:
    """Coarser maps of the same field: each ``factor`` × ``factor`` block of pixels becomes its mean.

    Args:
        maps: the set, n × n pixels.
        factor: how many pixels go into one along an axis; it divides n.

    Returns:
        The set with (n / factor)² pixels, float32 or wider, from the same simulations.

    Raises:
        ValueError: ``factor`` does not divide n.
    """
    n, dtype = maps.grid.n, np.promote_types(maps.maps.dtype, np.float32)
    if factor < 1 or n % factor:
        advice = (
            f"; cut them to {n - n % factor} pixels first, with tiles" if 1 < factor < n else ""
        )
        raise ValueError(
            f"maps of {n} × {n} pixels have no whole blocks of {factor} × {factor}{advice}"
        )
    mean = np.empty((len(maps), n // factor, n // factor), dtype)
    for start, part in (
        pieces(maps.maps) if isinstance(maps.maps, StoredMaps) else [(0, maps.maps)]
    ):
        blocks = part.reshape(len(part), n // factor, factor, n // factor, factor)
        mean[start : start + len(part)] = blocks.mean((2, 4), dtype=np.float64)
    return MapSet(
        mean,
        maps.side_deg,
        maps.z_source,
        maps.simulation,
        _after(maps, f"block_average {factor}"),
    )


def tiles(maps: MapSet, n: int) -> MapSet:
    """Cut every map into non-overlapping tiles of ``n`` × ``n`` pixels, row by row from its first corner.

    Rows and columns beyond the last whole tile are dropped, so that an n above half a map's side crops the map.

    Args:
        maps: the set, m × m pixels.
        n: pixels a side of a tile, at most m.

    Returns:
        The set of ⌊m / n⌋² tiles a map, with the field size of a tile; each tile has the simulation of its map.

    Raises:
        ValueError: n is larger than the maps or less than 2.
    """
    m = maps.grid.n
    if not 2 <= n <= m:
        raise ValueError(f"cannot cut tiles of {n} × {n} pixels out of {m} × {m} maps")
    k = m // n
    cut = (
        maps.maps[:, : k * n, : k * n]
        .reshape(len(maps), k, n, k, n)
        .swapaxes(2, 3)
        .reshape(-1, n, n)
    )
    return MapSet(
        cut,
        maps.side_deg * n / m,
        maps.z_source,
        np.repeat(maps.simulation, k * k),
        _after(maps, f"tiles {n}"),
    )


def _after(maps: MapSet, step: str) -> dict:
    """The provenance of a set with one more step."""
    return {**maps.provenance, "steps": [*maps.provenance.get("steps", []), step]}
