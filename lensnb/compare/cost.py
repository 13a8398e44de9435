"""What a generator costs: item 9 of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a generator costs; a number that is not known stays None.

    Attributes:
        parameters: number of parameters of its networks.
        training_s: seconds of training.
        images: training images seen, with repetition.
        map_s: seconds for a generated map.
        evaluations: evaluations of the network for a map.
    """

    parameters: int | None = None
    training_s: float | None = None
    images: int | None = None
    map_s: float | None = None
    evaluations: float | None = None

    LABELS = {
        "parameters": "parameters",
        "training_s": "training [s]",
        "images": "images seen",
        "map_s": "a map [s]",
        "evaluations": "evaluations a map",
    }

    def text(self, name: str) -> str:
        """One of the numbers for a table; a dash if it is not known."""
        value = getattr(self, name)
        if value is None:
            return "–"
        if isinstance(value, int):
            return f"{value:,}"
        return f"{value:.3g}"
