"""Widgets for notebooks, each made by one call.

* :func:`explore`: step through true and generated maps, with their statistics;
* :func:`spot_the_fake`: a quiz: which of two maps is generated?
* :func:`inspect`: look into a fidelity report;
* :func:`walk`: walk through the latents of a flow;
* :func:`diffuse`: scrub the noise level of a diffusion model;
* :func:`follow_training`: follow a training while it runs.

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

from .explorer import STATISTICS, Explorer, explore
from .inspector import Inspector, inspect
from .latent_walk import Walk, walk
from .noise_levels import Diffuse, diffuse
from .quiz import Quiz, Score, spot_the_fake
from .training_view import TrainingView, follow_training, watch

__all__ = [
    "STATISTICS",
    "Diffuse",
    "Explorer",
    "Inspector",
    "Quiz",
    "Score",
    "TrainingView",
    "Walk",
    "diffuse",
    "explore",
    "follow_training",
    "inspect",
    "spot_the_fake",
    "walk",
    "watch",
]
