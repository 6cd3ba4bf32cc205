"""Redis loses its data, is killed, stalls, rejects writes, or has messages that cannot be read."""

import signal

import redis

from shared.messaging.celery_client import PURCHASES_QUEUE
from tests.chaos.faults.fault import Effect, Fault, Turn
from tests.support.poison_messages import POISON_MESSAGES
from tests.support.waiting import eventually


class _RedisFault(Fault):
    # Longer than the sweeper leaves anything queued.
    hold_seconds = 1.5
    effect = Effect.GOES_ON

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.system.valkey.url, socket_timeout=5)


class RedisFlushed(_RedisFault):
    """FLUSHALL: results, wake-ups and their marks."""

    def strike(self) -> None:
        with self.client() as client:
            keys = client.dbsize()
            client.flushall()
            self.strikes += bool(keys)


class RedisKilled(_RedisFault):
    """kill -9; comes back empty."""

    def strike(self) -> None:
        self.system.valkey.end(signal.SIGKILL)
        self.strikes += 1

    def heal(self) -> None:
        self.system.valkey.start()


class RedisFrozen(_RedisFault):
    """SIGSTOP: connections stay open, and nothing is answered."""

    hold_seconds = 10.0

    def strike(self) -> None:
        self.system.valkey.freeze()
        with redis.Redis.from_url(self.system.valkey.url, socket_timeout=0.2) as client:
            try:
                client.ping()
            except redis.TimeoutError:
                self.strikes += 1

    def heal(self) -> None:
        self.system.valkey.thaw()


class RedisReadOnly(_RedisFault):
    """It has become a replica, as after a failover: writes fail with READONLY."""

    def strike(self) -> None:
        with self.client() as client:
            # Of a primary that is nowhere, so that nothing is copied from it.
            client.config_set("replica-serve-stale-data", "yes")
            client.replicaof("127.0.0.1", 1)
            try:
                client.set("eventify-chaos", 1)
            except redis.ReadOnlyError:
                self.strikes += 1

    def heal(self) -> None:
        with self.client() as client:
            client.replicaof("NO", "ONE")


class RedisOutOfMemory(_RedisFault):
    """Writes fail with OOM; reads go on."""

    def strike(self) -> None:
        with self.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            try:
                client.set("eventify-chaos", 1)
            except redis.OutOfMemoryError:
                self.strikes += 1

    def heal(self) -> None:
        with self.client() as client:
            client.config_set("maxmemory", 0)


class PoisonMessage(_RedisFault):
    """Messages that are no wake-ups: each is consumed by a worker, and does no harm."""

    # A worker that waits for PostgreSQL's answer takes none.
    turn = Turn.WHILE_ALL_IS_WELL

    def strike(self) -> None:
        with self.client() as client:
            client.lpush(PURCHASES_QUEUE, *POISON_MESSAGES)
            eventually(lambda: self._taken(client), within_seconds=60)
            self.strikes += len(POISON_MESSAGES)

    def _taken(self, client: redis.Redis) -> None:
        assert not set(POISON_MESSAGES) & set(client.lrange(PURCHASES_QUEUE, 0, -1))
