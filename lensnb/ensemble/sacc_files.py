"""Mean vectors and their covariance as a SACC file, which cosmology pipelines read.

SACC (Save All Correlations and Covariances) is the format of LSST DESC; its package ``sacc`` is
part of the extra ``formats``. A file has

* a tracer for each source bin: a thin redshift distribution at the redshift of the sources, or
  none where that is not known;
* a data point for each bin of each statistic. The power spectrum has SACC's own type
  ``galaxy_convergence_cl`` with the tag ``ell``. The other types are named in the same way, such
  as ``galaxy_convergence_starletPeaks``. Every point has the tags ``x``, its position, and
  ``bin``, its name;
* the covariance of *one map*, that is of one field of the side in the metadata;
* metadata: how many maps and simulations it comes from, and what an inverse of a covariance from
  so many maps must be multiplied by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .. import __version__
from ..files import atomic_write, optional
from ..stats import Statistic
from .held import Ensemble
from .matrices import dodelson_schneider_factor, hartlap_factor, percival_factor

POWER = "galaxy_convergence_cl"
# FITS has no other letters than those of ASCII.
_ASCII = str.maketrans(
    {
        "ℓ": "l",
        "κ": "kappa",
        "σ": "sigma",
        "ν": "nu",
        "×": "x",
        "≈": "~",
        "°": " deg",
        "′": " arcmin",
    }
)
_THIN = 1e-3  # half width in z of the distribution of sources at one redshift


def write_sacc(
    path: str | Path,
    ensembles: Mapping[str, Ensemble],
    statistics: Mapping[str, Statistic],
    side_deg: float,
    z_source: float | tuple[float, ...] = math.nan,
    parameters: int = 2,
    about: Mapping[str, str | int | float] | None = None,
) -> dict[str, str | int | float]:
    """Write mean vectors and their covariance as a SACC file (FITS), atomically.

    Args:
        path: the file.
        ensembles: vectors by statistic, all of the same maps.
        statistics: the same statistics, for the names and positions of the bins.
        side_deg: side of the field of a map, degrees.
        z_source: redshift of the sources, for several channels one each; NaN if not known.
        parameters: how many parameters will be fitted, for the correction factors.
        about: further metadata, plain numbers and text by name.

    Returns:
        The metadata of the file. What is not defined is not there, because FITS has no NaN in a
        table: a factor is missing where the maps are too few for an inverse.

    Raises:
        ImportError: ``sacc`` is not installed.
        ValueError: no statistics, or statistics without vectors.
        OSError: the file could not be written.
    """
    sacc = optional(path, "sacc")
    _check(ensembles, statistics)
    joint = Ensemble.join(ensembles[name] for name in statistics)
    metadata = _metadata(joint, statistics, side_deg, parameters) | dict(about or {})
    metadata = {name: value for name, value in metadata.items() if value == value}
    file = sacc.Sacc()
    tracers = _add_tracers(file, statistics, z_source)
    for name, statistic in statistics.items():
        _add_points(file, name, statistic, ensembles[name].mean(), tracers)
    file.add_covariance(joint.covariance())
    file.metadata.update({name: _plain(value) for name, value in metadata.items()})
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.sacc"  # the library writes to a name only
        file.save_fits(str(whole))
        with atomic_write(path) as target:
            target.write(whole.read_bytes())
    return metadata


def correction_factors(maps: float, bins: int, parameters: int) -> dict[str, float]:
    """What an inverse covariance from so many independent maps needs, by name.

    ``hartlap`` multiplies the inverse; ``dodelson_schneider`` and ``percival`` are factors of the
    covariance of the parameters (:mod:`lensnb.ensemble.matrices`). NaN where there are too few
    maps for the inverse to mean anything.

    Args:
        maps: independent maps.
        bins: of the data vector.
        parameters: how many are fitted.
    """
    names = ("hartlap", "dodelson_schneider", "percival")
    if not maps > bins + 4 or parameters > bins:
        return dict.fromkeys(names, math.nan)
    values = (
        hartlap_factor(maps, bins),
        dodelson_schneider_factor(maps, bins, parameters),
        percival_factor(maps, bins, parameters),
    )
    return dict(zip(names, map(float, values)))


def data_type(name: str) -> str:
    """The name of SACC for a statistic of convergence maps."""
    if name == "power":
        return POWER
    first, *others = name.split()
    return f"galaxy_convergence_{first}{''.join(word.capitalize() for word in others)}"


def _check(ensembles: Mapping[str, Ensemble], statistics: Mapping[str, Statistic]) -> None:
    if not statistics:
        raise ValueError("there are no statistics to write; expected at least one")
    for name, statistic in statistics.items():
        if name not in ensembles or ensembles[name].vectors.shape[1] != len(statistic.x):
            raise ValueError(
                f"the statistic {name!r} has no vectors of its {len(statistic.x)} bins; "
                "expected an ensemble for each statistic"
            )


def _metadata(
    joint: Ensemble, statistics: Mapping[str, Statistic], side_deg: float, parameters: int
) -> dict:
    maps, bins = joint.vectors.shape
    independent = joint.effective_maps()
    return {
        "creator": f"lensnb {__version__}",
        "covariance_of": "one map",
        "side_deg": float(side_deg),
        "statistics": ", ".join(statistics),
        "bins": bins,
        "maps": maps,
        "simulations": len(joint.simulations),
        "independent_maps": float(independent),
        "factors_from": "independent_maps",
        "fitted_parameters": parameters,
        **correction_factors(independent, bins, parameters),
    }


def _add_tracers(file, statistics: Mapping[str, Statistic], z_source) -> list[str]:
    """Add a tracer for each channel; returns their names."""
    channels = max(statistic.channels for statistic in statistics.values())
    redshifts = np.broadcast_to(np.asarray(z_source, float), channels)
    names = [f"source_{k}" for k in range(channels)]
    for name, z in zip(names, redshifts.tolist()):
        if math.isnan(z):
            file.add_tracer("Misc", name, quantity="galaxy_convergence")
        else:
            around = np.array([z - _THIN, z, z + _THIN])
            density = np.array([0, 1 / _THIN, 0])
            file.add_tracer("NZ", name, around, density, quantity="galaxy_convergence")
    return names


def _add_points(
    file, name: str, statistic: Statistic, mean: np.ndarray, tracers: list[str]
) -> None:
    """Add the mean of one statistic, bin after bin."""
    kind = data_type(name)
    names = [_plain(one) for one in statistic.bin_names()]
    for part, bins in statistic.parts.items():
        of_part = _tracers_of(part, tracers, pair=kind == POWER)
        for k in range(bins.start, bins.stop):
            tags = {"x": float(statistic.x[k]), "bin": names[k]}
            if kind == POWER:
                tags["ell"] = tags["x"]
            file.add_data_point(kind, of_part, float(mean[k]), **tags)


def _plain(value):
    """Text in ASCII, which is all that FITS has; anything else as it is."""
    if isinstance(value, str):
        return value.translate(_ASCII).encode("ascii", "replace").decode()
    return value


def _tracers_of(part: str, tracers: list[str], pair: bool) -> tuple[str, ...]:
    """The tracers of a part such as ``"bin 1 × bin 2"``; a spectrum always has two."""
    numbers = [int(word.split()[-1]) for word in part.split(" × ") if word]
    found = [tracers[number - 1] for number in numbers] or [tracers[0]]
    if pair and len(found) == 1:
        found = found * 2
    return tuple(found)
