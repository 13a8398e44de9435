"""What does a sweep cost beside its runs? The same 12 short runs one by one and two at a time.

    python benchmarks/sweep.py                     # about six minutes on two cores

Each run is notebook 09 with trainings of a few steps, on one thread. The time of `lensnb sweep` on
two cores is compared with half of the time of the same sweep on one core. The ratio would be 1
without the cost of starting, waiting and the last odd run. The tables of both must be the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from lensnb.runs import table

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "09_how_many_simulations.ipynb"
STUDY = """\
notebook: {notebook}
parameters: {{study: "", flow_steps: 4, diffusion_steps: 4, batch: 8, n_maps: 40, rounds: 20, device: cpu}}
grid: {{n_train: [30, 100], seed: [{seeds}]}}
"""


def seconds(study: Path, root: Path, cores: int) -> float:
    """How long the sweep takes on so many cores."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "lensnb",
        "sweep",
        str(study),
        "--root",
        str(root),
        "--cores",
        str(cores),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=12, help="how many runs, an even number")
    wanted = parser.parse_args()
    with TemporaryDirectory(prefix="lensnb-sweep-") as folder:
        study = Path(folder) / "study.yml"
        study.write_text(
            STUDY.format(notebook=NOTEBOOK, seeds=", ".join(map(str, range(wanted.runs // 2))))
        )
        spent = {cores: seconds(study, Path(folder) / f"on_{cores}", cores) for cores in (1, 2)}
        tables = [
            table(Path(folder) / f"on_{cores}").drop(columns=["seconds"]) for cores in (1, 2)
        ]
        count = tables[0]["run"].nunique()
        print(
            f"{count} runs: {spent[1]:.0f} s one after the other, {spent[2]:.0f} s two at a time"
        )
        print(f"two at a time take {spent[2] / (spent[1] / 2):.2f} of half the serial time")
        print(f"the tables are {'the same' if tables[0].equals(tables[1]) else 'not the same'}")


if __name__ == "__main__":
    main()
