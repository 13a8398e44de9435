"""Widgets for notebooks, each made by one call.

* :func:`explore`: step through true and generated maps, with their statistics;
* :func:`spot_the_fake`: a quiz: which of two maps is generated?
* :func:`inspect`: look into a fidelity report;
* :func:`walk`: walk through the latents of a flow;
* :func:`diffuse`: scrub the noise level of a diffusion model;
* :func:`follow_training`: follow a training while it runs;
* :func:`compare_runs`: compare the losses and scorecards of many runs;
* :func:`vary_cosmology`: move σ₈ and Ω_m, and see theory's spectrum beside the maps.

They draw in the browser, on canvases, from data that the kernel sends once. A stored notebook
keeps a still picture of each.
"""

try:
    import anywidget  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"lensnb.widgets needs {error.name}, which comes with the extra lab: "
        "pip install 'lensnb[lab]'"
    ) from None

from ..renamed import moved
from .cosmology_view import vary_cosmology
from .explorer import explore
from .inspector import inspect
from .latent_walk import walk
from .noise_levels import diffuse
from .quiz import spot_the_fake
from .run_table import compare_runs
from .training_view import follow_training

__all__ = [
    "compare_runs",
    "diffuse",
    "explore",
    "follow_training",
    "inspect",
    "spot_the_fake",
    "vary_cosmology",
    "walk",
]

__getattr__ = moved(
    __name__,
    STATISTICS="lensnb.widgets.explorer",
    Diffuse="lensnb.widgets.noise_levels",
    Explorer="lensnb.widgets.explorer",
    Inspector="lensnb.widgets.inspector",
    Quiz="lensnb.widgets.quiz",
    Training="lensnb.widgets.training_view:TrainingView",
    Walk="lensnb.widgets.latent_walk",
    watch="lensnb.widgets:follow_training",
)
