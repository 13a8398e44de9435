"""How the mean vectors answer to Ω_m and σ₈, from boxes run at other values of them.

For a parameter θ, the boxes of a low and of a high value have the same seeds, and their maps the
same cuts. So most of the sample variance cancels in the central difference of box b,

    ∂μ_b/∂θ = ( μ_b(θ_high) − μ_b(θ_low) ) / (θ_high − θ_low).

The response is the mean over boxes, and its error their scatter divided by √boxes. Those of the
shipped sample come from 32 boxes that no set of maps has (``sample_responses``).

``lensnb sample PLANES OUT --responses`` makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ..data import SAMPLE
from ..files import write_json
from ..sims import LightCone
from ..sims.boxes import begin_boxes, cone_of
from ..sims.sample import MAPS_A_BOX, boxes_of, sample_cone
from ..stats import Statistic
from ..theory import Cosmology
from .box_vectors import measure_boxes
from .covariance import amplitude_and_tilt
from .vector_files import bins_of, same_bins

FILE = "responses.json"
_MAPS_FOR_RESPONSES = 256  # responses are differences over the same maps: a few hundred are enough
# Large beside the noise that is left in the difference, small enough for a straight line.
STEPS = {"omega_m": 0.015, "sigma8": 0.03}
_OF_BOX = "delta_b"  # the one parameter that is the box's, and not the universe's
_SYMBOLS = {
    "omega_m": "Ω_m", "sigma8": "σ₈", "h": "h", "n_s": "n_s", "omega_b": "Ω_b", "omega_k": "Ω_k",
    _OF_BOX: "δ_b",
}  # fmt: skip
# A little wider than the sample's, so that a cone of the lowest Ω_m reaches the source as well.
_BOX_SIZE = 215.0  # Mpc/h


@dataclass(frozen=True)
class Responses:
    """∂μ/∂θ of the mean vectors.

    Attributes:
        parameters: names of the parameters, such as ``("omega_m", "sigma8")``.
        values: ∂μ/∂θ by statistic, shape ``(bins, parameters)``, as ``compare`` takes them.
        errors: their standard errors over the boxes, by statistic, same shapes.
        about: where they come from, plain JSON values.
    """

    parameters: tuple[str, ...]
    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    about: dict

    @property
    def symbols(self) -> tuple[str, ...]:
        """The parameters as a report names them, such as ``("Ω_m", "σ₈")``."""
        return tuple(_SYMBOLS.get(name, name) for name in self.parameters)

    def save(self, path: str | Path) -> Path:
        """Write them as JSON, atomically."""
        plain = {
            "parameters": list(self.parameters),
            "values": {name: one.tolist() for name, one in self.values.items()},
            "errors": {name: one.tolist() for name, one in self.errors.items()},
            "about": self.about,
        }
        return write_json(path, plain)

    @classmethod
    def load(cls, path: str | Path) -> Responses:
        """Read what :meth:`save` wrote."""
        plain = json.loads(Path(path).read_text())
        values = {name: np.array(one) for name, one in plain["values"].items()}
        errors = {name: np.array(one) for name, one in plain["errors"].items()}
        return cls(tuple(plain["parameters"]), values, errors, plain["about"])


def sample_responses(
    statistics: Mapping[str, Statistic], folder: str | Path = SAMPLE
) -> Responses | None:
    """The responses of the sample's mean vectors to Ω_m and σ₈, where they are known.

    Args:
        statistics: by name.
        folder: where the file is.

    Returns:
        None if there is no file, or if it lacks a statistic with these bins.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    found = Responses.load(path)
    bins = found.about["statistics"]
    for name, statistic in statistics.items():
        if name not in bins or not same_bins(bins[name], statistic):
            return None
    return found


def known_responses(
    given: Responses | Mapping[str, np.ndarray] | None,
    statistics: Mapping[str, Statistic],
    maps: Tensor,
    side_deg: float,
) -> Responses:
    """The responses for a comparison: those that were given, the sample's, or those of κ.

    Args:
        given: by statistic, or with the names of their parameters; None: choose.
        statistics: by name.
        maps: true κ-maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        side_deg: side of the field, degrees.
    """
    if isinstance(given, Responses):
        return given
    if given is not None:
        parameters = next(iter(given.values())).shape[1]
        names = tuple(f"parameter {i + 1}" for i in range(parameters))
        return Responses(names, dict(given), {}, {})
    of_sample = sample_responses(statistics)
    if of_sample is not None:
        return of_sample
    return kappa_responses(statistics, maps, side_deg)


def kappa_responses(
    statistics: Mapping[str, Statistic], maps: Tensor, side_deg: float
) -> Responses:
    """The responses to the amplitude and the tilt of κ, from some of the maps."""
    few = maps[:: max(1, len(maps) // _MAPS_FOR_RESPONSES)]
    values = amplitude_and_tilt(few, side_deg, statistics)
    return Responses(("amplitude of κ", "tilt of κ"), values, {}, {})


def make_responses(
    planes: str | Path,
    out: str | Path,
    statistics: Mapping[str, Statistic],
    boxes: int = 32,
    cone: LightCone | None = None,
    workers: int = 1,
) -> Path:
    """Make the file of :func:`sample_responses` from boxes run at other values of Ω_m and σ₈.

    An interrupted run resumes.

    Args:
        planes: keeps the planes, in a folder for each value of a parameter.
        out: folder of the file.
        statistics: by name.
        boxes: how many for each value, at most 32: those of the training set that are reserved.
        cone: geometry of the planes; by default the sample's, a little wider.
        workers: boxes at a time.

    Returns:
        The file.
    """
    cone = cone or replace(sample_cone(), box_size=_BOX_SIZE)
    numbers = boxes_of("train")[32 : 32 + boxes]
    folders = {}
    for parameter, step in STEPS.items():
        middle = getattr(cone.cosmology, parameter)
        pair = []
        for side, value in (("low", middle - step), ("high", middle + step)):
            folder = Path(planes) / f"{parameter}_{side}"
            cosmology = replace(cone.cosmology, **{parameter: round(value, 6)})
            begin_boxes(folder, replace(cone, cosmology=cosmology))
            pair.append(folder)
        folders[parameter] = (pair[0], pair[1])
    found = box_responses(folders, numbers, statistics, workers)
    return found.save(Path(out) / FILE)


def box_responses(
    folders: Mapping[str, tuple[str | Path, str | Path]],
    boxes: Sequence[int],
    statistics: Mapping[str, Statistic],
    workers: int = 1,
) -> Responses:
    """Measure ∂μ/∂θ from folders of planes, a low and a high one for each parameter.

    Boxes that a folder lacks are simulated, with the settings that it keeps.

    Args:
        folders: by parameter, a field of :class:`~lensnb.theory.Cosmology` or ``"delta_b"``, for
            instance ``{"omega_m": (low, high), "sigma8": (low, high)}``. Each folder was begun by
            :func:`~lensnb.sims.simulate_boxes`.
        boxes: numbers of the boxes, at least two; the same in all folders.
        statistics: by name.
        workers: boxes at a time.

    Raises:
        FileNotFoundError: a folder has no ``cone.json``.
        ValueError: fewer than two boxes, or the two cones of a parameter differ in anything else.
    """
    if len(set(boxes)) < 2:
        raise ValueError(f"errors need at least two boxes, found {len(set(boxes))}")
    differences = {}
    cones = {}
    for parameter, pair in folders.items():
        low, high = (cone_of(folder) for folder in pair)
        step = _step(parameter, low, high)
        means = [_box_means(boxes, folder, statistics, workers) for folder in pair]
        differences[parameter] = {
            name: (means[1][name] - means[0][name]) / step for name in statistics
        }
        cones[parameter] = [low.as_dict(), high.as_dict()]
    values, errors = {}, {}
    for name in statistics:
        by_box = np.stack([one[name] for one in differences.values()], -1)
        values[name] = by_box.mean(0)
        errors[name] = by_box.std(0, ddof=1) / np.sqrt(len(by_box))
    about = {
        "boxes": [int(box) for box in boxes],
        "cones": cones,
        "statistics": bins_of(statistics),
    }
    return Responses(tuple(folders), values, errors, about)


def _box_means(
    boxes: Sequence[int],
    folder: str | Path,
    statistics: Mapping[str, Statistic],
    workers: int,
) -> dict[str, np.ndarray]:
    """The mean vector of each box, shape ``(boxes, bins)``, by statistic."""
    found = measure_boxes(boxes, folder, statistics, cone_of(folder), workers)
    return {
        name: one.vectors.reshape(len(boxes), MAPS_A_BOX, -1).mean(1)
        for name, one in found.items()
    }


def _step(parameter: str, low: LightCone, high: LightCone) -> float:
    """θ_high − θ_low, where nothing else differs."""
    names = [one.name for one in fields(Cosmology)]
    if parameter == _OF_BOX:
        step = high.delta_b - low.delta_b
        raised = replace(low, delta_b=high.delta_b)
    elif parameter in names:
        value = getattr(high.cosmology, parameter)
        step = value - getattr(low.cosmology, parameter)
        raised = replace(low, cosmology=replace(low.cosmology, **{parameter: value}))
    else:
        raise ValueError(
            f"there is no parameter {parameter!r}; expected one of {', '.join(names)}, {_OF_BOX}"
        )
    if not step > 0 or raised != high:
        raise ValueError(
            f"the two cones of {parameter!r} must differ in it alone, the lower value first"
        )
    return step
