"""The fidelity of a model's maps while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from .style import CYCLE, TRUTH

# Numbers of lensnb.compare.Fidelity, as called here, with colours that no family of models has.
NUMBERS = {
    "power_slope": ("$C_\\ell$ slope", CYCLE[6]),
    "power_scatter": ("scatter", CYCLE[5]),
    "power_mean": ("mean", CYCLE[7]),
}


def fidelity(ax: Axes, history: Sequence[Mapping]) -> Axes:
    """Mean, scatter and slope of drawn spectra over the truth's, at each check, with errors.

    Args:
        ax: where to draw.
        history: records of a training whose check was :class:`lensnb.compare.Fidelity`.
    """
    ax.axhline(1, color=TRUTH, ls="--", lw=1)
    for name, (label, colour) in NUMBERS.items():
        known = [record for record in history if record.get(name) is not None]
        steps = [record["step"] for record in known]
        values = [record[name] for record in known]
        errors = [record.get(f"{name}_error") or 0.0 for record in known]
        ax.errorbar(steps, values, errors, color=colour, marker="o", ms=3, lw=1.2, label=label)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("drawn / true")
    ax.grid(alpha=0.25)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2}
    ax.legend(frameon=False, fontsize=9, columnspacing=1, **above)
    return ax
