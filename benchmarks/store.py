"""What does it cost to keep a set on disk?

    python benchmarks/store.py --output docs/benchmark_store.md

``--maps`` maps of ``--pixels`` per side, float32, are written as one ``.npy`` and converted to a
``.zarr`` set. Every row is timed in a process of its own. The result is the median of ``--repeat``
rounds, in which the rows take turns.

* *open*: :func:`lensnb.readers.open_maps` and a split into three, after zarr was imported.
* *convert*: :func:`lensnb.readers.convert`, compared with ``cp`` of the ``.npy``. Each is timed
  until all data are on the disk (``sync``). The source is read from the disk: it is removed from
  the page cache before.
* *statistics*: :func:`lensnb.ensemble.measure` of a part of the set on disk, divided by the time
  for the same maps in memory, with torch on one core. The set is removed from the page cache
  before; for *cached* it is there. The spectrum alone is the hardest case: the cheaper a statistic
  is, the more reading counts.
* *train*: steps of a very small flow on maps from disk, compared with maps in memory. With so
  small a model, reading counts most.
* *memory*: the peak memory of a process (``ru_maxrss``), including Python and torch. The process
  converts, or measures the spectrum of every map into a
  :class:`~lensnb.ensemble.StreamingEnsemble`, or trains into a second block; with a quarter of the
  maps and with all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path = [str(Path(__file__).parents[1]), *sys.path[1:]]

import numpy as np
import torch

from benchmarks.statistics import machine
from lensnb.data import MapSet
from lensnb.ensemble import StreamingEnsemble, measure, measured
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import Flow
from lensnb.readers import convert, open_maps
from lensnb.stats import suite
from lensnb.store import pieces
from lensnb.train import Checks, Hardware, Settings, fit
from lensnb.train.streaming import BLOCK
from lensnb.transform import KappaTransform

OPENING, STATISTICS, COPY, MEMORY = 1.0, 1.3, 1.5, 2.0  # asked: seconds, ratios, GB
SIDE = 5.0


def write_source(path: Path, maps: int, pixels: int) -> None:
    """Lognormal κ-maps as one ``.npy``, a few of them over and over, each time a little stronger."""
    variance = GaussianField.from_power(
        MapGrid(pixels, SIDE), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    few = LognormalField.from_correlation(variance, 0.03).sample(
        min(maps, 1024), torch.Generator().manual_seed(0)
    )
    whole = np.lib.format.open_memmap(path, "w+", np.float32, (maps, pixels, pixels))
    for i in range(0, maps, len(few)):
        whole[i : i + len(few)] = few.numpy()[: maps - i] * np.float32(1 + i / maps)


def forget(path: Path) -> None:
    """Throw a file, or all files of a folder, out of the page cache, where the system lets us."""
    os.sync()
    for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def timed(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


# ---------------------------------------------------------------- one case, in a process of its own


def making(folder: Path, options: argparse.Namespace) -> float:
    """The source, and the set that is converted from it, which is checked to be the same; the number of its maps."""
    write_source(folder / "source.npy", options.maps, options.pixels)
    found = convert(
        folder / "source.npy", folder / "set.zarr", SIDE, simulation=np.arange(options.maps) // 32
    )
    source = np.load(folder / "source.npy", mmap_mode="r")
    for start, part in pieces(found.maps):
        if not np.array_equal(part, source[start : start + len(part)]):
            raise AssertionError(
                f"the converted maps from {start} on are others than the source's"
            )
    return float(len(found))


def opening(folder: Path, options: argparse.Namespace) -> float:
    import zarr  # noqa: F401

    return timed(lambda: open_maps(folder / "set.zarr").split(0.5, 0.25, 0.25))


def copying(folder: Path, options: argparse.Namespace) -> float:
    forget(folder / "source.npy")

    def copy() -> None:
        subprocess.run(["cp", folder / "source.npy", folder / "copy.npy"], check=True)
        os.sync()

    return timed(copy)


def converting(folder: Path, options: argparse.Namespace) -> float:
    import zarr  # noqa: F401

    forget(folder / "source.npy")
    labels = np.arange(options.maps) // 32

    def converted() -> None:
        convert(folder / "source.npy", folder / "copy.zarr", SIDE, simulation=labels)
        os.sync()

    return timed(converted)


def measuring(
    folder: Path, options: argparse.Namespace, names: list[str] | None, where: str
) -> float:
    """The spectrum of many maps, or all statistics of a sixteenth of them, from ``"disk"``, ``"cache"`` or ``"memory"``."""
    torch.set_num_threads(1)
    some = open_maps(folder / "set.zarr")[: options.measured // (1 if names else 16)]
    few = some[:256].tensor()
    which = suite(few, SIDE, names)
    measure(which, few)  # caches
    whole = np.asarray(some.maps)
    if where == "memory":
        some = MapSet(whole, SIDE, simulation=some.simulation)
    if where == "disk":
        forget(folder / "set.zarr")
    return timed(lambda: measure(which, some))


def training(folder: Path, options: argparse.Namespace, stored: bool) -> float:
    torch.set_num_threads(1)
    some = open_maps(folder / "set.zarr")
    batch, n = 256, options.pixels
    steps = max(2, min(5 * BLOCK // (4 * n**2), len(some)) // batch)
    torch.manual_seed(0)
    model = Flow(n, KappaTransform.fit(some[:256].tensor()), steps=2, hidden=4)
    maps = some if stored else some[: steps * batch].tensor()
    forget(folder / "set.zarr")
    hardware, checks = Hardware("cpu", "float32"), Checks(every=steps)
    records = fit(model, maps, Settings(steps, batch=batch), checks=checks, device=hardware)
    return list(records)[-1]["seconds"]


def spectra(folder: Path, options: argparse.Namespace) -> float:
    some, ensemble = open_maps(folder / "set.zarr"), StreamingEnsemble()
    which = suite(some[:256].tensor(), SIDE, ["power"])
    for vectors, labels in measured(which, some):
        ensemble.update(vectors["power"], labels // 64)
    return float(len(ensemble))


def loading(folder: Path, options: argparse.Namespace) -> float:
    return float(len(open_maps(folder / "set.zarr").tensor()))


CASES = {
    "make": making,  # in a process of its own, too: what this one ever held, the others would count as theirs
    "open": opening,
    "cp": copying,
    "convert": converting,
    "power": lambda f, o: measuring(f, o, ["power"], "disk"),
    "power, cached": lambda f, o: measuring(f, o, ["power"], "cache"),
    "power, in memory": lambda f, o: measuring(f, o, ["power"], "memory"),
    "suite": lambda f, o: measuring(f, o, None, "disk"),
    "suite, cached": lambda f, o: measuring(f, o, None, "cache"),
    "suite, in memory": lambda f, o: measuring(f, o, None, "memory"),
    "train": lambda f, o: training(f, o, stored=True),
    "train, in memory": lambda f, o: training(f, o, stored=False),
    "spectra": spectra,
    "load": loading,
}


def in_a_process(case: str, folder: Path, options: argparse.Namespace) -> tuple[float, float]:
    """What the case returns, seconds mostly, and the most memory that its process held, GB."""
    command = [sys.executable, __file__, "--case", case, "--folder", str(folder)]
    command += [f"--{name}={vars(options)[name]}" for name in ("maps", "pixels", "measured")]
    done = subprocess.run(command, capture_output=True, text=True)
    for copy in (folder / "copy.npy", folder / "copy.zarr"):
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
    if done.returncode:
        raise RuntimeError(f"{case} failed: {done.stderr.strip().splitlines()[-1]}")
    return tuple(json.loads(done.stdout.splitlines()[-1]))


# ---------------------------------------------------------------- the page


def page(options: argparse.Namespace, folder: Path) -> str:
    """All tables, in Markdown."""
    quarter = argparse.Namespace(**vars(options) | {"maps": max(512, options.maps // 4)})
    spent, held = {}, {}
    small = folder / "quarter"
    small.mkdir()
    in_a_process("make", small, quarter)
    for case in ("convert", "spectra", "train", "load"):
        held[case] = [in_a_process(case, small, quarter)[1]]
    shutil.rmtree(small)
    in_a_process("make", folder, options)
    for _ in range(options.repeat):
        for case in CASES:
            if case not in ("make", "spectra", "load"):
                seconds, memory = in_a_process(case, folder, options)
                spent.setdefault(case, []).append(seconds)
                held.setdefault(case, []).append(memory)
                print(f"{case}: {seconds:.3g} s, {memory:.2f} GB", flush=True)
    for case in ("spectra", "load"):
        held[case].append(in_a_process(case, folder, options)[1])
    s = {case: float(np.median(values)) for case, values in spent.items()}
    size = options.maps * options.pixels**2 * 4 / 1e9
    stored = (
        sum(file.stat().st_size for file in (folder / "set.zarr").rglob("*") if file.is_file())
        / 1e9
    )
    most = max(max(held[case]) for case in ("convert", "spectra", "train"))
    ratio = {
        case: s[case] / s[f"{case.split(',')[0]}, in memory"]
        for case in s
        if "in memory" not in case and case[0] in "pst"
    }
    verdict = lambda met: "met" if met else "**missed**"
    rate = lambda case: f"{1e3 * size / s[case]:.0f} MB/s"
    lines = [
        "# What does it cost to keep a set on disk?",
        "",
        f"Made by `{' '.join(['python benchmarks/store.py', *options.said])}`; its docstring explains the method.",
        "",
        f"{machine('cpu')}.",
        "",
        f"{options.maps:,} maps of {options.pixels}² pixels: {size:.2f} GB of float32, {stored:.2f} GB as a `.zarr` set, in "
        f"{len(list((folder / 'set.zarr/maps').glob('*.0.0')))} chunks.",
        "",
        "| target | found | |",
        "|---|---|---|",
        f"| the set opens in less than {OPENING:g} s | {s['open']:.2g} s | {verdict(s['open'] < OPENING)} |",
        *(
            f"| {name} from disk within {STATISTICS:g} × the time in memory | {ratio[case]:.2f} × | "
            f"{verdict(ratio[case] <= STATISTICS)} |"
            for case, name in (("suite", "all ten statistics"), ("power", "the spectrum alone"))
        ),
        f"| conversion within {COPY:g} × the time of `cp` | {s['convert'] / s['cp']:.2f} × | "
        f"{verdict(s['convert'] <= COPY * s['cp'])} |",
        f"| peak memory at most {MEMORY:g} GB, for a set of any size | {most:.2f} GB | {verdict(most <= MEMORY)} |",
        "",
        "| | from disk | from the disk cache | in memory | ratios to memory: disk, cache |",
        "|---|--:|--:|--:|--:|",
    ]
    names = {
        "power": f"spectrum of {options.measured:,} maps",
        "suite": f"all ten statistics of {options.measured // 16:,} maps",
        "train": "steps of a very small flow",
    }
    for case, name in names.items():
        cached = f"{s[f'{case}, cached']:.2f} s" if f"{case}, cached" in s else ""
        ratios = ", ".join(
            f"{ratio[one]:.2f}" for one in (case, f"{case}, cached") if one in ratio
        )
        lines.append(
            f"| {name} | {s[case]:.2f} s | {cached} | {s[f'{case}, in memory']:.2f} s | {ratios} |"
        )
    lines += [
        "",
        "| | time | source read at |",
        "|---|--:|--:|",
        f"| `cp` of the `.npy` | {s['cp']:.2f} s | {rate('cp')} |",
        f"| `convert` to `.zarr`, with a check of every pixel | {s['convert']:.2f} s | {rate('convert')} |",
        "",
        f"| peak memory | {quarter.maps:,} maps | {options.maps:,} maps |",
        "|---|--:|--:|",
    ]
    names = {
        "convert": "convert",
        "spectra": "spectra of all maps",
        "train": "train",
        "load": "for comparison: the whole set in memory",
    }
    lines += [
        f"| {name} | {held[case][0]:.2f} GB | {max(held[case][1:]):.2f} GB |"
        for case, name in names.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=int, default=100_000, help="maps of the set")
    parser.add_argument("--pixels", type=int, default=64, help="pixels a side")
    parser.add_argument(
        "--measured", type=int, default=32_768, help="maps whose spectrum is timed"
    )
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--folder", type=Path, help="where the maps go for the time being")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    options = parser.parse_args()
    options.measured, options.said = min(options.measured, options.maps), sys.argv[1:]
    if options.case:
        value = CASES[options.case](options.folder, options)
        print(json.dumps([value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9]))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        text = page(options, Path(folder))
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
