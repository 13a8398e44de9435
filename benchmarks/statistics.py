"""What do the statistics cost, and how does that compare with other implementations?

    python benchmarks/statistics.py --output docs/benchmark_statistics.md

**The reference** is a plain batched FFT, ``torch.fft.rfft2``, of the same maps: all of them in one
call, or in batches of 2^20 pixels, which fit into the cache of a processor. All calls take turns,
round after round, and a ratio is the median over rounds. A call that takes more than five seconds
is made once.

**Memory** is the highest resident memory during a call, minus the memory before it, when the maps
are already there. On a GPU it is the same for the memory that torch has allocated. It is measured
in the first call, which is not timed unless it is the only one.

**Other implementations** get the same maps in the same process, as many as they process in about
half a second, and with the same bins. They take turns with lensnb. Their results are compared too.
Packages that are not installed are named and left out;
``pip install -c constraints.txt --group benchmark`` (pip 25.1 or newer) installs them.

**Moments** grow faster than n² log n between the smallest and the largest maps. Maps below 256²
are smoothed by products of matrices, which is faster there than a transform; larger maps are
smoothed by transforms.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.pop(
        0
    )  # this folder: Python has a module of the name of this file, which others import

import numpy as np
import torch
from torch import Tensor

from lensnb import stats
from lensnb.ensemble import measure
from lensnb.maps import GaussianField, LognormalField, MapGrid

SIDE_DEG = 5.0
SLOW = 5.0  # seconds; what takes longer is called once
ONE_CALL, BATCHES, SUITE, BINS = (
    "`rfft2`, one call",
    "`rfft2`, batches",
    "**whole suite**",
    "bins of the suite",
)
Vectors = Callable[[np.ndarray], np.ndarray]  # maps (maps, n, n) → vectors (maps, bins)


def make_maps(grid: MapGrid, count: int) -> Tensor:
    """Maps of a lognormal field with structure on all scales, made a few at a time, shape ``(count, n, n)``."""
    gaussian = GaussianField.from_power(grid, lambda ell: 1e-9 * (1 + (ell / 300) ** 2) ** -0.8)
    field = LognormalField.from_correlation(gaussian.variance, 0.05)
    maps, generator = torch.empty(count, grid.n, grid.n), torch.Generator().manual_seed(0)
    for part in maps.split(max(1, 2**22 // grid.n**2)):
        part.copy_(field.sample(len(part), generator))
    return maps


# ---------------------------------------------------------------- clock and memory


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes, until a GPU has done its part too."""
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def now() -> float:
    """Seconds of a core, so that other programs do not count; of the clock where a GPU computes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def peak(function: Callable[[], object], device: str) -> tuple[float, float]:
    """Bytes that a call needs above what was there before, NaN where the system is not Linux; and its time."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        spent = seconds(function)
        return torch.cuda.max_memory_allocated() - before, spent
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(
            0
        )  # hand back what is free, so that it counts when it is used again
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident memory so far
    except OSError:
        return np.nan, seconds(function)
    before = _resident("VmRSS")
    spent = seconds(function)
    return _resident("VmHWM") - before, spent


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def ratio(times: list[float], others: list[float]) -> float:
    """The median over the rounds in which both were timed of one time over another."""
    return float(np.median([a / b for a, b in zip(times, others)]))


def brief(number: float) -> str:
    """Two digits, without an exponent."""
    return f"{float(f'{number:.2g}'):g}"


def duration(t: float) -> str:
    """Two digits and a unit."""
    size, unit = next(
        pair for pair in ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (0, "ns")) if t >= 0.995 * pair[0]
    )
    return f"{brief(t / (size or 1e-9))} {unit}"


# ---------------------------------------------------------------- lensnb against the floor


def calls(maps: Tensor, suite: dict[str, stats.Statistic]) -> dict[str, Callable[[], object]]:
    """What is timed, by name: the floor in both ways, every statistic, and all of them in one pass."""
    batch = max(1, 2**20 // maps.shape[-1] ** 2)
    floor = {
        ONE_CALL: lambda: torch.fft.rfft2(maps),
        BATCHES: lambda: [
            torch.fft.rfft2(part) is None for part in maps.split(batch)
        ],  # results are not kept
    }
    statistics = {
        name: (lambda statistic=statistic: statistic(maps)) for name, statistic in suite.items()
    }
    return floor | statistics | {SUITE: lambda: measure(suite, maps)}


def time_all(
    functions: dict[str, Callable], repeat: int, device: str
) -> tuple[dict[str, list], dict[str, float]]:
    """Times of all calls, taken in turn after a first call of each, which gives the memory; slow ones are called once."""
    first = {name: peak(function, device) for name, function in functions.items()}
    times = {name: [spent] if spent > SLOW else [] for name, (_, spent) in first.items()}
    for _ in range(repeat):
        for name, function in functions.items():
            if first[name][1] <= SLOW:
                times[name].append(seconds(function))
    return times, {name: memory for name, (memory, _) in first.items()}


def cost_table(
    times: dict[str, list[float]], memory: dict[str, float], count: int
) -> Iterator[str]:
    yield "| | time | time per map | × `rfft2`, one call | × `rfft2`, batches | memory |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, spent in times.items():
        t, bare = np.median(spent), [ratio(spent, times[floor]) for floor in (ONE_CALL, BATCHES)]
        size = "–" if np.isnan(memory[name]) else f"{memory[name] / 1e6:,.0f} MB"
        yield f"| {name} | {duration(t)} | {duration(t / count)} | {brief(bare[0])} | {brief(bare[1])} | {size} |"


def exponent(x: list[float], times: list[float]) -> float:
    """The power of x with which times grow, from a straight line through their logarithms."""
    return float(np.polyfit(np.log(x), np.log(times), 1)[0]) if len(x) > 1 else np.nan


# ---------------------------------------------------------------- other implementations


def each(function: Callable[[np.ndarray], np.ndarray]) -> Vectors:
    return lambda maps: np.stack([function(kappa) for kappa in maps])


def histogram(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Evenly spaced bins, which NumPy fills several times as fast when told so."""
    return np.histogram(values, len(edges) - 1, (edges[0], edges[-1]), weights=weights)[0]


def numpy_power(grid: MapGrid, edges: np.ndarray) -> Vectors:
    index, weight = np.digitize(grid.ell.numpy(), edges).ravel(), grid.multiplicity.numpy().ravel()
    total = lambda w: np.bincount(index, w, len(edges) + 1)[1:-1]
    modes, scale = total(weight), grid.area / grid.n**4
    return each(
        lambda kappa: total(np.abs(np.fft.rfft2(kappa)).ravel() ** 2 * weight) / modes * scale
    )


def numpy_pdf(edges: np.ndarray) -> Vectors:
    return each(lambda kappa: histogram(kappa, edges) / kappa.size / np.diff(edges))


def powerbox_power(grid: MapGrid, edges: np.ndarray) -> Vectors:
    from powerbox import get_power

    side, bins = np.radians(grid.side_deg), edges * (1 - 1e-9)  # a mode on an edge lies above it
    return each(
        lambda kappa: (
            get_power(kappa, side, bins=bins, dimensionless=False, ignore_zero_mode=True).power
        )
    )


def numpy_bispectrum(
    grid: MapGrid, edges: np.ndarray, triangles: list[tuple[int, int, int]]
) -> Vectors:
    shell = np.digitize(grid.ell.numpy(), edges * (1 - 1e-9)) - 1
    masks = [shell == s for s in range(len(edges) - 1)]

    def sums(modes: np.ndarray) -> np.ndarray:
        fields = [np.fft.irfft2(modes * mask) for mask in masks]
        return np.array([(fields[i] * fields[j] * fields[k]).sum() for i, j, k in triangles])

    scale = sums(np.ones(shell.shape)) * grid.n**6 / grid.area**2
    return each(lambda kappa: sums(np.fft.rfft2(kappa)) / scale)


def scipy_moments(pixels: list[float]) -> Vectors:
    from scipy.ndimage import gaussian_filter
    from scipy.stats import kurtosis, skew

    shape = lambda kappa: [kappa.var(), skew(kappa, None), kurtosis(kappa, None)]
    return each(
        lambda kappa: np.concatenate(
            [shape(gaussian_filter(kappa.astype(float), s) if s else kappa) for s in pixels]
        )
    )


def scipy_extrema(edges: np.ndarray, sign: int) -> Vectors:
    from scipy.ndimage import maximum_filter, minimum_filter

    highest = maximum_filter if sign > 0 else minimum_filter
    return each(
        lambda kappa: histogram(kappa[1:-1, 1:-1][(kappa == highest(kappa, 3))[1:-1, 1:-1]], edges)
    )


def skimage_peaks(edges: np.ndarray) -> Vectors:
    from skimage.feature import peak_local_max

    where = lambda kappa: tuple(peak_local_max(kappa, threshold_abs=edges[0]).T)
    return each(lambda kappa: histogram(kappa[where(kappa)], edges))


def wl_stats_peaks(edges: np.ndarray) -> Vectors:
    from wl_stats_torch.peaks import find_peaks_batch, peaks_to_histogram

    bins = torch.as_tensor(edges, dtype=torch.float32)
    found = lambda maps: find_peaks_batch(torch.from_numpy(maps), ordered=False)
    return lambda maps: np.stack(
        [peaks_to_histogram(heights, bins).numpy() for _, heights in found(maps)]
    )


def skimage_minkowski(grid: MapGrid, edges: np.ndarray) -> Vectors:
    from skimage.measure import euler_number, perimeter

    step, levels = grid.pixel_arcmin, (edges[1:] + edges[:-1]) / 2

    def functionals(kappa: np.ndarray) -> np.ndarray:
        sets = [kappa >= level for level in levels]
        v0 = [s[1:-1, 1:-1].mean() for s in sets]  # on interior pixels, as ours
        v1 = [perimeter(s) / (4 * s.size * step) for s in sets]
        return np.array(v0 + v1 + [euler_number(s, 2) / (s.size * step**2) for s in sets])

    return each(functionals)


def scipy_starlet(edges: np.ndarray, l1: bool) -> Vectors:
    from scipy.ndimage import convolve1d

    peaks = [scipy_extrema(e, +1) for e in edges]

    def by_scale(kappa: np.ndarray) -> np.ndarray:
        found = []
        for j, bins in enumerate(edges):
            spline = np.zeros(2 ** (j + 2) + 1)
            spline[:: 2**j] = np.array([1, 4, 6, 4, 1]) / 16
            smooth = convolve1d(
                convolve1d(kappa, spline, 0, mode="mirror"), spline, 1, mode="mirror"
            )
            w, kappa = kappa - smooth, smooth
            found.append(histogram(w, bins, np.abs(w)) if l1 else peaks[j](w[None])[0])
        return np.concatenate(found)

    return each(by_scale)


def wl_stats_starlet(edges: np.ndarray) -> Vectors:
    from wl_stats_torch.starlet import Starlet2D

    transform, peaks = Starlet2D(len(edges) + 1), [wl_stats_peaks(e) for e in edges]
    scales = lambda maps: transform(torch.from_numpy(maps)[:, None], return_coarse=False).numpy()
    return lambda maps: np.concatenate(
        [count(w) for count, w in zip(peaks, scales(maps).swapaxes(0, 1))], 1
    )


def kymatio_scattering(n: int, scales: int, orientations: int = 4) -> Vectors:
    """The core of kymatio's torch front end, on the periodic grid and so without padding; 2^20 pixels at a time."""
    from kymatio.scattering2d.backend.torch_backend import TorchBackend2D
    from kymatio.scattering2d.core.scattering2d import scattering2d
    from kymatio.scattering2d.filter_bank import filter_bank

    tensors = lambda f: (
        f
        | {
            "levels": [
                torch.from_numpy(level.astype(np.float32))[..., None] for level in f["levels"]
            ]
        }
    )
    bank = filter_bank(n, n, scales, orientations)
    phi, psi = tensors(bank["phi"]), [tensors(f) for f in bank["psi"]]
    whole = lambda x: x[..., 0]

    def coefficients(maps: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(maps)[..., None]
        paths = scattering2d(
            x, lambda x: x, whole, TorchBackend2D, scales, orientations, phi, psi, 2, "list"
        )
        found: dict[tuple, list] = {}
        for path in paths:
            found.setdefault(path["j"], []).append(path["coef"].mean((-2, -1)))
        mean = {j: torch.stack(values).mean(0) for j, values in found.items()}
        order = stats.scattering_order(scales)
        return torch.stack(
            [mean[j] / (mean[j[:1]] if len(j) > 1 else 1) for j in order], 1
        ).numpy()

    size = max(1, 2**20 // n**2)
    return lambda maps: np.concatenate(
        [coefficients(maps[i : i + size]) for i in range(0, len(maps), size)]
    )


class Pair(NamedTuple):
    """lensnb's function and another's of the same statistic, which ``make`` prepares; how many bins mean the same in both."""

    statistic: str
    package: str
    ours: Callable[[Tensor], Tensor]
    make: Callable[[], Vectors]
    bins: int | None = None


def pairs(grid: MapGrid, maps: Tensor) -> list[Pair]:
    """The statistics of the suite, with as many bins, and who else has them."""
    mean, sigma = float(maps.mean()), float(maps.std())
    level = lambda low, high, bins: np.linspace(mean + low * sigma, mean + high * sigma, bins + 1)
    values, high, low, nu = (
        level(-1.5, 4, 20),
        level(-1, 6, 14),
        level(-3, 1, 12),
        level(-2, 4, 13),
    )
    ell, shells, smoothing = stats.ell_edges(grid), stats.shell_edges(grid), [0, 1, 2, 4]
    triangles = stats.equilateral(shells) + stats.folded(shells) + stats.squeezed(shells)
    scales, octaves = min(4, stats.starlet_scales(grid)), min(6, stats.scattering_scales(grid))
    w, w_peaks = (
        1.0001 * stats.starlet_edges(maps, scales, 6, peaks) for peaks in (False, True)
    )  # off their values

    power = lambda x: stats.power_spectrum(x, SIDE_DEG, ell)
    bispectrum = lambda x: stats.bispectrum(x, SIDE_DEG, shells, triangles)
    moments = stats.at_scales(
        stats.moments, SIDE_DEG, [pixels * grid.pixel_arcmin for pixels in smoothing]
    )
    peaks, minima = (lambda x: stats.peak_counts(x, high)), (lambda x: stats.minima_counts(x, low))
    minkowski = lambda x: stats.minkowski(x, SIDE_DEG, nu)
    starlet_peaks = lambda x: stats.starlet_peak_counts(x, w_peaks, scales)
    return [
        Pair("power", "numpy", power, lambda: numpy_power(grid, ell)),
        Pair("power", "powerbox", power, lambda: powerbox_power(grid, ell)),
        Pair("bispectrum", "numpy", bispectrum, lambda: numpy_bispectrum(grid, shells, triangles)),
        Pair("pdf", "numpy", lambda x: stats.pdf(x, values), lambda: numpy_pdf(values)),
        Pair("moments", "scipy", moments, lambda: scipy_moments(smoothing)),
        Pair("peaks", "scipy", peaks, lambda: scipy_extrema(high, +1)),
        Pair("peaks", "scikit-image", peaks, lambda: skimage_peaks(high)),
        Pair("peaks", "wl-stats-torch", peaks, lambda: wl_stats_peaks(high)),
        Pair("minima", "scipy", minima, lambda: scipy_extrema(low, -1)),
        Pair("minkowski", "scikit-image", minkowski, lambda: skimage_minkowski(grid, nu), len(nu) - 1),
        Pair("starlet peaks", "scipy", starlet_peaks, lambda: scipy_starlet(w_peaks, False)),
        Pair("starlet peaks", "wl-stats-torch", starlet_peaks, lambda: wl_stats_starlet(w_peaks)),
        Pair("starlet l1", "scipy", lambda x: stats.starlet_l1(x, w, scales), lambda: scipy_starlet(w, True)),
        Pair("scattering", "kymatio", lambda x: stats.reduced_scattering(x, octaves),
             lambda: kymatio_scattering(grid.n, octaves)),
    ]  # fmt: skip


class Match(NamedTuple):
    """Seconds a map of the other and of lensnb, one over the other, and how far the vectors are apart, rms, in σ."""

    theirs: float
    ours: float
    speed: float
    apart: float


def against(pair: Pair, maps: Tensor, repeat: int) -> Match | None:
    """Both in turn on as many maps as the other manages in about half a second, 4 to 256; None if it is not installed."""
    try:
        function = pair.make()
    except ImportError:
        return None
    function(maps[:2].numpy())
    count = int(
        np.clip(0.5 * 4 / seconds(lambda: function(maps[:4].numpy())), 4, min(len(maps), 256))
    )
    part, array = maps[:count], maps[:count].numpy()
    difference = (function(array) - np.asarray(pair.ours(part)))[:, : pair.bins]
    scatter = np.asarray(pair.ours(maps[:256])).std(0)[: pair.bins]
    apart = float(np.sqrt(np.mean((difference / np.where(scatter > 0, scatter, np.inf)) ** 2)))
    theirs, ours = zip(
        *(
            (seconds(lambda: function(array)), seconds(lambda: pair.ours(part)))
            for _ in range(repeat)
        )
    )
    return Match(np.median(theirs) / count, np.median(ours) / count, ratio(theirs, ours), apart)


def other_table(found: dict[int, dict[tuple[str, str], Match | None]]) -> Iterator[str]:
    yield "| statistic | other | " + " | ".join(f"{n}²" for n in found) + " | difference |"
    yield "|---|---|" + "---|" * len(found) + "--:|"
    for statistic, package in next(iter(found.values())):
        matches = [found[n][statistic, package] for n in found]
        if None in matches:
            yield f"| {statistic} | {package} | " + "not installed | " * len(matches) + "|"
            continue
        cells = " | ".join(
            f"**{brief(m.speed)} ×** ({duration(m.theirs)} : {duration(m.ours)})" for m in matches
        )
        yield f"| {statistic} | {package} {version(package)} | {cells} | {max(m.apart for m in matches):.1g} σ |"


# ---------------------------------------------------------------- scaling and the page


def over_counts(maps: Tensor, repeat: int, device: str) -> dict[str, float]:
    """The power of the number of maps with which the time of each call grows, from an eighth of the maps to all."""
    suite, counts = stats.suite(maps, SIDE_DEG), [max(1, len(maps) // k) for k in (8, 4, 2, 1)]
    times = [time_all(calls(maps[:count], suite), repeat, device)[0] for count in counts]
    return {name: exponent(counts, [np.median(t[name]) for t in times]) for name in times[0]}


def over_sizes(times: dict[int, dict[str, list[float]]], name: str) -> float:
    """The power of n² log n with which the time of a call grows."""
    return exponent(
        [n**2 * np.log2(n) for n in times], [np.median(t[name]) for t in times.values()]
    )


def scaling_table(
    times: dict[int, dict[str, list[float]]], counts: dict[str, float], maps: int
) -> Iterator[str]:
    """Exponents, and the time a map over n² log₂ n, which would be the same in all columns."""
    work = {n: n**2 * np.log2(n) for n in times}
    yield (
        "| | exponent, number of maps | exponent, n² log n | "
        + " | ".join(f"{n}²" for n in times)
        + " |"
    )
    yield "|---|--:|--:|" + "--:|" * len(times)
    for name, power in counts.items():
        each_pixel = " | ".join(
            brief(1e9 * np.median(times[n][name]) / maps / work[n]) for n in times
        )
        yield f"| {name} | {power:.2f} | {over_sizes(times, name):.2f} | {each_pixel} |"


def target_table(times: dict, memory: dict, others: dict, counts: dict) -> Iterator[str]:
    """The targets, and what this run found."""
    met = lambda target, found, good: f"| {target} | {found} | {'met' if good else '**missed**'} |"
    yield "| target | found | |"
    yield "|---|---|---|"
    for floor in (ONE_CALL, BATCHES):
        bare = {n: ratio(t["power"], t[floor]) for n, t in times.items()}
        found = ", ".join(f"{brief(r)} × ({n}²)" for n, r in bare.items())
        yield met(f"the power spectrum costs at most 2 × {floor}", found, max(bare.values()) <= 2)
    if 256 in times:
        t, size = np.median(times[256][SUITE]), memory[256][SUITE]
        found = f"{duration(t)}, {size / 1e9:.2g} GB"
        yield met(
            "the whole suite at 256² takes at most 60 s, and 2 GB more than the maps",
            found,
            t <= 60 and size <= 2e9,
        )
    for statistic, package in (
        ("peaks", "scipy"),
        ("peaks", "scikit-image"),
        ("minkowski", "scikit-image"),
    ):
        speed = [
            found[statistic, package].speed
            for found in others.values()
            if found[statistic, package]
        ]
        if speed:
            target = f"{statistic} at least 10 × as fast as {package}, one map at a time"
            yield met(target, f"{brief(min(speed))} to {brief(max(speed))} ×", min(speed) >= 10)
    ours = [name for name in counts if name not in (ONE_CALL, BATCHES)]
    sizes = {name: over_sizes(times, name) for name in ours}
    for target, powers in (("the number of maps", counts), ("n² log n", sizes))[: len(times)]:
        low, high = (pick(ours, key=powers.get) for pick in (min, max))
        found = f"exponents {powers[low]:.2f} ({low}) to {powers[high]:.2f} ({high})"
        yield met(
            f"time grows no faster than {target} (exponent at most 1.1)",
            found,
            powers[high] <= 1.1,
        )


def machine(device: str) -> str:
    """The machine and the versions in words."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [
        line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")
    ]
    words = f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    words += f"; {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return f"{words}; Python {platform.python_version()}, torch {torch.__version__}"


def report(device: str, pixels: list[int], count: int, repeat: int) -> list[str]:
    """All tables for one device, in Markdown; other implementations on the CPU only."""
    times, memory, others, counts = {}, {}, {}, {}
    costs: list[str] = []
    for n in sorted(pixels):
        grid = MapGrid(n, SIDE_DEG)
        maps = make_maps(grid, count).to(device)
        functions = calls(maps, stats.suite(maps, SIDE_DEG)) | {
            BINS: lambda maps=maps: stats.suite(maps, SIDE_DEG)
        }
        times[n], memory[n] = time_all(functions, repeat, device)
        size = f"{maps.numel() * maps.element_size() / 1e6:,.0f} MB"
        costs += [
            "",
            f"### {count:,} maps of {n}² pixels, {size}",
            "",
            *cost_table(times[n], memory[n], count),
        ]
        if device == "cpu":
            others[n] = {
                (pair.statistic, pair.package): against(pair, maps, repeat)
                for pair in pairs(grid, maps)
            }
        if n == min(pixels):
            counts = over_counts(maps, repeat, device)
        print(f"{device}, {n}²: done", flush=True)
    lines = [f"## On the {'GPU' if device == 'cuda' else 'CPU'}", "", machine(device) + ".", ""]
    lines += [*target_table(times, memory, others, counts), *costs]
    lines += ["", "### Growth", "", GROWTH.format(least=count // 8, most=count, n=min(pixels)), ""]
    lines += scaling_table(times, counts, count)
    if others:
        lines += [
            "",
            "### Other implementations",
            "",
            OTHERS,
            "",
            *other_table(others),
            "",
            slower(others),
        ]
    return lines


def slower(others: dict[int, dict[tuple[str, str], Match | None]]) -> str:
    """A sentence on where lensnb is not faster."""
    matches = [
        (*row, n, match) for n, found in others.items() for row, match in found.items() if match
    ]
    rows = [
        f"{package}'s {name} at {n}² ({brief(match.speed)} ×)"
        for name, package, n, match in matches
        if match.speed < 1
    ]
    if not rows:
        return "**lensnb is not slower than any of these.**"
    return f"**lensnb is slower than** {'; '.join(rows)}."


INTRODUCTION = """\
The reference is a plain batched FFT, `torch.fft.rfft2`, of the same maps: of all maps in one
call, or in batches of 2^20 pixels, which fit into the cache of a processor. *Memory* is the
highest memory during a call, minus the memory before it."""
GROWTH = """\
The first two columns are exponents. They say how the time grows with the number of maps
({least:,} to {most:,} maps of {n}²), and with n² log n. The other columns are the time per map
divided by n² log₂ n, in ns. Small maps have fewer starlet scales (3 at 64², then 4) and fewer
scattering scales (5, then 6). Maps below 256² are smoothed by products of matrices, which is
faster than a transform at these sizes; the time of moments therefore grows faster."""
OTHERS = """\
The table says how many times as fast lensnb is. In brackets: time per map of the other package,
then of lensnb, on the same few maps. With few maps, the fixed costs of lensnb count more than in
the tables above. NumPy, SciPy, scikit-image and powerbox process one map at a time, in one
thread. wl-stats-torch and kymatio run on torch with as many threads as lensnb.

*Difference* is the rms difference between the two results, in σ of one map. For Minkowski
functionals it is that of V₀ only, because pixel perimeters and Euler numbers estimate V₁ and V₂
in another way than derivatives do. kymatio runs on the periodic grid, without its padding, which
would make it slower; its filters are prepared beforehand. Its difference comes from
down-sampling: convolutions at full resolution with its filters agree with lensnb to 2e-4, and
with the output of kymatio to 2e-2 (128²).

Not compared: pymaster, which needs GSL, FFTW and CFITSIO to be built; lenspack, whose peak
finder does not run with NumPy 2; and healpy, which is for the sphere. We found no package with a
flat-sky bispectrum."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pixels", type=int, nargs="+", default=[64, 128, 256, 512], help="pixels a side"
    )
    parser.add_argument("--maps", type=int, default=1024)
    parser.add_argument(
        "--repeat", type=int, default=3, help="timed rounds, after one that is not"
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="auto: both, where there is a GPU",
    )
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    arguments = parser.parse_args()
    auto = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    start, pages, busy = time.perf_counter(), [], os.getloadavg()[0]
    for device in auto if arguments.device == "auto" else [arguments.device]:
        pages += report(device, arguments.pixels, arguments.maps, arguments.repeat)
    spent, load = time.perf_counter() - start, os.getloadavg()[1]
    pages = [
        f"The run took {spent:.0f} s; load average {busy:.1f} before it, {load:.1f} at its end.",
        "",
        *pages,
    ]
    text = "\n".join(pages) + "\n"
    print(text)
    if arguments.output:
        sizes = " ".join(map(str, arguments.pixels))
        command = f"benchmarks/statistics.py --pixels {sizes} --maps {arguments.maps} --repeat {arguments.repeat}"
        title = f"# What do the statistics cost?\n\nMade by `python {command} --output {arguments.output}`"
        arguments.output.write_text(
            f"{title}; its docstring explains the method.\n\n{INTRODUCTION}\n\n{text}",
            encoding="utf-8",
        )
