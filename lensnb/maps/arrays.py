"""The one entry for arrays, labels and numbers that come from somewhere else.

NumPy, pandas, h5py, astropy and torch each have their own kinds of these. Inside the package there
are plain NumPy arrays and tensors, whole numbers or names, and numbers of Python. A mask that an
array carries would be lost on the way, so such an array is refused.
"""

from __future__ import annotations

import operator

import numpy as np
import torch
from torch import Tensor


def plain_array(owner: str, values):
    """Values as a plain NumPy array; memory maps, and maps that stay on disk, unchanged.

    Args:
        owner: what they are, which begins the error message.
        values: an array, a tensor, a list, or what another package calls an array.

    Raises:
        ValueError: values are hidden under a mask, or they have a unit.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    if type(values) in (np.ndarray, np.memmap) or hasattr(values, "by_chunk"):
        return values
    _refuse_hidden(owner, values)
    if str(getattr(values, "unit", None) or ""):
        raise ValueError(f"{owner} has the unit {values.unit}; expected values without a unit")
    return np.asarray(values)


def _refuse_hidden(owner: str, values) -> None:
    """Refuse a masked array with values under its mask; without such values, a mask is no loss."""
    mask = getattr(values, "mask", None)
    if not isinstance(values, np.ma.MaskedArray) and not isinstance(mask, np.ndarray):
        return
    hidden = int(np.count_nonzero(mask))
    if hidden:
        raise ValueError(
            f"{owner} is a masked array with {hidden} hidden values; expected a plain array, "
            "such as array.data, and to statistics mask=~array.mask"
        )


def plain_tensor(owner: str, values) -> Tensor:
    """The same values as a tensor; torch takes no other byte order and no reversed axis.

    Raises:
        ValueError: as for :func:`plain_array`, or the values are not numbers.
    """
    if isinstance(values, Tensor | list | tuple | int | float):
        return torch.as_tensor(values)
    array = np.asarray(plain_array(owner, values))
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{owner} holds values of type {array.dtype}; expected numbers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(step < 0 for step in array.strides) or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def plain_labels(owner: str, labels) -> np.ndarray:
    """Whole numbers or names, from an array, a table's column, bytes or objects.

    Args:
        owner: what they belong to, which begins the error message.
        labels: one number or name for each map. Floating-point numbers must be whole.

    Returns:
        An array of integers or of text.

    Raises:
        ValueError: labels are missing (NaN, None, hidden), or neither whole numbers nor names.
    """
    array = np.asarray(plain_array(owner, labels))
    if array.dtype.kind in "OT":  # objects, or text of variable length
        array = _of_objects(array)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "f" and np.isfinite(array).all():
        whole = array.round()
        if (whole == array).all():
            array = whole.astype(np.int64)
    if array.dtype.kind not in "iuU" and array.size:
        raise ValueError(
            f"{owner} holds values of type {array.dtype}; "
            "expected whole numbers or names of simulations"
        )
    return array


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Objects as text or as numbers; unchanged if they are neither, or a mixture."""
    items = [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]
    if items and all(isinstance(one, str) for one in items):
        return np.array(items, np.str_).reshape(array.shape)
    numbers = (int, float, np.integer, np.floating)
    if items and all(isinstance(one, numbers) and not isinstance(one, bool) for one in items):
        return np.array(items).reshape(array.shape)
    return array


def plain_number(owner: str, value, unit: str | None = None) -> float:
    """A number of Python, from NumPy, a tensor, a table, or astropy with its unit.

    Args:
        owner: what it is, which begins the error message.
        value: the number.
        unit: the unit that a number with a unit is converted to.

    Raises:
        ValueError: it is no single number, or has a unit of another kind.
    """
    try:
        if unit is not None and hasattr(value, "to_value"):
            value = value.to_value(unit)
        return float(np.asarray(value).item())
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{owner} must be one number, found {value!r} ({reason})") from None


def plain_whole(owner: str, value) -> int:
    """A whole number of Python, from NumPy or a tensor.

    Args:
        owner: what it is, which begins the error message.
        value: the number.

    Raises:
        ValueError: it is no whole number.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{owner} must be a whole number, found {value!r}") from None
