"""What several folders of these tests need."""

from collections.abc import Iterator

import pytest
import redis

from gateway.purchases.wakeups import WakeupSender
from shared.config.settings import Settings


@pytest.fixture
def wakeups(settings: Settings, redis_client: redis.Redis) -> Iterator[WakeupSender]:
    sender = WakeupSender(settings)
    sender.start()
    yield sender
    sender.close()
