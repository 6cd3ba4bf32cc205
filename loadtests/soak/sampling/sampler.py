"""Samples a system every few seconds, in a thread, until the run is over."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from loadtests.bench.system.eventify import BenchSystem
from loadtests.soak.sampling import postgres
from loadtests.soak.sampling.processes import directory_mib, process_figures
from loadtests.soak.sampling.sample import Sample
from shared.database.engine import open_engine

MIB = 1024 * 1024
# Wasted space is read at each such sample.
WASTED_EVERY = 6
# Logs are rotated, and PostgreSQL's own files are sampled as tables and WAL.
OTHER_FILES_WITHOUT = frozenset({"logs", "postgres"})


class Sampler:
    """`samples` so far, at moments of the clock that all processes share; why any is missing."""

    def __init__(self, system: BenchSystem) -> None:
        self.samples: list[Sample] = []
        self.errors: list[str] = []
        self._system = system
        self._engine: Engine = open_engine(system.settings, "soak", pool_size=1)
        self._redis = redis.Redis.from_url(system.settings.redis_url)
        postgres.prepare(system.engine)

    def sample(self) -> None:
        at = time.monotonic()
        try:
            with self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                figures = postgres.postgres_figures(
                    connection, with_wasted=len(self.samples) % WASTED_EVERY == 0
                )
            figures |= self._of_valkey()
        except (SQLAlchemyError, redis.RedisError) as error:
            self.errors.append(f"A sample is missing: {error}")
            return
        figures |= process_figures(self._system.pids)
        figures["other_files_mib"] = directory_mib(self._system.home, OTHER_FILES_WITHOUT)
        self.samples.append(Sample(at, figures))

    def close(self) -> None:
        self._engine.dispose()
        self._redis.close()

    def _of_valkey(self) -> dict[str, float]:
        info = self._redis.info()
        return {
            "valkey_mib": info["used_memory"] / MIB,
            "valkey_clients": float(info["connected_clients"]),
            "valkey_keys": float(self._redis.dbsize()),
            "valkey_channels": float(info.get("pubsub_channels", 0)),
        }


@contextmanager
def sampling(system: BenchSystem, every_seconds: float) -> Iterator[Sampler]:
    """Samples until the block ends."""
    sampler, over = Sampler(system), threading.Event()

    def repeat() -> None:
        next_at = time.monotonic()
        while not over.wait(max(0.0, next_at - time.monotonic())):
            sampler.sample()
            next_at = max(next_at + every_seconds, time.monotonic())

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield sampler
    finally:
        over.set()
        thread.join()
        sampler.close()
