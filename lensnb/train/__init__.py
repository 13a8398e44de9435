"""Training: one generator of records for every model that has ``loss(batch, generator)``.

    for record in fit(model, maps, steps=2000, folder="runs/flow"):
        print(record["step"], record["loss"])

The order of the maps and all noise depend only on the seed and the number of the step, so a resumed training equals an
uninterrupted one. The weights that remain in the model (and in ``model.safetensors``) are the exponential moving average.
Which file to open:

* ``loop``: :func:`fit`, what a step is, and the schedule;
* ``streaming``: training maps that stay on disk;
* ``state``: weights, moving average and optimiser of one training, and its files;
* ``devices``: device, precision, memory format, compilation;
* ``processes``: several processes that share the steps, under ``torchrun``;
* ``follow``: :func:`watch`, a progress bar.
"""

from .devices import choose_device, choose_precision, place
from .follow import watch
from .loop import fit, schedule

__all__ = ["choose_device", "choose_precision", "fit", "place", "schedule", "watch"]
