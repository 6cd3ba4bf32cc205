"""Keeps events and ticket types as the catalog answers them, and asks the database for each read
whether they have changed.

A read is never older than its request: its owner reads back what he has just changed, at any
gateway (docs/decisions/0025).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Engine
from starlette.types import Scope

from gateway.batcher import Batcher
from gateway.bounded_memory import BoundedMemory
from gateway.responses import Headers
from gateway.rows.store import RowName, read_versions
from shared.config.settings import Settings
from shared.web.if_none_match import is_unchanged

ROWS_MAX: Final = 2_000
BYTES_MAX: Final = 16_000_000
# After a failover that lost transactions, numbers of transactions are given a second time.
REMEMBERED_SECONDS: Final = 10.0
# Reads of one statement: of different rows, a millisecond.
BATCH_ROWS: Final = 500


class Row(msgspec.Struct, frozen=True):
    """The catalog's response to a read."""

    status: int
    headers: Headers
    body: bytes

    def to(self, scope: Scope) -> tuple[int, Headers, bytes]:
        """The response to a request: status, headers and body."""
        if self.status == 200:
            for name, value in scope["headers"]:
                if name == b"if-none-match":
                    etag = next(value for name, value in self.headers if name == b"etag")
                    if is_unchanged(value.decode("latin-1"), etag.decode("latin-1")):
                        return 304, [(b"etag", etag)], b""
                    break
        return self.status, self.headers, self.body


# None: it is too large for memory.
Ask = Callable[[], Awaitable[Row | None]]


class _Remembered(msgspec.Struct, frozen=True):
    """`row`: of this version or a later one."""

    row: Row
    version: str
    at: float


class RowReader:
    """Of one event loop."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._rows: BoundedMemory[RowName, _Remembered] = BoundedMemory(ROWS_MAX, BYTES_MAX)
        # Each asked for after its version was read.
        self._flights: dict[tuple[RowName, str], asyncio.Task[Row | None]] = {}
        self._versions: Batcher[RowName, str | None] = Batcher(
            "row-versions",
            partial(read_versions, engine),
            batch_rows=BATCH_ROWS,
            threads=1,
            pending_max_rows=settings.status_pending_max_rows,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )

    async def close(self) -> None:
        await self._versions.close()

    def version(self, name: RowName) -> Awaitable[str | None]:
        """As it is now; None: there is no such row.

        Raises:
            Unavailable: the database is unavailable, or too many reads wait.
        """
        return self._versions.submit(name)

    def recall(self, name: RowName, version: str) -> Row | None:
        """The row, if this version of it is remembered."""
        known = self._rows.get(name)
        if known is None or known.version != version:
            return None
        return known.row if time.monotonic() - known.at < REMEMBERED_SECONDS else None

    async def ask(
        self, name: RowName, version: str, ask: Ask, turn: AbstractAsyncContextManager[None]
    ) -> Row | None:
        """The row of this version or a later one, asked for once for all who want it now.

        Args:
            ask: asks the catalog.
            turn: in which this user may ask.

        Returns None where the user has to ask for himself: it is too large, or was an error of
        another request.

        Raises what `ask` and `turn` raise.
        """
        if (flight := self._flights.get((name, version))) is None:
            async with turn:
                flight = self._flights.get((name, version))
                if flight is None:
                    return await asyncio.shield(self._start(name, version, ask))
        row = await asyncio.shield(flight)
        return row if row is not None and row.status == 200 else None

    def _start(self, name: RowName, version: str, ask: Ask) -> asyncio.Task[Row | None]:
        task = asyncio.ensure_future(self._fly(name, version, ask))
        task.add_done_callback(_retrieve)
        self._flights[name, version] = task
        return task

    async def _fly(self, name: RowName, version: str, ask: Ask) -> Row | None:
        began_at = time.monotonic()
        try:
            row = await ask()
        finally:
            del self._flights[name, version]
        if row is not None and row.status == 200:
            self._rows.put(name, _Remembered(row, version, began_at), len(row.body))
        return row


def _retrieve(task: asyncio.Task[Row | None]) -> None:
    """Or asyncio logs an error that nobody waited for any more."""
    if not task.cancelled():
        task.exception()
