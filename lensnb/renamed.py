"""Old names of arguments and attributes: they work for one release, with a warning."""

from __future__ import annotations

import functools
import importlib
import inspect
import warnings


def warn_renamed(owner: str, old: str, new: str, stacklevel: int = 3, verb: str = "is") -> None:
    """Tell the caller that a name has changed."""
    warnings.warn(
        f"{owner}: {old} {verb} now called {new}; the old name works in this release only",
        FutureWarning,
        stacklevel=stacklevel,
    )


def renamed(**names: str):
    """Let a function or a class take arguments by their old names.

    Args:
        names: ``old="new"``, one for each argument that was renamed.
    """

    def decorate(item):
        function = item.__init__ if inspect.isclass(item) else item

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            for old in names.keys() & kwargs.keys():
                warn_renamed(item.__name__, f"the argument {old}", names[old])
                if names[old] in kwargs:
                    raise TypeError(f"{item.__name__} was given both {old} and {names[old]}")
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        if inspect.isclass(item):
            item.__init__ = wrapper
            return item
        return wrapper

    return decorate


def old_attribute(old: str, new: str) -> property:
    """A read-only attribute under its old name."""

    def read(self):
        warn_renamed(type(self).__name__, old, new)
        return getattr(self, new)

    return property(read, doc=f"Old name of ``{new}``.")


def moved(module: str, **homes: str):
    """The ``__getattr__`` of a module whose names have moved to others.

    Args:
        module: its full name.
        homes: ``name="module"``, where each name is now; ``name="module:new_name"`` where its name
            has changed, too.
    """

    def find(name: str):
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = homes[name].partition(":")
        warn_renamed(module, f"{module}.{name}", f"{home}.{new or name}")
        return getattr(importlib.import_module(home), new or name)

    return find
