"""The text of ``docs/sample.md``; ``sample_physics.py`` fills in the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from lensnb.sims.sample import SHIPPED_BOXES, boxes_of

ROLES = {
    "train": ("training maps", "reserved for training"),
    "truth": ("truth", "more truth"),
    "null": ("null", "more null"),
    "sealed": ("sealed: they confirm a release, and nothing is ever chosen on them", ""),
}


def box_rows() -> Iterator[str]:
    """The lines of the table of boxes."""
    for name, (role, of_others) in ROLES.items():
        numbers = boxes_of(name)
        if name == "sealed":
            yield f"| {ranges(numbers)} | {role} | nothing |"
            continue
        kept = "nothing" if name == "train" else "vectors"
        yield f"| {ranges(numbers[:SHIPPED_BOXES])} | {role} | maps |"
        yield f"| {ranges(numbers[SHIPPED_BOXES:])} | {of_others} | {kept} |"


def ranges(numbers: list[int]) -> str:
    """Numbers in order as text: 96–127 and 1000–1191."""
    starts = [i for i, one in enumerate(numbers) if i == 0 or one != numbers[i - 1] + 1]
    ends = [*starts[1:], len(numbers)]
    parts = [f"{numbers[start]}–{numbers[end - 1]}" for start, end in zip(starts, ends)]
    return " and ".join(parts)


PAGE = """# What is in the shipped maps?

Made by `python benchmarks/sample_physics.py`; its docstring explains the method.

The sample is a set of simulated maps for teaching and for judging generators. It is not a model of a survey, and its covariance is
not that of the sky. This page says what the maps are, how they differ from theory, and which numbers of lensnb were chosen on which
of them.

## How the maps were made

| | |
|---|---|
| maps | 3 sets of 1,024; 64 × 64 pixels over 5° × 5°; sources at z_s = 1; κ without noise |
| simulations | particle-mesh boxes of {cone.n_particles}³ particles, {cone.box_size:g} Mpc/h a side, dark matter only; the mesh has {cone.mesh_factor}³ cells for each particle |
| cosmology | flat ΛCDM: Ω_m = {cosmology.omega_m:g}, σ₈ = {cosmology.sigma8:g}, h = {cosmology.h:g}, n_s = {cosmology.n_s:g}, Ω_b = {cosmology.omega_b:g} |
| light cone | {cone.n_planes} planes, each as thick as the box: to {reach:,.0f} Mpc/h. Born approximation, along the undisturbed line of sight |
| maps of a box | 32. All planes of a map come from *one* box at different times. Each plane gets a random axis, shift, turn and flip |
| seeds | box number b has the seed b for its initial conditions. Map m of box b has the seed ({cone.seed}, b, m) for axes, shifts, turns and flips |

The boxes of a set are used in no other set:

| boxes | what for | kept as |
|---|---|---|
{boxes}

[The shipped maps](models.md#the-shipped-maps) says how to load them, and how to make them and the vectors again.

## Power spectrum: too little on small scales

Below is C_ℓ of all 3,072 maps, divided by theory: halofit in Limber's approximation, seen through the pixels and the edges of the
field (`lensnb.stats.cutout_power`). The bins are those of the default statistics. Errors are from a jackknife over the 96 boxes.

| ℓ | C_ℓ / theory |
|--:|--:|
{spectrum}

The maps have {first:.2f} of the power of theory in the first bin, and {last:.2f} in the last. The mesh smooths matter, and the
particles are too few for small haloes. Up to ℓ ≈ 240 nine tenths of C_ℓ come from scales that the mesh resolves
([notebook 01](../notebooks/01_explore_kappa_maps.ipynb)).

The theory has **aliases**: pixels sample κ, so waves that are shorter than two pixels look like longer ones. If theory leaves them
out, the last three bins seem to have {plain} of its power. That is too much, because the maps have aliases.

## Mean of a map: too little scatter

The mean of a map has **{variance}** of the variance that theory expects (error from a jackknife over boxes). The reason is that a box
has the mean density of the universe, and no mode that is longer than the box. A sum over the modes of a periodic box of {cone.box_size:g} Mpc/h,
instead of an integral over all modes, gives {share:.2f} of the variance. The rest is the power that is missing in the first bin, and chance.

## What this means

* **The covariance is that of the boxes, not of the sky.** Real fields lie in a void or in a crowded region, and all their statistics
  follow. This *super-sample* covariance is missing here.
* **Each box is used 32 times.** Maps of one box share its clusters, so errors are always estimated over boxes, and never over maps.
* **Boxes are repeated along the line of sight.** A map crosses the same box {cone.n_planes} times. Tokiwa et al. 2025
  ([arXiv:2511.20423](https://arxiv.org/abs/2511.20423)) compared maps from tiled boxes of 625 Mpc/h with maps from boxes of
  3750 Mpc/h. Repeated boxes bias the PDF and the Minkowski functionals by about 10 %, other statistics by about 1 %, and
  covariances by about 10 %, or 25 % for z_s = 2.5. Where no box is repeated, means agree within 1 %, but variances still differ
  by about 10 %. Our boxes are smaller, and each plane is shifted and turned, so these numbers cannot be taken over. For our sample
  the effect has not been measured.
* **Generators can still be compared with the boxes.** Training maps, truth and null come from the same code and share all these
  limits. A generator that learns them perfectly has the limits, too.

## Which numbers were chosen on which boxes

A number looks too good if it was chosen on the maps that then judge it. So this is what was chosen on what:

| what | chosen on boxes |
|---|---|
| weights of the shipped models; their κ transform, Gaussian field and band powers | 0–31 |
| settings of models, trainings and samplers | 64–95 |
| bins of the statistics, and thresholds in σ | 64–95 |
| defaults and thresholds of the fidelity report | truth and null, and in part 0–31 |
| nothing | 3000–3063, sealed |

* **Models.** About 60 configurations were judged on the shipped truth, boxes 64–95, with the shipped null, 128–159, beside it: 55 in the
  [experiments](covariance.md), and others for the [model cards](models.md) and the comparison with
  [other libraries](benchmark_generators.md). Their results decided the defaults: network, loss, noise levels, sampler, learning rate.
  So the best of them may look a little better on these boxes than on others. During training the loss on 256 of these maps was
  recorded; no setting was changed because of it.
* **Report.** Its margins (5 and 10 %) were not chosen on maps. Its limit for *off* follows from the number of rows. Other defaults
  were checked, and some changed, while false alarms, errors and power ([calibration](calibration.md)) and
  [planted faults](adversaries.md) were counted on true boxes. Without the file of vectors these are all 96 shipped
  boxes, training boxes included.
* **More truth and null.** The boxes 96–127, 160–191, 1000–1191 and 2000–2191 were simulated later than all of this. So no
  setting of the models that are shipped now was chosen on them.
* **Sealed boxes.** Nothing was chosen on them. One command opens them once per release, and [its page](sealed.md) keeps what it
  found.
"""
