"""Values of parameters as the types that a notebook declares.

A type is ``int``, ``float``, ``bool``, ``str``, ``list``, ``tuple`` or ``dict``; one of these with
the types of what it holds, such as ``list[float]``; or several with ``|`` between, ``None`` among
them. Words of a command line are read as Python writes such values.
"""

from __future__ import annotations

import ast
import math
import numbers
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation

from ..files import plain_json

_MOST_DIGITS = 27  # of a whole number in text; those of Decimal, exactly
_NOT_OF_TYPE = (ValueError, TypeError, KeyError, OverflowError)


def coerce(name: str, value, kind: str | type):
    """``value`` as the declared type.

    Where no type is declared (``kind`` is empty), text that Python reads as a value is that value.

    Raises:
        ValueError: it does not fit, or lensnb does not know the type; one sentence with the
            parameter's name.
    """
    written = _written(kind)
    if not written:
        return _literal(value)
    try:
        kinds = _kinds(ast.parse(written, mode="eval").body)
    except (ValueError, SyntaxError):
        raise ValueError(
            f"parameter {name} is declared as {written}; "
            f"expected one of {', '.join(_READERS)}, or several with | between"
        ) from None
    try:
        return _first_that_fits(value, kinds)
    except _NOT_OF_TYPE:
        raise ValueError(f"parameter {name} = {value!r} is not of the type {written}") from None


def _written(kind: str | type) -> str:
    """A type as one writes it, also of annotations that are no text."""
    if isinstance(kind, str):
        return kind
    plain = getattr(kind, "__args__", None) is None and hasattr(kind, "__name__")
    if plain:
        return kind.__name__
    # such as `float | None`, `list[int]` and `typing.Optional[float]`
    return str(kind).replace("NoneType", "None")


def _kinds(node: ast.expr) -> list[tuple[str, list]]:
    """The names of types, each with the types of what it holds.

    Raises:
        ValueError: there is another one.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _kinds(node.left) + _kinds(node.right)
    inside = []
    if isinstance(node, ast.Subscript):
        inside = [node.slice]
        if isinstance(node.slice, ast.Tuple):
            inside = node.slice.elts
        node = node.value
    name = re.sub(r"^(typing|t)\.", "", ast.unparse(node))
    if name == "Optional" and len(inside) == 1:
        return [*_kinds(inside[0]), ("None", [])]
    if name == "Union" and inside:
        return [one for part in inside for one in _kinds(part)]
    name = {"List": "list", "Tuple": "tuple", "Dict": "dict"}.get(name, name)
    if name not in _READERS:
        raise ValueError
    return [(name, [_kinds(part) for part in inside if ast.unparse(part) != "..."])]


def _first_that_fits(value, kinds: list[tuple[str, list]]):
    """A value as the first of several types that it fits.

    Its own type comes first, and ``str``, which anything fits, last: words may be a number.
    """

    def place(kind: tuple[str, list]) -> int:
        if kind[0] == "str":
            return 2
        return int(kind[0] != type(value).__name__)

    *others, last = sorted(kinds, key=place)
    for name, inside in others:
        with suppress(*_NOT_OF_TYPE):
            return _READERS[name](value, inside)
    name, inside = last
    return _READERS[name](value, inside)


def _literal(value):
    """What Python reads in a text, if it reads something there; plain values of anything else."""
    if not isinstance(value, str):
        return plain_json(value)
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _number(value, _) -> float:
    if isinstance(value, bool):
        raise ValueError
    number = float(value)
    too_large = isinstance(value, str) and math.isinf(number) and "inf" not in value.lower()
    if too_large:  # such as 1e999
        raise ValueError
    return number


def _integer(value, _) -> int:
    """A whole number with all of its digits, of which a float has sixteen."""
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if number != int(number):
            raise ValueError
        return int(number)
    with suppress(ValueError):
        return int(value)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError from None
    # 1e999999999 would be a number of a billion digits
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS or number % 1:
        raise ValueError
    return int(number)


def _boolean(value, _) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[str(value).strip().lower()]


def _text(value, _) -> str:
    return str(value)


def _nothing(value, _) -> None:
    if value not in (None, "None", "none", "null"):
        raise ValueError


def _list(value, inside: list) -> list:
    found = _literal(value)
    if not isinstance(found, list | tuple):
        raise ValueError
    if not inside:
        return list(found)
    return [_first_that_fits(one, inside[0]) for one in found]


def _tuple(value, inside: list) -> tuple:
    found = _list(value, [])
    if len(inside) < 2:
        return tuple(_list(found, inside))
    if len(inside) != len(found):
        raise ValueError
    return tuple(_first_that_fits(one, kinds) for one, kinds in zip(found, inside))


def _dict(value, inside: list) -> dict:
    found = _literal(value)
    if not isinstance(found, Mapping):
        raise ValueError
    if len(inside) != 2:
        return dict(found)
    keys, values = inside
    return {
        _first_that_fits(key, keys): _first_that_fits(one, values) for key, one in found.items()
    }


_READERS = {
    "int": _integer,
    "float": _number,
    "bool": _boolean,
    "str": _text,
    "list": _list,
    "tuple": _tuple,
    "dict": _dict,
    "None": _nothing,
}
