"""An event's past in memory, which is read on by blocking calls."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Engine

from gateway.live import store
from gateway.live.past import Past

T = TypeVar("T")

# A ledger of millions is read in several calls, between which others have the thread.
CALL_SECONDS: Final = 0.3


class Totals(NamedTuple):
    """Purchases decided, and rejections and refusals by reason, since the beginning."""

    decided: int
    refused: Counter[str]


class EventLedger:
    """For threads: one at a time reads it on."""

    def __init__(self, engine: Engine, event_id: int, past: Past | None = None) -> None:
        self._engine = engine
        self._event_id = event_id
        self._lock = threading.Lock()
        self._past = past or Past()
        self.used_at = time.monotonic()

    def read_to(self, last: int, look: Callable[[Past], T]) -> T | None:
        """What `look` says of the past up to entry `last`; None: there is more to read.

        Raises:
            psycopg2.Error: the database is unavailable.
        """
        self.used_at = time.monotonic()
        until = self.used_at + CALL_SECONDS
        with self._lock:
            # Another reader may know of newer entries; or the database was restored.
            if last < self._past.number and self._past.number > store.last_number(
                self._engine, self._event_id
            ):
                self._past = Past()
            past = self._past
            while past.number < last:
                if time.monotonic() >= until:
                    return None
                if not store.read_on(self._engine, self._event_id, past, last):
                    break
            return look(past)


def totals(past: Past) -> Totals:
    return Totals(past.total.decided, Counter(past.total.refused))
