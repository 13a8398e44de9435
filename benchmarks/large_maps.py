"""How do time and memory grow with the pixels of a map, for a cascade of scales?

    python benchmarks/large_maps.py --output docs/benchmark_scale.md

Untrained cascades from 8² pixels draw ``--maps`` maps and make gradients of ``--maps`` maps, with
the default settings and crops of 64². The statistics of the fidelity report are measured from as
many maps. Each case is a process of its own with one thread. Times are those of the processor, so
other work on the machine changes them little. Memory is the peak of the process while it draws,
including Python, torch and 16 maps. A cost that is t ∝ pixels^p has the power p, fitted to all
sides in logarithms.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from torch import Tensor

from benchmarks.statistics import machine
from lensnb.ensemble import measure
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import Multiscale
from lensnb.stats import suite

CROP, COARSE = 64, 8
PIXEL_DEG = 5.0 / 256
MEASURED_ON = 16  # maps
LIMIT = 1.1  # highest power
ROWS = {  # name of a number: what it is, its unit
    "draw": ("draw a map", "s"),
    "finest": ("training image, finest level", "ms"),
    "levels": ("training image, all levels", "ms"),
    "measure": ("all statistics of a map", "s"),
    "memory": ("peak memory", "GB"),
}


def lognormal(pixels: int) -> Tensor:
    """κ-maps with pixels of 1.2′, float32."""
    grid = MapGrid(pixels, PIXEL_DEG * pixels)
    field = GaussianField.from_power(grid, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
    lognormal_field = LognormalField.from_correlation(field.variance, 0.03)
    return lognormal_field.sample(MEASURED_ON, torch.Generator().manual_seed(0))


def seconds_of(function: Callable[[], object]) -> float:
    """Time of the processor."""
    began = time.process_time()
    function()
    return time.process_time() - began


def cost_of_cascade(family: str, pixels: int, count: int) -> dict[str, float]:
    """Costs of a cascade whose fine levels are of one family."""
    maps = lognormal(pixels)
    families = {side: family for side in sides_to(pixels)}
    cascade = Multiscale.fit(maps, COARSE, CROP, families)
    some = maps[:count]
    training = []
    for level in cascade.levels:
        own = level.at_side(some)  # a training of a coarse level reads averaged maps
        training.append(1e3 * seconds_of(lambda level=level, own=own: level.loss(own).backward()))
    cascade.eval()
    drawing = seconds_of(lambda: cascade.sample(count, torch.Generator().manual_seed(1)))
    return {
        "draw": drawing / count,
        "finest": training[-1] / count,
        "levels": sum(training) / count,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def sides_to(pixels: int) -> list[int]:
    """The sides of the fine levels."""
    sides = []
    while COARSE * 2 ** len(sides) < pixels:
        sides.append(COARSE * 2 ** (len(sides) + 1))
    return sides


def cost_of_statistics(pixels: int, count: int) -> dict[str, float]:
    """Cost of the statistics of the fidelity report."""
    maps = lognormal(pixels)
    statistics = suite(maps, PIXEL_DEG * pixels)
    return {"measure": seconds_of(lambda: measure(statistics, maps[:count])) / count}


def cost_of(case: str, pixels: int, count: int) -> dict[str, float]:
    """One case in this process."""
    torch.set_num_threads(1)
    if case == "statistics":
        return cost_of_statistics(pixels, count)
    return cost_of_cascade(case, pixels, count)


def in_a_process(case: str, pixels: int, count: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--case", case, "--pixels", str(pixels)]
    done = subprocess.run([*command, "--maps", str(count)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case} at {pixels}² failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def power_of(pixels: list[int], costs: list[float]) -> float:
    """p of a cost ∝ (pixels a side)^(2p)."""
    slope, _ = np.polyfit(2 * np.log(pixels), np.log(costs), 1)
    return float(slope)


def table_of(case: str, pixels: list[int], count: int) -> list[str]:
    """The rows of one case."""
    found = [in_a_process(case, side, count) for side in pixels]
    lines = []
    for name in found[0]:
        words, unit = ROWS[name]
        costs = [one[name] for one in found]
        cells = [f"{cost:.2g} {unit}" for cost in costs]
        power = power_of(pixels, costs)
        lines.append(f"| {case}: {words} | {' | '.join(cells)} | {power:.2f} |")
        print(lines[-1], flush=True)
    return lines


def page(pixels: list[int], count: int) -> str:
    """The page, in Markdown."""
    header = " | ".join(f"{side}²" for side in pixels)
    lines = [f"| | {header} | power |", "|---|" + "--:|" * (len(pixels) + 1)]
    for case in ("details", "detail-diffusion", "statistics"):
        lines += table_of(case, pixels, count)
    command = " ".join(["python benchmarks/large_maps.py", *sys.argv[1:]])
    head = [
        "# How do costs grow with the pixels of a map?",
        "",
        f"Made by `{command}`; its docstring explains the method.",
        "",
        f"{machine('cpu')}; one thread, times of the processor, {count} maps in each case.",
        "",
        "Cascades from 8² pixels, untrained, by flows (`details`) or by diffusion models "
        f"(`detail-diffusion`); levels with more than {CROP}² pixels learn from crops of {CROP}². "
        "A cost that is proportional to pixels^p has the power p.",
        "",
        f"Target: powers of at most {LIMIT:g}, and at most 1 s to draw a map of 256².",
        "",
    ]
    return "\n".join([*head, *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pixels", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--maps", type=int, default=8, help="maps of each case, at most 16")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(cost_of(options.case, options.pixels[0], options.maps)))
        return
    text = page(options.pixels, options.maps)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
