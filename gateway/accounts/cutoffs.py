"""Voids access tokens before they expire, within a second of the act, on every gateway.

No request looks anything up: each process reads the newest cutoffs twice a second, and its verifier
compares. While the database is unavailable it goes by what it knows.
"""

import asyncio
import time
from contextlib import suppress
from math import inf

from sqlalchemy import Engine

from gateway.accounts import store
from shared.auth.tokens import TokenVerifier
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.errors import Unavailable
from shared.observability.logging import get_logger

READ_SECONDS = 0.5
# Clocks differ, and a cutoff is committed a while after its time: these are read once more.
OVERLAP_SECONDS = 60

logger = get_logger(__name__)


class TokenCutoffs:
    """Keeps the `valid_from` of a verifier; `reads` has to be started."""

    def __init__(self, settings: Settings, engine: Engine, verifier: TokenVerifier) -> None:
        self._lifetime = max(settings.access_token_seconds, settings.refresh_token_seconds)
        self._engine = engine
        self._verifier = verifier
        self._read_at: float = 0  # Unix seconds; 0: never
        self.reads = Periodic(self._read, READ_SECONDS, logger, "token_cutoffs_not_read")

    async def _read(self) -> None:
        with suppress(Unavailable):  # was logged where it occurred
            await asyncio.to_thread(self._read_new)

    def _read_new(self) -> None:
        started = time.time()
        oldest = int(started) - self._lifetime
        since = max(oldest, int(self._read_at) - OVERLAP_SECONDS)
        found = store.cutoffs_since(self._engine, since)
        known = self._verifier.valid_from
        kept = {user: moment for user, moment in known.items() if oldest <= moment < inf}
        new = {user: inf if moment is None else moment for user, moment in found.items()}
        self._verifier.valid_from = kept | new
        self._read_at = started
