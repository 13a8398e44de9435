"""Parameters of notebooks: declared in one tagged cell, typed and commented; what does not fit is refused in a sentence."""

from __future__ import annotations

import ast
import difflib
import json
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path


def check_parameters(namespace: MutableMapping) -> dict:
    """Coerce a notebook's parameters in place to the types that its parameters cell declares.

    papermill's ``-p`` hands over ``1e-4`` and ``false`` as strings. The environment variable ``LENSNB_PARAMETERS`` (a JSON
    object) overrides parameters for tools that cannot pass them, such as nbval.

    Args:
        namespace: ``globals()`` of the notebook, with ``__annotations__`` from the parameters cell.

    Returns:
        The parameters by name.

    Raises:
        ValueError: a value does not fit its declared type.
    """
    types = namespace.get("__annotations__", {})
    override = json.loads(os.environ.get("LENSNB_PARAMETERS", "{}"))
    for name, kind in types.items():
        namespace[name] = coerce(name, override.get(name, namespace[name]), kind)
    return {name: namespace[name] for name in types}


def coerce(name: str, value, kind: str | type):
    """``value`` as the declared type: int, float, bool or str.

    Raises:
        ValueError: it does not fit, in one sentence with the parameter's name.
    """
    kind = kind if isinstance(kind, str) else kind.__name__
    readers = {"int": _integer, "float": _number, "bool": _boolean, "str": str}
    if kind not in readers:
        raise ValueError(
            f"parameter {name} is declared as {kind}; expected one of {', '.join(readers)}"
        )
    try:
        return readers[kind](value)
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"parameter {name} = {value!r} is not of the type {kind}") from None


def _number(value) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _integer(value) -> int:
    number = float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _boolean(value) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[str(value).strip().lower()]


def read_parameters(file: str | Path) -> dict:
    """Parameters by name from a YAML file, as papermill's ``-f``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML mapping.
        ImportError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise ImportError("a file of parameters needs PyYAML: pip install 'lensnb[lab]'") from None
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist; expected a YAML file of parameters")
    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} must hold parameters by name, found {type(found).__name__}")
    return found


def check_names(notebook: str | Path, parameters: Mapping) -> dict:
    """Refuse parameters that the notebook does not declare, and coerce the others to their declared types.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: an unknown name (the nearest known one is named), or a value of the wrong type.
    """
    if not Path(notebook).is_file():
        raise FileNotFoundError(f"there is no notebook {notebook}")
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    if not known:
        raise ValueError(f"{notebook} has no cell tagged 'parameters', so it takes none")
    for name in parameters:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
            raise ValueError(f"{notebook} has no parameter {name}; {hint}")
    return {
        name: coerce(name, value, known[name]["inferred_type_name"])
        for name, value in parameters.items()
    }


def all_parameters(
    notebook: str | Path, given: Mapping, but: tuple[str, ...] = ("folder",)
) -> dict:
    """Every parameter that a notebook declares, as given or by default; without the run folder, which names no run."""
    import papermill

    declared = papermill.inspect_notebook(str(notebook))
    return {
        n: given.get(n, ast.literal_eval(p["default"]))
        for n, p in declared.items()
        if n not in but
    }
