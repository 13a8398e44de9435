"""The set of maps: maps with their field, redshift, simulations and conditions.

A :class:`MapSet` has the maps, the size of their field and the redshift of their sources. For each
map it has the *simulation* that the map was cut from, and conditions (``given``). Maps of one
simulation share structure. So sets are split, and errors are bootstrapped, by simulation and never
by map. κ is dimensionless, and ``side_deg`` is in degrees.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import atomic_write, plain_json
from ..given import Batch, as_arrays, check_values
from ..maps import MapGrid
from ..maps.arrays import plain_array, plain_labels
from ..maps.grid import check_shape, check_side, checked_redshifts
from ..ramps import strip_png
from ..renamed import old_attribute, renamed

_GIVEN = "given."  # prefix of the names of conditions in a file


@renamed(labels="simulation")
@dataclass
class MapSet:
    """Convergence maps with what is known about them.

    Attributes:
        maps: κ, dimensionless, shape ``(maps, n, n)``, or ``(maps, channels, n, n)`` with bins of
            source redshift as channels; a floating dtype. It may be a read-only memory map, or
            :class:`~lensnb.store.StoredMaps`, which are read when they are needed. Subsets and
            splits of those read nothing.
        side_deg: side of the field, degrees.
        z_source: redshift of the sources, for several channels one each; NaN if it is not known.
        simulation: number or name of the simulation that each map was cut from, shape ``(maps,)``;
            by default each map is a simulation of its own.
        provenance: how the maps were made, plain JSON values.
        given: conditions by name, each with one value for each map (:mod:`lensnb.given`): numbers
            such as cosmological parameters, or maps such as a coarser or a noisy one. They are
            split, sliced, stored and used in training together with the maps.

    Raises:
        ValueError: shapes do not fit, the maps are not square, or the field size is not positive.
    """

    maps: np.ndarray
    side_deg: float
    z_source: float | tuple[float, ...] = float("nan")
    simulation: np.ndarray | None = None
    provenance: dict = field(default_factory=dict)
    given: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.maps = plain_array("the set of maps", self.maps)
        check_shape("the set of maps", self.maps.shape)
        if not np.issubdtype(self.maps.dtype, np.floating):
            raise ValueError(f"maps must be floating-point κ, found {self.maps.dtype}")
        self.side_deg = check_side(self.side_deg)
        self.z_source = checked_redshifts(self.z_source, self.channels)
        if self.simulation is None:
            self.simulation = np.arange(len(self.maps))
        self.simulation = plain_labels("simulation", self.simulation)
        if self.simulation.shape != (len(self.maps),):
            raise ValueError(
                f"{len(self.maps)} maps need one simulation number each, "
                f"found {self.simulation.shape}"
            )
        self.given = as_arrays("a set of maps", self.given)
        for name, values in self.given.items():
            check_values(name, values, len(self.maps))

    labels = old_attribute("labels", "simulation")

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index) -> MapSet:
        """A subset: a slice, a boolean mask or an array of indices. One map is ``set.maps[i]``."""
        if isinstance(index, int | np.integer):
            index = [index]
        given = {name: values[index] for name, values in self.given.items()}
        return self._with(self.maps[index], simulation=self.simulation[index], given=given)

    def _with(self, maps, **changes) -> MapSet:
        """The same set with other maps."""
        about = {
            "side_deg": self.side_deg,
            "z_source": self.z_source,
            "simulation": self.simulation,
            "provenance": self.provenance,
            "given": self.given,
        }
        return MapSet(maps, **(about | changes))

    @property
    def channels(self) -> int:
        """Number of source bins."""
        if self.maps.ndim == 4:
            return self.maps.shape[1]
        return 1

    def channel(self, number: int) -> MapSet:
        """The maps of one source bin, counted from 0, as a set.

        Raises:
            ValueError: the set has one channel only.
        """
        if self.channels == 1:
            raise ValueError("the set has one channel, and is already the set of that channel")
        return self._with(self.maps[:, number], z_source=self.z_source[number])

    def with_given(self, **given) -> MapSet:
        """The set with more conditions, or with other values of the conditions that it has.

        Args:
            given: values by name, one for each map.
        """
        return self._with(self.maps, given=self.given | given)

    @property
    def grid(self) -> MapGrid:
        """The maps' grid."""
        return MapGrid(self.maps.shape[-1], self.side_deg)

    @property
    def simulations(self) -> np.ndarray:
        """The distinct simulations, sorted."""
        return np.unique(self.simulation)

    def tensor(self, device: str | torch.device = "cpu") -> Tensor:
        """All maps as a float32 tensor, of the shape of ``maps``.

        If the set is larger than memory, take a part: ``set[:1000].tensor()``.
        """
        return torch.from_numpy(np.array(self.maps, dtype=np.float32)).to(device)

    def batch(self, device: str | torch.device = "cpu") -> Batch:
        """All maps and their conditions as tensors, float32 and complex64."""
        given = {}
        for name, values in self.given.items():
            dtype = np.float32
            if np.dtype(values.dtype).kind == "c":
                dtype = np.complex64
            given[name] = torch.from_numpy(np.array(values, dtype)).to(device)
        return Batch(self.tensor(device), given)

    # ------------------------------------------------------------ split

    def split(self, *fractions: float, seed: int = 0) -> list[MapSet]:
        """Split into disjoint sets of whole simulations.

        Args:
            fractions: the share of the *simulations* in each part; they may sum to less than 1.
            seed: seed of the random assignment of simulations to parts.

        Returns:
            One set for each fraction, in the same order; maps keep their order.

        Raises:
            ValueError: a part would have no simulation, or the fractions sum to more than 1.
        """
        if sum(fractions) > 1 + 1e-9 or min(fractions) <= 0:
            raise ValueError(f"fractions must be positive and sum to at most 1, found {fractions}")
        order = np.random.default_rng(seed).permutation(self.simulations)
        edges = np.round(np.cumsum([0, *fractions]) * len(order)).astype(int)
        if (np.diff(edges) == 0).any():
            raise ValueError(
                f"{len(order)} simulations cannot be split into the parts {fractions}: "
                "one would be empty"
            )
        return [self[np.isin(self.simulation, order[a:b])] for a, b in pairwise(edges)]

    def spread(self, n: int, seed: int = 0) -> MapSet:
        """A random subset of ``n`` maps from as many simulations as possible.

        Every simulation gives one map before any simulation gives a second one.

        Args:
            n: number of maps.
            seed: seed of the choice and of the order.

        Raises:
            ValueError: the set has fewer maps.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"a subset of {n} maps cannot be drawn from a set of {len(self)}")
        order = np.random.default_rng(seed).permutation(len(self))
        # For each map in this order: how many maps of its simulation come before it.
        earlier = np.empty(len(self), int)
        for simulation in self.simulations:
            own = np.flatnonzero(self.simulation[order] == simulation)
            earlier[own] = np.arange(len(own))
        first = np.argsort(earlier, kind="stable")[:n]
        return self[order[first]]

    # ------------------------------------------------------------ files

    def save(self, path: str | Path) -> Path:
        """Write the set to one ``.npz`` file, atomically.

        An older file of this name stays until the new one is complete.

        Raises:
            OSError: the file could not be written (no space left, no such folder). An older file
                is not changed.
        """
        path = Path(path)
        about = {
            "side_deg": self.side_deg,
            "z_source": self.z_source,
            "provenance": plain_json(self.provenance),
        }
        given = {_GIVEN + name: values for name, values in self.given.items()}
        with atomic_write(path) as file:
            np.savez(
                file, maps=self.maps, simulation=self.simulation, about=json.dumps(about), **given
            )
        return path

    @classmethod
    def load(cls, path: str | Path) -> MapSet:
        """Read a set that :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, or was not written by :meth:`save`.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                about = _about(archive["about"])
                maps = archive["maps"]
                name = "simulation"
                if name not in archive.files:
                    name = "labels"  # the name in older files
                simulation = archive[name]
                conditions = [key for key in archive.files if key.startswith(_GIVEN)]
                given = {key.removeprefix(_GIVEN): archive[key] for key in conditions}
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} does not exist; expected a map set written by MapSet.save"
            ) from None
        except Exception as error:
            raise ValueError(
                f"{path} is not a whole map set written by MapSet.save ({error})"
            ) from None
        return cls(
            maps, about["side_deg"], about["z_source"], simulation, about["provenance"], given
        )

    # ------------------------------------------------------------ show

    def __repr__(self) -> str:
        n = self.maps.shape[-1]
        redshifts = np.atleast_1d(self.z_source)
        text = f"MapSet: {len(self)} maps of {n} × {n} pixels over {self.side_deg:g}°, z_s = "
        text += ", ".join(f"{z:g}" for z in redshifts)
        text += f", from {len(self.simulations)} simulations"
        if self.given:
            text += f", given {', '.join(self.given)}"
        return text

    def _repr_html_(self) -> str:
        if not len(self):
            return f"<div>{self!r}</div>"
        shown = np.asarray(self.maps[: min(6, len(self))], np.float64)
        if shown.ndim == 4:  # the channels of a map side by side
            shown = shown.reshape(-1, *shown.shape[-2:])[:6]
        picture = base64.b64encode(strip_png(shown)).decode()
        return (
            f'<div>{self!r}<br><img alt="the first {len(shown)} maps of the set" '
            'style="image-rendering:pixelated;height:110px;margin-top:4px" '
            f'src="data:image/png;base64,{picture}"></div>'
        )


def _about(text: np.ndarray) -> dict:
    """What a file says about its maps.

    Raises:
        ValueError: something that :meth:`MapSet.save` does not write.
    """
    about = json.loads(str(text))
    if not isinstance(about, dict):
        raise ValueError(f"its key about holds {type(about).__name__}, no names and values")
    missing = {"side_deg", "z_source", "provenance"} - about.keys()
    if missing:
        raise ValueError(f"its key about lacks {', '.join(sorted(missing))}")
    if not isinstance(about["provenance"], dict):
        raise ValueError("its provenance is not a dictionary")
    return about
