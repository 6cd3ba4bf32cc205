"""Which API keys are live, and which tokens are void, in the memory of each process.

Each has all live keys, and from when on each user's tokens are valid. It reads what has changed
every `READ_SECONDS`: so a request looks nothing up, and what was revoked or locked, or ended by
another password, is dead everywhere within a second.
"""

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from math import inf
from typing import Final

import msgspec
import structlog

from shared.auth.caller import KEY_PREFIX, Caller, KeyScope
from shared.auth.tokens import TokenVerifier
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.errors import TokenMalformed, TokenNotValid, Unavailable

SECRET_BYTES: Final = 32
KEY_CHARACTERS: Final = len(KEY_PREFIX) + 43  # in base64url
KEY_FORM: Final = re.compile(rf"{KEY_PREFIX}[\w-]{{43}}", re.ASCII)
READ_SECONDS: Final = 0.4
# Between two reads for keys that are not known: a guesser costs 20 small queries a second, whatever
# he sends.
READ_GAP_SECONDS: Final = 0.05
# Requests with unknown keys that may wait for the next read.
WAITING_MAX: Final = 1_000
# Keys that do not exist; 100 bytes each.
UNKNOWN_REMEMBERED: Final = 10_000
USE_NOTED_SECONDS: Final = 60.0

logger = structlog.stdlib.get_logger(__name__)


class StoredKey(msgspec.Struct, frozen=True):
    """A row. `expires_at`: Unix seconds; None: never. `is_live`: not revoked."""

    id: int
    user_id: int
    scopes: Sequence[str]
    hash: bytes
    expires_at: float | None
    is_live: bool


class Changes(msgspec.Struct, frozen=True):
    """What was read.

    Args:
        keys: all live keys if `is_all`, else those that have changed.
        valid_from: by user: tokens from before (Unix seconds) are void; None: all, and keys too.
        mark: where the next read begins.
    """

    keys: Sequence[StoredKey]
    valid_from: Mapping[int, int | None]
    mark: int
    is_all: bool


# Reads the changes since a mark; None: everything.
ReadChanges = Callable[[int | None], Changes]
# Stores that the keys with these ids were used just now.
NoteUse = Callable[[Collection[int]], None]


class _Known(msgspec.Struct):
    caller: Caller
    expires_at: float | None
    used_noted_at: float = float("-inf")  # monotonic


def new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_of(key: str) -> bytes:
    """A fast hash is enough: nobody can try 2^256 secrets."""
    return sha256(key.encode()).digest()


class LiveCredentials:
    """The live keys; keeps the `valid_from` of a verifier. Of one event loop.

    While the database is unavailable, keys are trusted for a while, and tokens until they expire.

    Args:
        settings: for how long keys are trusted without a read, and how long a read may take.
        verifier: of our tokens.
        read: blocking; raises Unavailable.
        note_use: blocking; raises Unavailable.
    """

    def __init__(
        self, settings: Settings, verifier: TokenVerifier, read: ReadChanges, note_use: NoteUse
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._read_changes = read
        self._note_use = note_use
        self._known: dict[bytes, _Known] = {}
        self._unknown: OrderedDict[bytes, None] = OrderedDict()
        self._used: set[int] = set()
        self._mark: int | None = None
        # When the last read that has ended began, and the last that succeeded (monotonic).
        self._tried_at = self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0
        self._is_unavailable = False
        self._threads = BoundedExecutor("credentials", threads=1, waiting_max=1)
        self._reads = Periodic(self._refresh, READ_SECONDS, logger, "credentials_not_read")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reads changes until the block ends."""
        self._reads.start()
        try:
            yield
        finally:
            await self._reads.stop()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)
            self._threads.close()

    async def caller(self, key: str) -> Caller:
        """Whose key it is.

        Raises:
            TokenMalformed: it is too short or too long for a key.
            TokenNotValid: it does not exist, is revoked, has expired, or its owner is locked.
            Unavailable: the database is unavailable, and was for longer than keys are trusted.
        """
        if not KEY_FORM.fullmatch(key):
            raise TokenMalformed(f"An API key has {KEY_CHARACTERS} letters, digits, - and _.")
        hashed, now = hash_of(key), time.monotonic()
        if now - self._read_at > self._settings.api_keys_trusted_seconds:
            await self._read_after(now)
        known = self._known.get(hashed)
        if known is None and hashed not in self._unknown:
            # It may have been made a moment ago.
            await self._read_after(now)
            known = self._known.get(hashed)
        if known is None:
            self._remember_unknown(hashed)
            raise _not_valid()
        if known.expires_at is not None and known.expires_at <= time.time():
            raise _not_valid()
        if self._verifier.is_locked(known.caller.user_id):
            raise TokenNotValid("The account of this API key is locked.")
        if now - known.used_noted_at > USE_NOTED_SECONDS and known.caller.key_id is not None:
            known.used_noted_at = now
            self._used.add(known.caller.key_id)
        return known.caller

    async def _read_after(self, moment: float) -> None:
        """Wait for a read that began after this moment; concurrent calls share it.

        Raises:
            Unavailable: it failed, it takes longer than a request may, or too many wait.
        """
        if self._waiting >= WAITING_MAX:
            raise Unavailable
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.answer_timeout_seconds):
                while self._tried_at < moment:
                    if self._reading is None or self._reading.done():
                        self._reading = asyncio.create_task(self._read())
                    # It goes on without this request.
                    await asyncio.shield(self._reading)
        except TimeoutError as error:
            raise Unavailable from error
        finally:
            self._waiting -= 1
        if self._read_at < moment:
            raise Unavailable

    async def _read(self) -> None:
        await asyncio.sleep(max(0.0, self._tried_at + READ_GAP_SECONDS - time.monotonic()))
        began_at = time.monotonic()
        # All may take as long as PostgreSQL lets a statement take.
        seconds = None if self._mark is None else self._settings.answer_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                changes, live = await self._threads.run(self._read_live, self._mark)
        except (Unavailable, TimeoutError):
            # A server that takes over may lack changes that the former one had: read all again.
            self._mark = None
            return
        finally:
            self._tried_at = began_at
        if changes.is_all:
            self._known = live
        else:
            for key in changes.keys:
                self._known.pop(key.hash, None)
            self._known |= live
        if changes.is_all or changes.valid_from:
            self._void(changes)
        self._mark, self._read_at = changes.mark, began_at

    def _read_live(self, mark: int | None) -> tuple[Changes, dict[bytes, _Known]]:
        """The changes, and the live keys among them; in the thread, for they may be very many."""
        changes = self._read_changes(mark)
        live = {}
        for key in changes.keys:
            if key.is_live:
                caller = Caller(key.user_id, key.id, frozenset(map(KeyScope, key.scopes)))
                live[key.hash] = _Known(caller, key.expires_at)
            else:
                live.pop(key.hash, None)
        return changes, live

    def _void(self, changes: Changes) -> None:
        settings = self._settings
        known = {} if changes.is_all else self._verifier.valid_from
        if not settings.trusted_issuers:  # they alone know how long their tokens are valid
            longest = max(settings.access_token_seconds, settings.refresh_token_seconds)
            newest = max((at for at in changes.valid_from.values() if at is not None), default=0)
            # While this host's clock is ahead, none is forgotten that is needed once it is right.
            oldest = min(time.time(), newest) - longest
            known = {user_id: moment for user_id, moment in known.items() if moment >= oldest}
        read = {user: inf if at is None else at for user, at in changes.valid_from.items()}
        self._verifier.valid_from = {**known, **read}

    async def _refresh(self) -> None:
        try:
            await self._read_after(time.monotonic())
            if self._used:
                used, self._used = self._used, set()
                async with asyncio.timeout(self._settings.answer_timeout_seconds):
                    await self._threads.run(self._note_use, used)
        except (Unavailable, TimeoutError):
            if not self._is_unavailable:
                logger.warning(
                    "credentials_unavailable",
                    keys_trusted_seconds=self._settings.api_keys_trusted_seconds,
                )
            self._is_unavailable = True
        else:
            self._is_unavailable = False

    def _remember_unknown(self, hashed: bytes) -> None:
        self._unknown[hashed] = None
        if len(self._unknown) > UNKNOWN_REMEMBERED:
            self._unknown.popitem(last=False)


def _not_valid() -> TokenNotValid:
    return TokenNotValid("The API key is unknown, revoked or expired.")
