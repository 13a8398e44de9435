"""What do published files of full size cost: memory, time, and share of the disk's speed?

    python benchmarks/full_size.py FOLDER --output docs/benchmark_full_size.md

The files are written into FOLDER first, in the layouts of the suites: ``--lines`` lines of sight
of SLICS (7745² numbers, 240 MB each) and ``--skies`` skies of CosmoGrid (nside 512, four bins).
They hold lognormal fields, each with a seed of its own. Files that are there are used again; they
are left in FOLDER, which may be deleted.

Each case is a process of its own with one thread. Files are removed from the page cache before.

* *read*: all files of SLICS are read and thrown away: the speed of the disk. It is measured before
  and after the conversion, since other work on the machine changes it.
* *slics*: :func:`lensnb.readers.convert` to 512² pixels over 10°, every pixel checked.
* *cosmogrid*: the same, to patches of 64² pixels over 10°.
* *train*: ``--maps`` maps of 512² are stored by repeating the converted ones. Batches of them are
  cut to random fields of 5°, 256², turned and mirrored, without any network.

Memory is the peak of the process (``ru_maxrss``), including Python and torch. Work is the time of
the processor. A machine without other work reads and works at once, so that its time a file is at
most the sum of both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch

from benchmarks.full_size_files import NSIDE, SIDE, write_files
from benchmarks.statistics import machine
from benchmarks.store import forget
from lensnb.data.augmentation import random_field
from lensnb.readers import convert, open_maps
from lensnb.store import MapWriter
from lensnb.train.streaming import Stream, training_set

LINES_OF_SIGHT = 954  # of SLICS
PIXELS, FIELD = 512, 256  # of the converted maps over 10°, and of the fields of 5°
PATCH = 64  # pixels of a patch of CosmoGrid over 10°
BATCH, BATCHES = 32, 64
MEMORY, SHARE = 2.0, 0.5  # asked: GB, and share of the disk's speed


# ---------------------------------------------------------------- one case, in its own process


def slics_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("SLICS/*LOS*"))


def skies(folder: Path) -> list[Path]:
    return sorted(folder.glob("CosmoGrid/*/*/*.h5"))


def reading(folder: Path, maps: int) -> int:
    """Read all files of SLICS; their number."""
    buffer = bytearray(2**24)
    for path in slics_files(folder):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return len(slics_files(folder))


def converting_slics(folder: Path, maps: int) -> int:
    convert(str(folder / "SLICS/*kappa_weight*"), folder / "slics.zarr", pixels=PIXELS)
    return len(slics_files(folder))


def converting_cosmogrid(folder: Path, maps: int) -> int:
    pattern = str(folder / "CosmoGrid/*/*/*.h5")
    convert(pattern, folder / "skies.zarr", 10.0, pixels=PATCH, source=3)
    return len(skies(folder))


def training(folder: Path, maps: int) -> int:
    """Batches of random fields out of many maps on disk; the number of fields."""
    set_on_disk = folder / "many.zarr"
    few = open_maps(folder / "slics.zarr").maps
    with MapWriter(set_on_disk, 10.0, 3.0) as writer:
        for number in range(maps):
            writer.append(few[number % len(few)][None] * np.float32(1 + number / maps), number)
    source = training_set(open_maps(set_on_disk), {})
    stream = Stream(source, lambda epoch: torch.Generator().manual_seed(epoch))
    generator = torch.Generator().manual_seed(0)
    global began
    began = now()  # making the set does not count
    for number in range(BATCHES):
        fields = random_field(stream.take(number * BATCH, BATCH), generator, n=FIELD)
        if fields.maps.shape != (BATCH, FIELD, FIELD):
            raise AssertionError(f"fields of the shape {tuple(fields.maps.shape)}")
    return BATCH * BATCHES


CASES = {
    "read": reading,
    "slics": converting_slics,
    "cosmogrid": converting_cosmogrid,
    "train": training,
}
began = (0.0, 0.0)


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def cost_of(case: str, folder: Path, maps: int) -> dict[str, float]:
    """One case in this process: seconds on the clock and of the processor a file; memory."""
    global began
    torch.set_num_threads(1)
    if case != "train":
        for path in (*slics_files(folder), *skies(folder)):
            forget(path)
    began = now()
    count = CASES[case](folder, maps)
    clock, work = (end - start for end, start in zip(now(), began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"clock": clock / count, "work": work / count, "memory": peak}


def in_a_process(case: str, options: argparse.Namespace) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, str(options.folder), "--case", case]
    done = subprocess.run(
        [*command, "--maps", str(options.maps)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"{case} failed: {done.stderr.strip().splitlines()[-1]}")
    print(case, done.stdout.splitlines()[-1], flush=True)
    return json.loads(done.stdout.splitlines()[-1])


# ---------------------------------------------------------------- the page


def page(options: argparse.Namespace) -> str:
    """The page, in Markdown."""
    load = os.getloadavg()[0]
    found = {case: in_a_process(case, options) for case in CASES}
    again = in_a_process("read", options)
    disk = (found["read"]["clock"] + again["clock"]) / 2
    slics, sky, fields = (found[case] for case in ("slics", "cosmogrid", "train"))
    size = slics_files(options.folder)[0].stat().st_size / 1e6
    longest = disk + slics["work"]
    lines = [
        "# What do files of full size cost?",
        "",
        f"Made by `python benchmarks/full_size.py FOLDER {' '.join(sys.argv[2:])}`; its docstring "
        "explains the method.",
        "",
        f"{machine('cpu')}; one thread. The load of the machine was {load:.1f} before. Where it "
        "is not near 0, times on the clock are too long, and those of the processor a little.",
        "",
        f"{len(slics_files(options.folder))} lines of sight of SLICS ({SIDE}² numbers, {size:.0f} "
        f"MB each) become maps of {PIXELS}² pixels over 10°, and {len(skies(options.folder))} "
        f"skies of CosmoGrid (nside {NSIDE}) patches of {PATCH}². All files hold lognormal fields "
        "in the layouts of the suites. Every pixel is checked.",
        "",
        "| target | found | |",
        "|---|---|---|",
        *_targets(disk, longest, max(one["memory"] for one in found.values())),
        "",
        "| | on the clock | work of the processor | peak memory |",
        "|---|--:|--:|--:|",
        f"| read a file of SLICS, nothing else | {disk:.2f} s | {found['read']['work']:.2f} s | |",
        _row("convert a file of SLICS", slics, "s"),
        _row("convert a sky of CosmoGrid", sky, "s"),
        _row("take a field of 5° for a training", fields, "ms"),
        "",
        f"All {LINES_OF_SIGHT} lines of sight: {_minutes(longest)} without other work, "
        f"{_minutes(slics['clock'])} as on the clock here. The set then has "
        f"{LINES_OF_SIGHT * PIXELS**2 * 4 / 1e9:.1f} GB.",
    ]
    return "\n".join(lines) + "\n"


def _targets(disk: float, longest: float, memory: float) -> list[str]:
    share = disk / longest
    return [
        f"| peak memory at most {MEMORY:g} GB, networks not counted | {memory:.2f} GB | "
        f"{_verdict(memory <= MEMORY)} |",
        f"| files are converted at half the speed of the disk or faster | {share:.2f} of it "
        f"without other work, if reading and working took turns | {_verdict(share >= SHARE)} |",
    ]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def _row(name: str, cost: dict[str, float], unit: str) -> str:
    factor, digits = {"s": (1, 2), "ms": (1000, 1)}[unit]
    cells = [f"{factor * cost[key]:.{digits}f} {unit}" for key in ("clock", "work")]
    return f"| {name} | {' | '.join(cells)} | {cost['memory']:.2f} GB |"


def _minutes(seconds: float) -> str:
    return f"{LINES_OF_SIGHT * seconds / 60:.0f} minutes"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the files are written, about 6 GB")
    parser.add_argument("--lines", type=int, default=20, help="lines of sight of SLICS")
    parser.add_argument("--skies", type=int, default=2, help="skies of CosmoGrid")
    parser.add_argument("--maps", type=int, default=LINES_OF_SIGHT, help="maps to train on")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(cost_of(options.case, options.folder, options.maps)))
        return
    write_files(options.folder, options.lines, options.skies)
    for name in ("slics.zarr", "skies.zarr", "many.zarr"):  # of an earlier measurement
        shutil.rmtree(options.folder / name, ignore_errors=True)
    text = page(options)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
