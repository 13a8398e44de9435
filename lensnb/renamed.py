"""Old names of arguments and attributes: they work for one release, with a warning."""

from __future__ import annotations

import functools
import inspect
import warnings


def warn_renamed(owner: str, old: str, new: str, stacklevel: int = 3) -> None:
    """Tell the caller that a name has changed."""
    warnings.warn(
        f"{owner}: {old} is now called {new}; the old name works in this release only",
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
