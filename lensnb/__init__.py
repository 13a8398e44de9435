"""lensnb: generative models of weak-lensing convergence maps, judged down to the covariance."""

__version__ = "0.1.0"
