"""Receives every result published in Redis, and checks at once whether PostgreSQL has it."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec
import psycopg2
import redis

from shared.purchases import DECIDED_CHANNEL, DecidedBatch
from tests.chaos.history import History
from tests.chaos.subject import Subject

DECIDED = """
SELECT r.id::text FROM requests r JOIN ledger e ON e.event_id = r.event_id AND e.command_id = r.id
WHERE r.id = ANY(%s::uuid[])
"""
LISTEN_SECONDS = 0.2
# A server whose machine vanished is given up soon; another may have taken over.
GIVES_UP_SOON = {
    "connect_timeout": 2,
    "tcp_user_timeout": 2_000,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 1,
}


class ResultListener:
    """A thread that compares; it reconnects to servers that were unavailable."""

    def __init__(self, system: Subject, history: History) -> None:
        self._system = system
        self._history = history
        self._over = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._listen_for_ever, name="result-listener")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _listen_for_ever(self) -> None:
        while not self._over.is_set():
            try:
                self._listen()
            except (redis.RedisError, psycopg2.Error):
                self._over.wait(LISTEN_SECONDS)

    def _listen(self) -> None:
        with (
            closing(psycopg2.connect(self._system.database_url, **GIVES_UP_SOON)) as database,
            database.cursor() as cursor,
            redis.Redis.from_url(self._system.valkey.url, socket_timeout=2) as client,
            client.pubsub(ignore_subscribe_messages=True) as subscription,
        ):
            database.autocommit = True
            subscription.subscribe(DECIDED_CHANNEL)
            while not self._over.is_set():
                message = subscription.get_message(timeout=LISTEN_SECONDS)
                if message is None:
                    continue
                ids = msgspec.msgpack.decode(message["data"], type=DecidedBatch).ids
                cursor.execute(DECIDED, (ids,))
                decided = {row[0] for row in cursor.fetchall()}
                self._history.published_too_early += [id_ for id_ in ids if id_ not in decided]
