"""Keeps a library from loading another that it would use if it could, and that is not needed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """In this block these modules cannot be imported, unless they have been before.

    Afterwards they can, for others.
    """
    added = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(added))  # type: ignore[arg-type] # None: an ImportError
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
