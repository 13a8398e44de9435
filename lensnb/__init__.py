"""lensnb: generative models of weak-lensing convergence maps, judged down to the covariance.

``lensnb.<TAB>`` shows the modules; each is imported when it is first used.
"""

__version__ = "0.1.0"

_MODULES = (
    "commands",
    "compare",
    "data",
    "doctor",
    "ensemble",
    "files",
    "given",
    "layers",
    "maps",
    "models",
    "nets",
    "pages",
    "plot",
    "ramps",
    "readers",
    "runs",
    "samplers",
    "shear",
    "sims",
    "stats",
    "store",
    "theory",
    "train",
    "transform",
    "versions",
    "widgets",
)


def __getattr__(name: str):
    if name in _MODULES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_MODULES]
