"""Widgets on a page without a kernel: one HTML file with their scripts, maps and answers.

The scripts are those of the notebook. What a kernel would compute is computed beforehand: for each
combination of the choices that are offered, the page has the traits that Python answered with.
``static.js`` stands in for the model of Jupyter and takes the answers from there.

The bytes of all traits lie in one block, which is compressed (zlib) and written in base64. Maps
and statistics are rounded first, because noise does not compress. A map is rounded to 1/32 of the
standard deviation of its set, which is about one step of the colour scale, and a statistic to 12
bits, a relative error of 1/8192 at most.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anywidget
import numpy as np

_HERE = Path(__file__).parent
_LEVELS_IN_SIGMA = 32  # levels of a rounded map within one standard deviation
_MANTISSA = 12  # bits that are kept of a float32, of 23
_WIDTHS = (1, 2, 4)  # bytes of a number, of which equal bytes are put together


@dataclass
class Recorded:
    """A widget with all that its kernel would answer.

    Attributes:
        script: its JavaScript module.
        state: the traits that the browser is sent of a new widget.
        choices: names of the traits that Python answers.
        answers: values of the choices, in their order, and the traits that Python then sends.
    """

    script: str
    state: dict
    choices: list[str]
    answers: list[tuple[list, dict]]


def record(widget: anywidget.AnyWidget, choices: Mapping[str, Sequence] | None = None) -> Recorded:
    """Ask a widget for every combination of its choices, and keep what it answers.

    Args:
        widget: the widget; the page opens on what it shows now.
        choices: trait → all values that a user can choose.
    """
    choices = {name: list(values) for name, values in (choices or {}).items()}
    before = [getattr(widget, name) for name in choices]
    answers = []
    for values in itertools.product(*choices.values()):
        _choose(widget, choices, values)
        answers.append((list(values), _state(widget)))
    _choose(widget, choices, before)
    state = _state(widget)
    changing = [name for name in state if name not in choices and _changes(name, answers)]
    kept = [(values, {name: one[name] for name in changing}) for values, one in answers]
    return Recorded(widget._esm, state, list(choices), kept)


def _changes(name: str, answers: Sequence[tuple[list, dict]]) -> bool:
    """Whether a trait depends on the choices; the map on view, for example, does not."""
    first = answers[0][1][name]
    return any(state[name] != first for _, state in answers)


def _choose(widget: anywidget.AnyWidget, choices: Mapping, values: Sequence) -> None:
    for name, value in zip(choices, values):
        setattr(widget, name, value)


def _state(widget: anywidget.AnyWidget) -> dict:
    """What the browser is sent of a widget, without what Jupyter keeps for itself."""
    ours = set(widget.class_traits(sync=True)) - set(anywidget.AnyWidget.class_traits(sync=True))
    return widget.get_state(ours)


# ---------------------------------------------------------------- bytes


class _Block:
    """The bytes of all traits in one block; equal bytes and equal traits are kept once."""

    def __init__(self):
        self.data = bytearray()
        self.values: list = []  # traits as JSON has them
        self._places: dict[str, dict] = {}
        self._numbers: dict[str, int] = {}

    def number_of(self, value) -> int:
        """The place of a trait's value among all values."""
        as_json = self._as_json(value)
        key = json.dumps(as_json, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(as_json)
        return self._numbers[key]

    def _as_json(self, value):
        if isinstance(value, bytes | bytearray | memoryview):
            return self._placed(bytes(value))
        if isinstance(value, Mapping):
            value = _rounded(value)
            return {str(name): self._as_json(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._as_json(one) for one in value]
        return value

    def _placed(self, raw: bytes) -> dict:
        """Where bytes lie in the block, and how wide the numbers are that they were sorted by."""
        key = hashlib.blake2b(raw).hexdigest()
        if key not in self._places:
            width = min(_WIDTHS, key=lambda width: _cost(raw, width))
            start = len(self.data)
            self.data += _by_byte(raw, width)
            self._places[key] = {"$bytes": [start, len(raw), width]}
        return self._places[key]


def _by_byte(raw: bytes, width: int) -> bytes:
    """The first byte of every number, then the second of every number, and so on."""
    if width == 1:
        return raw
    return np.frombuffer(raw, np.uint8).reshape(-1, width).T.tobytes()


def _cost(raw: bytes, width: int) -> float:
    if len(raw) % width:
        return math.inf
    return len(zlib.compress(_by_byte(raw, width), 1))


def _rounded(value: Mapping) -> Mapping:
    """A set of maps as :func:`lensnb.widgets.pictures.quantise` makes it, or statistics by set."""
    if {"pixels", "step"} <= value.keys():
        return {**value, "pixels": _rounded_pixels(value)}
    if isinstance(value.get("vectors"), Mapping):
        vectors = {name: _rounded_floats(one) for name, one in value["vectors"].items()}
        return {**value, "vectors": vectors}
    return value


def _rounded_pixels(one: Mapping) -> bytes:
    """Pixels of 16 bits with the last bits zero."""
    pixels = np.frombuffer(one["pixels"], "<u2").astype(np.uint32)
    finest = float(pixels.std()) / _LEVELS_IN_SIGMA
    if finest < 2:
        return one["pixels"]
    unit = 2 ** int(math.log2(finest))
    rounded = (pixels + unit // 2) // unit * unit
    return np.minimum(rounded, 65535 // unit * unit).astype("<u2").tobytes()


def _rounded_floats(raw: bytes) -> bytes:
    """Numbers of float32 with the last bits of their mantissa zero."""
    bits = np.frombuffer(raw, "<u4").astype(np.uint64)
    dropped = 23 - _MANTISSA
    finite = np.isfinite(np.frombuffer(raw, "<f4"))
    rounded = (bits + 2 ** (dropped - 1)) >> dropped << dropped
    return np.where(finite, rounded, bits).astype("<u4").tobytes()


# ---------------------------------------------------------------- the page


def static_page(shown: Mapping[str, Recorded], title: str, about: str) -> str:
    """An HTML page with widgets, which opens without a kernel and without a network.

    Args:
        shown: label of each widget on the page → the widget.
        title: of the page.
        about: what stands at its end, plain text.
    """
    block = _Block()
    widgets = [_described(one, block) for one in shown.values()]
    header = json.dumps({"widgets": widgets, "values": block.values}).encode()
    payload = len(header).to_bytes(4, "little") + header + bytes(block.data)
    scripts = [_as_element(number, one.script) for number, one in enumerate(shown.values())]
    parts = {
        "TITLE": html.escape(title),
        "ABOUT": html.escape(about),
        "TABS": "".join(_tab(number, label) for number, label in enumerate(shown)),
        "PANELS": "".join(_panel(number) for number in range(len(shown))),
        "DATA": base64.b64encode(zlib.compress(payload, 9)).decode(),
        "SCRIPTS": "\n".join(scripts),
        "STATIC": (_HERE / "static.js").read_text(encoding="utf-8"),
    }
    template = (_HERE / "static.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], template)


def _described(one: Recorded, block: _Block) -> dict:
    """A widget as the header has it; its traits by their place among all values."""

    def numbers(traits: Mapping) -> dict[str, int]:
        return {name: block.number_of(value) for name, value in traits.items()}

    answers = [[values, numbers(answer)] for values, answer in one.answers]
    return {"state": numbers(one.state), "choices": one.choices, "answers": answers}


def _as_element(number: int, script: str) -> str:
    """A widget's module as a script of the page: what it exports becomes a value of the page."""
    exported, count = re.subn(
        r"^export default ", f"window.lensnbWidgets[{number}] = ", script, flags=re.M
    )
    if count != 1 or "</script" in script.lower():
        raise ValueError(
            "the script of a widget must have one 'export default' and no '</script'; "
            f"found {count} exports"
        )
    return f'<script type="module">\n{exported}\n</script>'


def _tab(number: int, label: str) -> str:
    chosen = str(number == 0).lower()
    return (
        f'<button type="button" role="tab" id="tab-{number}" aria-controls="panel-{number}" '
        f'aria-selected="{chosen}">{html.escape(label)}</button>'
    )


def _panel(number: int) -> str:
    hidden = " hidden" if number else ""
    return (
        f'<section role="tabpanel" id="panel-{number}" aria-labelledby="tab-{number}"{hidden}>'
        "</section>"
    )
