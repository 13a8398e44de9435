"""Widgets for notebooks, each made by one call: :func:`explore` maps and their statistics, :func:`spot_the_fake`,
:func:`inspect`, which looks into a fidelity report, :func:`walk` through the latents of a flow, :func:`diffuse`, which scrubs
the noise level of a diffusion model, and :func:`watch`, which follows a training.

They draw in the browser, on canvases, from data that the kernel sends once; the stored notebook keeps a picture beside them.
"""

try:
    import anywidget  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"lensnb.widgets needs {error.name}, which comes with the extra lab: pip install 'lensnb[lab]'"
    ) from None

from .diffuse import Diffuse, diffuse
from .explorer import STATISTICS, Explorer, explore
from .inspector import Inspector, inspect
from .pictures import COLOUR_MAPS
from .quiz import Quiz, spot_the_fake
from .training import Training, watch
from .walk import Walk, walk

__all__ = [
    "COLOUR_MAPS",
    "STATISTICS",
    "Diffuse",
    "Explorer",
    "Inspector",
    "Quiz",
    "Training",
    "Walk",
    "diffuse",
    "explore",
    "inspect",
    "spot_the_fake",
    "walk",
    "watch",
]
