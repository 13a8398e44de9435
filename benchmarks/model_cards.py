"""The card of a model that comes with lensnb: what it is for, its data, and where it fails."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lensnb.compare import FidelityReport
from lensnb.compare.map_copies import copies_in_maps
from lensnb.data import MapSet

_AT_ONCE = 8192  # training maps that are searched for copies at a time


def copies(maps: Tensor, train: MapSet) -> str:
    """A sentence about maps that are copies of any of the training maps."""
    found = set()
    for start in range(0, len(train), _AT_ONCE):
        part = train[start : start + _AT_ONCE]
        found |= set(copies_in_maps(maps, part.tensor(), part.simulation).which.tolist())
    return (
        f"Of {len(maps):,} maps, {len(found)} are copies of one of the {len(train):,} training "
        "maps, under all shifts and symmetries."
    )


def listed(sentences: list[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {line}" for line in sentences or ["nothing"])


def how_trained(settings: dict) -> str:
    """A sentence about the length of a training, followed by a space."""
    return (
        f"{settings['steps']:,} steps of {settings['batch']} maps, highest learning rate "
        f"{settings['lr']:g}. "
    )


def card(
    file: Path,
    maps: MapSet,
    report: FidelityReport,
    n_maps: int,
    training: str,
    command: str,
    told: str,
) -> str:
    """The model card in Markdown.

    Args:
        file: the shipped model, with the name that it has in the report.
        maps: its training set.
        report: what the judge says of it.
        n_maps: its maps in the report.
        training: how it was trained, with the command.
        command: repeats the report.
        told: what else there is to say, at the end.
    """
    boxes = maps.simulations
    name = file.stem
    size = file.stat().st_size / 1e6
    return f"""# The {name} model that comes with lensnb

`lensnb.models.load("{name}")`, {size:.1f} MB. κ-maps of {maps.grid.n}² pixels over {maps.side_deg:g}°, sources at
z = {maps.z_source:g}, noise-free.

**Use it for** lessons, tests, and comparisons with other generators on the same sample. **Do not use it for** a
covariance matrix that an analysis depends on (see the failures below), or for other cosmologies, source
redshifts, fields or resolutions.

**Data**: {len(maps):,} maps from {len(boxes)} N-body boxes (numbers {boxes[0]} to {boxes[-1]}), augmented by the 8 symmetries of the
square. Truth and null come from 256 other boxes each. A generator trained on 32 boxes contains no more information than
they do.

**Training**: {training}

## What the fidelity report says

{n_maps:,} generated maps were compared with the truth and the null of the sample, which are both true maps. Command:
`{command}`. What is off, worst first:

{listed(report.failures(name))}

Where the maps are too few to tell:

{listed(report.undecided(name))}

```
{report}
```

{told}
"""
