"""Idempotency keys that are stored before the first try."""

import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self
from uuid import uuid4

from eventify_client.errors import KeyMismatch
from eventify_client.models import PENDING

# A function stores the text that it is given, unless one is stored already, and returns the stored
# one when that is durable; it may be async. Of two programs that begin at once, both get the same.
Key = str | Callable[[str], str | Awaitable[str]]


class KeyFile:
    """The key of one purchase (or other POST) in a file, however often the program is killed.

    Until `done()`, each call with this file continues with the same purchase. The end of a block
    says it, unless the outcome is not known or an exception, other than its rejection, leaves it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.outcome: object = None
        self._mine: str | None = None

    def __call__(self, record: str) -> str:
        while (stored := self._read()) is None:
            with NamedTemporaryFile("w", dir=self.path.parent, prefix=".key-") as new:
                new.write(record)
                new.flush()
                os.fsync(new.fileno())
                with suppress(FileExistsError):
                    os.link(new.name, self.path)  # whole or not at all, and never over another
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)  # also of a file that another program has made just now
        os.close(folder)
        self._mine = stored
        return stored

    def _read(self) -> str | None:
        with suppress(FileNotFoundError):
            return self.path.read_text(errors="replace")
        return None

    def done(self) -> None:
        """You have stored the outcome: forget the key, not that of a program that began since."""
        if self._mine in (None, self._read()):
            self.path.unlink(missing_ok=True)
        self.outcome = None

    def __enter__(self) -> Self:
        self.outcome = None  # that of an earlier block may not be in the books
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self.outcome is not None and error in (None, self.outcome):
            self.done()


async def claim(call: Callable[..., Awaitable[Any]], key: Key | None, request: Any) -> str:
    """The key of a request, as a header; of a store, the one that it has for this request."""
    text = key if isinstance(key, str) else str(uuid4())
    if key is not None and not isinstance(key, str):
        record = await call(key, json.dumps({"key": text, "request": request}))
        try:
            stored = json.loads(record)
            known, text = stored["request"], str(stored["key"])
        except (ValueError, KeyError, TypeError):  # by another hand: a new key might buy twice
            raise KeyMismatch(f"What {getattr(key, 'path', key)} has is no key.") from None
        if known != json.loads(json.dumps(request)):  # which has neither tuples nor numbers as keys
            text = f"The stored key is of another request, {json.dumps(known)}: finish it,"
            raise KeyMismatch(f"{text} or, if you have its outcome, forget its key: `done()`.")
    if not (0 < len(text) <= 255 and text.isascii() and text.isprintable()):
        raise ValueError("A key is 1 to 255 printable ASCII characters.")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def settle(key: Key | None, outcome: object) -> None:
    """It is about to be returned, or a rejection to be raised."""
    if isinstance(key, KeyFile) and getattr(outcome, "status", "") not in PENDING:
        key.outcome = outcome or True
