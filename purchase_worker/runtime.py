"""What a deciding process holds: its connections, opened after the fork and never before."""

from collections.abc import Callable

import redis
from sqlalchemy import Engine

from purchase_worker.drain import Batch
from purchase_worker.results import ResultPublisher
from shared.database import open_engine
from shared.settings import Settings


class Runtime:
    """The connections of one process that decides."""

    def __init__(self, settings: Settings, process_name: str) -> None:
        self.settings = settings
        self.engine: Engine = open_engine(settings, process_name, pool_size=2)
        publisher = ResultPublisher(settings)
        self.redis: redis.Redis = publisher.redis
        self.tell: Callable[[Batch], None] = publisher

    def close(self) -> None:
        self.engine.dispose()
        self.redis.close()
