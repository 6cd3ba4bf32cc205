"""Messages of a Redis channel, as long as somebody wants them."""

from collections.abc import Callable

import redis

from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.messaging.redis_client import open_async_redis
from shared.observability.logging import get_logger

# After this time without a message the connection is pinged; the answer may take as long.
PING_AFTER_SECONDS = 1.0
RECONNECT_SECONDS = 1.0

logger = get_logger(__name__)


class Subscription:
    """Connects again and again. While Redis is away, messages are lost.

    Args:
        settings: where Redis is.
        channel: its name.
        receive: called on the event loop with each message.
    """

    def __init__(
        self,
        settings: Settings,
        channel: str,
        receive: Callable[[bytes], None],
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._receive = receive
        self.is_subscribed = False
        self._connections = Periodic(
            self._connect, RECONNECT_SECONDS, logger, "subscription_failed"
        )

    def start(self) -> None:
        self._connections.start()

    async def stop(self) -> None:
        await self._connections.stop()

    async def _connect(self) -> None:
        """Receive messages until the connection is lost or `stop` is called.

        redis-py swallows a cancellation that arrives while it connects.
        """
        try:
            client = open_async_redis(self._settings)
            async with client, client.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(self._channel)
                self.is_subscribed = True
                was_pinged = False
                while not self._connections.is_stopping:
                    message = await subscription.get_message(timeout=PING_AFTER_SECONDS)
                    if message is None:
                        # redis-py's own health check pings, but does not notice a missing answer.
                        if was_pinged:
                            raise redis.TimeoutError("no answer to a PING")
                        await subscription.ping()
                        was_pinged = True
                        continue
                    was_pinged = False
                    if message["type"] == "message":
                        self._receive(message["data"])
        except (redis.RedisError, OSError) as error:
            logger.warning("redis_subscription_lost", error=str(error))
        finally:
            self.is_subscribed = False
