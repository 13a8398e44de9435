"""Parameters of notebooks: declared in one tagged cell with their types, and checked."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

from ..renamed import warn_renamed
from .declared import declared
from .kinds import coerce

# Old names of parameters; they work for one release.
_RENAMED = {"labels": "simulation"}


def check_parameters(namespace: MutableMapping) -> dict:
    """Convert a notebook's parameters in place to the types that its parameters cell declares.

    papermill's ``-p`` passes on ``1e-4`` and ``false`` as strings. The environment variable
    ``LENSNB_PARAMETERS`` (a JSON object) overrides parameters, for tools that cannot pass them,
    such as nbval.

    Args:
        namespace: ``globals()`` of the notebook, with ``__annotations__`` from the parameters
            cell.

    Returns:
        The parameters by name.

    Raises:
        ValueError: a value does not fit its declared type.
    """
    types = namespace.get("__annotations__", {})
    override = json.loads(os.environ.get("LENSNB_PARAMETERS", "{}"))
    override = new_names("LENSNB_PARAMETERS", override, types)
    for name, kind in types.items():
        value = override.get(name, namespace[name])
        namespace[name] = coerce(name, value, kind)
    return {name: namespace[name] for name in types}


def new_names(owner: str | Path, parameters: Mapping, known: Collection[str]) -> dict:
    """Parameters by their present names; an old name works for one release, with a warning.

    Args:
        owner: what the parameters are for, in the warning.
        parameters: values by name.
        known: the names that a notebook declares. An old name that is among them is kept.

    Raises:
        ValueError: a parameter is given by both names.
    """
    found = {}
    for name, value in parameters.items():
        new = _RENAMED.get(name)
        if name not in known and new in known:
            if new in parameters:
                raise ValueError(f"{owner} was given both {name} and {new}; expected {new} alone")
            warn_renamed(str(owner), f"the parameter {name}", new)
            name = new
        found[name] = value
    return found


def present_names(parameters: Mapping) -> dict:
    """Parameters of a recorded run, which may be an old one, by their present names."""
    return {_RENAMED.get(name, name): value for name, value in parameters.items()}


def read_parameters(file: str | Path) -> dict:
    """Parameters by name from a YAML file, as papermill's ``-f``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML mapping.
        ImportError: PyYAML is not installed.
    """
    found = read_yaml(
        file, "a YAML file of parameters", "a file of parameters needs PyYAML", "lensnb[lab]"
    )
    if not isinstance(found, dict):
        raise ValueError(f"{file} must hold parameters by name, found {type(found).__name__}")
    for name in found:
        if not isinstance(name, str):
            raise ValueError(f"{file} has a parameter called {name!r}; expected names")
    return found


def read_yaml(file: str | Path, expected: str, needs: str, extra: str):
    """What a YAML file says.

    Args:
        file: the file.
        expected: what it should be, for error messages.
        needs: what must be installed, for error messages.
        extra: what pip would have to install.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML.
        ImportError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise ImportError(f"{needs}: pip install '{extra}'") from None
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; expected {expected}")
    raw = file.read_bytes()
    try:
        return yaml.safe_load(raw.decode("utf-8"))
    except Exception as error:  # PyYAML passes on those of dates, numbers, encodings and depth
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{file} is no YAML ({type(error).__name__}: {reason}); expected {expected}, in UTF-8"
        ) from None


def check_names(notebook: str | Path, parameters: Mapping) -> dict:
    """Refuse parameters that the notebook does not declare, and convert the others to their types.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: an unknown name (the nearest known one is suggested), or a value of the wrong
            type.
    """
    known = declared(notebook)
    if not known:
        raise ValueError(f"{notebook} has no cell tagged 'parameters', so it takes none")
    checked = {}
    for name, value in new_names(notebook, parameters, known).items():
        if name not in known:
            raise ValueError(f"{notebook} has no parameter {name}; {_hint(name, known)}")
        checked[name] = coerce(name, value, known[name].kind)
    return checked


def _hint(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), known, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"it knows {', '.join(known)}"


def all_parameters(
    notebook: str | Path, given: Mapping, but: tuple[str, ...] = ("folder",)
) -> dict:
    """Every parameter that a notebook declares, as given or by default.

    Args:
        notebook: the notebook.
        given: values by name.
        but: names to leave out; the same run in another folder is the same run.
    """
    found = {}
    for name, one in declared(notebook).items():
        if name not in but:
            found[name] = given.get(name, one.default)
    return found
