"""Training: one function, which yields records, for every model with ``loss(batch, generator)``.

    settings = Settings(steps=2000, lr=4e-3)
    for record in fit(model, maps, settings, folder="runs/flow"):
        print(record["step"], record["loss"])

The order of the maps and all noise depend only on the seed and the number of the step. So a
resumed training equals an uninterrupted one. The weights that are left in the model, and in
``model.safetensors``, are the exponential moving average. The files of this folder:

* ``loop``: :func:`fit`, and the work of one step;
* ``settings``: :class:`Settings`, :class:`Checks`, :class:`Hardware`, :class:`Folder`, and the
  schedule of the learning rate;
* ``streaming``: training maps and their conditions, in memory or on disk;
* ``state``: weights, moving average and optimiser of one training, and its files;
* ``records``: losses, validation, checks;
* ``devices``: device, precision, memory format;
* ``processes``: several processes that share the steps, under ``torchrun``;
* ``follow``: :func:`watch`, a progress bar.
"""

from ..renamed import moved
from .devices import choose_device, choose_precision, place
from .follow import watch
from .loop import fit
from .settings import Checks, Folder, Hardware, Settings

__all__ = [
    "Checks", "Folder", "Hardware", "Settings", "choose_device", "choose_precision", "fit",
    "place", "watch",
]  # fmt: skip

__getattr__ = moved(__name__, schedule="lensnb.train.settings")
