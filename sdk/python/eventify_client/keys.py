"""Idempotency keys that are stored before the first try."""

import json
import os
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self
from uuid import uuid4

from eventify_client.drivers import Driver
from eventify_client.errors import APIError, KeyMismatch


class KeyStore(Protocol):
    """Where a record is stored, such as a row of your database. May be async.

    `save` returns when it is durable. It keeps and returns a record that is there already: of two
    programs that begin at once, both get the same.
    """

    def load(self) -> str | Awaitable[str | None] | None: ...
    def save(self, record: str, /) -> str | Awaitable[str]: ...


Key = str | KeyStore


class KeyFile:
    """The key of one purchase (or other POST) in a file, however often the program is killed.

    with KeyFile("order-17.key") as key:
        purchase = client.purchases.buy({1: 2}, key=key)
        store(purchase)

    Until `done()`, each call with this file continues with the same purchase. The end of a block
    says it, unless the outcome is not known or the block was left by an exception. A rejection that
    leaves it is an outcome: nothing was bought.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.outcome_known = False
        self.rejection: APIError | None = None
        self._mine: str | None = None

    def load(self) -> str | None:
        self._mine = self._read()
        return self._mine

    def _read(self) -> str | None:
        with suppress(FileNotFoundError):
            return self.path.read_text(errors="replace")
        return None

    def save(self, record: str, /) -> str:
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=".key-") as new:
            new.write(record)
            new.flush()
            os.fsync(new.fileno())
            try:
                os.link(new.name, self.path)  # whole or not at all, and never over another
            except FileExistsError:
                self._mine = self.path.read_text(errors="replace")
                return self._mine
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self._mine = record
        return record

    def done(self) -> None:
        """You have stored the outcome: forget the key, not that of a program that began since."""
        if self._mine in (None, self._read()):
            self.path.unlink(missing_ok=True)
        self.outcome_known = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self.outcome_known and error in (None, self.rejection):
            self.done()


async def claim(driver: Driver, key: Key | None, request: dict[str, Any]) -> str:
    """The key of a request, as a header; of a store, the one that it has for this request."""
    new = str(uuid4())
    text = new if key is None else key
    if not isinstance(text, str):
        record = json.dumps({"key": new, "request": request})
        record = await driver.call_blocking(text.load) or await driver.call_blocking(
            partial(text.save, record)
        )
        try:
            stored = json.loads(record)
            of, text_of = stored["request"], str(stored["key"])
        except (ValueError, KeyError, TypeError):  # by another hand: a new key might buy twice
            raise KeyMismatch(f"What {getattr(text, 'path', text)} has is no key.") from None
        if of != request:
            raise KeyMismatch(
                f"The stored key is of another request, {json.dumps(of)}: finish it,"
                " or, if you have its outcome, forget its key: `done()`."
            )
        text = text_of
    if not (0 < len(text) <= 255 and text.isascii() and text.isprintable()):
        raise ValueError("A key is 1 to 255 printable ASCII characters.")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def settle(key: Key | None, rejection: APIError | None = None) -> None:
    """The outcome is about to be returned, or raised."""
    if isinstance(key, KeyFile):
        key.outcome_known, key.rejection = True, rejection
