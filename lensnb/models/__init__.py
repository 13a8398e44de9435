"""Generative models of convergence maps, one file a family; all obey one contract.

A model draws κ-maps with ``sample(n, generator)`` and has ``loss(batch, generator)`` for κ-maps ``(batch, n, n)``; models
with a density also have ``log_prob``, flows ``to_noise`` and ``to_data``. The baselines, :class:`lensnb.maps.GaussianField`
and :class:`lensnb.maps.LognormalField`, obey it too.
"""

from .diffusion import Diffusion
from .flow import Flow

__all__ = ["Diffusion", "Flow"]
