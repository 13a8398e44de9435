"""The text of ``docs/large_boxes.md``; ``large_boxes.py`` fills in the numbers."""

from __future__ import annotations

from lensnb.ensemble.super_sample import Share
from lensnb.sims import LightCone


def with_error(one: Share, digits: int = 3) -> str:
    """A number and its error as text."""
    return f"{one.value:.{digits}f} ± {one.error:.{digits}f}"


def boxes_in_words(cone: LightCone, count: int) -> str:
    """The cells of the table of boxes."""
    crossed = cone.n_planes / cone.planes_per_box
    return (
        f"{count} | {cone.n_particles}³ | {cone.box_size:g} | {cone.thickness:g} | {crossed:g} | "
        f"{cone.seed}"
    )


PAGE = """# What do small boxes cost?

Made by `python benchmarks/large_boxes.py`; its docstring explains the method.

The [sample](sample.md) comes from boxes that light crosses many times, and that hold no mode longer than themselves. Here it is compared
with boxes of twice the side, which have the same cosmology, particle spacing and planes. Fields are 5° wide, and pixels 4.7′.
The wide boxes are no truth either: they lack the longest modes, too, and light crosses them several times.

| | boxes | particles | side, Mpc/h | planes, Mpc/h | crossings | seed |
|---|--:|--:|--:|--:|--:|--:|
| small | {small} |
| wide | {wide} |

## Power spectrum

| ℓ | C_ℓ, wide / small |
|--:|--:|
{spectrum}

## Scatter of the mean of a map

Over the scatter that theory expects of all modes. The last column has what is expected of the modes of the box
(`lensnb.theory.sigma_b`).

| box, Mpc/h | measured | expected |
|--:|--:|--:|
{means}

## Response to the mean density

∂ ln C_ℓ / ∂κ_b, with the mean convergence κ_b of the region: read off the means of the small maps
(`lensnb.ensemble.response_to_mean`), and from boxes of another mean density (`lensnb.sims.SeparateUniverse`).

The two are not the same. Means of maps follow the modes that small boxes hold, which are near. A region has all planes denser, as the
modes have that a small box lacks. The last columns say what theory expects: the response to the means, and that to the modes which the
box lacks, both over that of a region; and what one response for all distances gives of the exact super-sample variance.

| ℓ | map means | regions | means / region, expected | lacking / region, expected | part that one response gives |
|---|--:|--:|--:|--:|--:|
{responses}

## Covariance, without and with the super-sample term

The slope of the correlations of the default statistics, and their scatter, wide boxes over small ones. Then the small boxes get
σ_b² r rᵀ (`lensnb.ensemble.add_super_sample`), with the response r of {source} and the σ_b = {missing} of the modes that the wide
boxes hold and the small ones lack. Both numbers are 1 if the term explains the difference. Noise of few boxes lowers a slope; the null
shows by how much.

| | slope | scatter |
|---|--:|--:|
{covariances}

All modes that the small boxes lack have σ_b = {lacking}. Their term adds {trace} of the variance on average over bins, {largest} in the
bin where that is most, and {along} along the response. Of the first number, noise of the response makes {noise}.

## Fields of 10°

From the wide boxes alone, with the same pixels, over theory.

| | over theory |
|---|--:|
{fields}
"""

FINE = """
## Fine boxes

256² pixels over 5°, over theory. C_ℓ falls to half of theory {half}, and the noise of particles reaches 10 % of C_ℓ {noisy}.
Nothing is claimed beyond.

| | boxes | particles | side, Mpc/h | planes, Mpc/h | crossings | seed |
|---|--:|--:|--:|--:|--:|--:|
| fine | {fine} |

| | over theory |
|---|--:|
{rows}
"""
